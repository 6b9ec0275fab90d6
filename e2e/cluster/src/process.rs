//! The processes that a cluster is made of.

use std::fmt;

/// One process of a cluster, to be killed and started by a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// The store of all objects; its data outlives a kill.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`: Jobs, garbage collection, service accounts.
    ControllerManager,
    /// `kube-scheduler`; on a node only.
    Scheduler,
    /// The container runtime; on a node only. Its containers go on when it dies.
    Containerd,
    /// `kubelet`; on a node only. Its pods go on when it dies.
    Kubelet,
    /// `kube-proxy`; on a node only.
    KubeProxy,
}

impl Process {
    /// The name of its binary and of its log file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
