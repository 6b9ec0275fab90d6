# The image of the pods of builds and releases, for CPUs. The context holds the worker's binary, `realsyn`.
#
# The base has what a Rust binary links (libc, libgcc) and certificates.
ARG BASE=buildpack-deps:bookworm-curl
FROM ${BASE}
COPY --chmod=0755 realsyn /usr/local/bin/realsyn
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/realsyn"]
