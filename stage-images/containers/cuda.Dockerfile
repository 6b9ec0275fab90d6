# The image of the pods of builds and releases, for GPUs. The context holds the worker's binary, `realsyn`.
#
# The base brings CUDA's libraries; the driver's come from the node. A pod sees the GPUs that the device plugin gives it,
# and none where it asked for none: the base alone would show it all of them.
ARG BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04@sha256:ebef3c171eeef0298e4eb2e4be843105edf3b8b0ac45e0b43acee358e8046867
FROM ${BASE}
COPY --chmod=0755 realsyn /usr/local/bin/realsyn
ENV NVIDIA_VISIBLE_DEVICES=void NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/realsyn"]
