//! The configuration files of a node's processes.

use std::path::Path;

use serde_json::{Value, json};

use super::cgroups;
use crate::authority::Identity;
use crate::flags::POD_RANGE;
use crate::images::PAUSE;

/// A bridge for the pods, with a route to the host and from there nowhere else.
pub(crate) fn cni(data: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": data.join("cni-addresses"),
                    "ranges": [[{ "subnet": POD_RANGE }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true },
        ],
    })
}

/// containerd's configuration, in TOML.
pub(crate) fn containerd(data: &Path, socket: &str, runc: &Path) -> String {
    let data = data.display();
    let runc = runc.display();
    format!(
        r#"version = 3
root = "{data}/containerd"
state = "/run/containerd-state"
[grpc]
  address = "{socket}"
[plugins.'io.containerd.internal.v1.opt']
  path = "{data}/containerd-opt"
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  # A sandbox may refuse to make anything less likely to be killed for memory than the test itself.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{runc}"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{data}/cni"
"#
    )
}

/// The kubelet's configuration.
pub(crate) fn kubelet(data: &Path, socket: &str, authority: &Path, serving: &Identity) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": authority },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "containerRuntimeEndpoint": format!("unix://{socket}"),
        // Test machines still have cgroup v1, and no systemd to ask for groups.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups::kubelet_root(),
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        "failSwapOn": false,
        // A full disk of the developer's is no reason to evict a test's pods.
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%" },
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "5s",
        "podLogsDir": data.join("pod-logs"),
        "volumePluginDir": data.join("plugins"),
        "clusterDomain": "cluster.local",
    })
}
