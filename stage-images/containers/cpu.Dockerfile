# The worker for CPU nodes: the binary, libc and certificates. Build it where target/debug/realsyn lies:
#   make images
ARG BASE=debian:12-slim
FROM ${BASE}
COPY realsyn /usr/bin/realsyn
USER 65532:65532
ENTRYPOINT ["/usr/bin/realsyn"]
