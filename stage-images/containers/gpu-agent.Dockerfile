# The image of the agents on nodes with GPUs. The context holds its binary, `realsyn-gpu-agent`; the driver's library comes
# from the node, by NVIDIA's container runtime.
ARG BASE=buildpack-deps:bookworm-curl@sha256:c63e1f47b008e42150a551f51443fd5007d737e9951661bd18b0a808db56abbe
FROM ${BASE}
COPY --chmod=0755 realsyn-gpu-agent /usr/local/bin/realsyn-gpu-agent
# The DaemonSet says root, without any capability: kubelet's socket belongs to it.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/realsyn-gpu-agent"]
