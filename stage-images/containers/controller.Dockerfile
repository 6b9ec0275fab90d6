# The controller's image. The context holds its binary, `realsyn-controller`.
ARG BASE=buildpack-deps:bookworm-curl
FROM ${BASE}
COPY --chmod=0755 realsyn-controller /usr/local/bin/realsyn-controller
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/realsyn-controller"]
