# The controller's image: its binary, `realsyn-controller`, which the context holds, and of the base the C library and the
# certificates of the public authorities, by which it knows a collector of traces. The API server's comes with the pod.
ARG BASE=buildpack-deps:bookworm-curl@sha256:c63e1f47b008e42150a551f51443fd5007d737e9951661bd18b0a808db56abbe
FROM ${BASE} AS base

FROM scratch
# Where x86-64 and where others look for the loader.
COPY --from=base /lib/*-linux-gnu/ld-linux-*.so.? /lib64/
COPY --from=base /lib/*-linux-gnu/ld-linux-*.so.? /lib/*-linux-gnu/libc.so.6 /lib/*-linux-gnu/libm.so.6 /lib/*-linux-gnu/libgcc_s.so.1 /lib/
COPY --from=base /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --chmod=0755 realsyn-controller /usr/local/bin/realsyn-controller
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/realsyn-controller"]
