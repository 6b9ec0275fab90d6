# The image of the pods of builds and releases, for CPUs. The context holds the worker's binary, `realsyn`.
#
# The base has what a Rust binary links (libc, libgcc) and certificates.
ARG BASE=buildpack-deps:bookworm-curl@sha256:c63e1f47b008e42150a551f51443fd5007d737e9951661bd18b0a808db56abbe
FROM ${BASE}
COPY --chmod=0755 realsyn /usr/local/bin/realsyn
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/realsyn"]
