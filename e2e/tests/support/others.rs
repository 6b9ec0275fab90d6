//! Nodes that are nothing but objects, beside the real one: the API server, the scheduler and the controller take them for
//! nodes with GPUs, and no pod can be placed on them, because they have no room for one.

use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use realsyn_cluster::{Binaries, Node};
use serde_json::{Value, json};

/// The controller of nodes takes one for lost that has been silent for forty seconds.
const BEAT: Duration = Duration::from_secs(10);

/// Such nodes. They are well until this is dropped.
pub struct Others {
    stop: Option<Sender<()>>,
    beats: Option<JoinHandle<()>>,
}

/// A node: its name, the product of its eight GPUs, their GiB, and what is wrong with them, if anything is.
pub type Other = (&'static str, &'static str, u64, Option<&'static str>);

impl Others {
    /// Puts these nodes beside the real one, and waits for nothing.
    pub fn stand_beside(node: &Node, all: &[Other]) -> Self {
        for &(name, product, gib, fault) in all {
            let object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
            node.apply(&object.to_string()).unwrap();
            let object =
                json!({ "apiVersion": "realsyn.dev/v1alpha1", "kind": "GpuNode", "metadata": { "name": name } });
            node.apply(&object.to_string()).unwrap();
            let devices: Vec<Value> = (0..8).map(|n| device(name, n, product, gib, fault)).collect();
            let status = json!({ "status": { "devices": devices } }).to_string();
            node.kubectl(&["patch", "gpunode", name, "--subresource=status", "--type=merge", "-p", &status]).unwrap();
        }
        let names: Vec<String> = all.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let kubeconfig = node.kubeconfig().to_owned();
        let mut beats = 0;
        let mut beat = move || {
            beats += 1;
            let mut kubectl = Command::new(Binaries::default_folder().path("kubectl"));
            kubectl.env("KUBECONFIG", &kubeconfig).args([
                "patch",
                "nodes",
                "--subresource=status",
                "-p",
                &ready(beats),
            ]);
            kubectl.args(&names).output().is_ok_and(|done| done.status.success())
        };
        assert!(beat(), "the nodes cannot be made ready");
        let (stop, told) = channel();
        let beats = spawn(move || {
            while told.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // An API server that does not answer now does at the next beat.
                _ = beat();
            }
        });
        Self { stop: Some(stop), beats: Some(beats) }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        drop(self.stop.take());
        _ = self.beats.take().map(JoinHandle::join);
    }
}

/// The status of a node that is well, offers eight GPUs, and has no room. Its time counts as news, whatever it is.
fn ready(beat: u32) -> String {
    let offers = json!({ "nvidia.com/gpu": "8", "cpu": "0", "memory": "0", "pods": "0" });
    let now = format!("2025-01-01T{:02}:{:02}:{:02}Z", beat / 3600 % 24, beat / 60 % 60, beat % 60);
    let ready = json!({ "type": "Ready", "status": "True", "reason": "Played", "lastHeartbeatTime": now });
    json!({ "status": { "capacity": offers, "allocatable": offers, "conditions": [ready] } }).to_string()
}

fn device(node: &str, n: u32, product: &str, gib: u64, fault: Option<&str>) -> Value {
    let mut device = json!({
        "uuid": format!("GPU-{node}-{n}"), "pci": format!("0000:{n:02x}:00.0"), "product": product, "memory": gib << 30,
        "compute": "8.0", "healthy": fault.is_none(),
    });
    if let Some(reason) = fault {
        device["reason"] = json!(reason);
        device["message"] = json!(format!("{reason} at 10:12"));
    }
    device
}
