//! A real Kubernetes for end-to-end tests, from binaries that `build-binaries.sh` made.
//!
//! [`ControlPlane`] is etcd, the API server and the controller manager on loopback: no root, ready in seconds, enough for
//! everything that does not have to run a pod. [`Node`] is a whole single-node cluster, with scheduler, kubelet,
//! containerd and kube-proxy, in Linux namespaces of its own; it needs root. Both verify TLS with an authority made for
//! the run, both let a test kill and start each process, and both leave nothing behind, however the test ends.

#![forbid(unsafe_code)]

mod audit;
mod authority;
mod binaries;
mod control_plane;
mod daemon;
mod flags;
pub mod images;
mod kubeconfig;
mod node;
mod options;
mod process;
mod programs;
mod scratch;
mod site;
mod skip;
mod wait;

pub use audit::Request;
pub use binaries::Binaries;
pub use control_plane::ControlPlane;
pub use node::{HOST_ADDRESS, NODE_ADDRESS, NODE_NAME, Node};
pub use options::Options;
pub use process::Process;
pub use skip::{missing_for_control_plane, missing_for_node, skip};
pub use wait::until;
