# The image of the agents on nodes with GPUs. The context holds its binary, `realsyn-gpu-agent`; the driver's library comes
# from the node, by NVIDIA's container runtime.
ARG BASE=buildpack-deps:bookworm-curl
FROM ${BASE}
COPY --chmod=0755 realsyn-gpu-agent /usr/local/bin/realsyn-gpu-agent
# The DaemonSet says root, without any capability: kubelet's socket belongs to it.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/realsyn-gpu-agent"]
