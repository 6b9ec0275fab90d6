//! Nodes that are nothing but objects, beside the real one: kwok is their kubelet, so that the API server, the scheduler
//! and the controller take them for nodes with GPUs. Most have no room for a pod; to one that has, pods are bound, and no
//! kubelet ever starts them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use realsyn_cluster::{Binaries, Node, until};
use serde_json::{Value, json};

/// What kwok is to take for one of its nodes.
const FAKE: (&str, &str) = ("kwok.x-k8s.io/node", "fake");

/// Such nodes. They are well until this is dropped.
pub struct Others {
    kwok: Child,
}

/// A node: its name, the product of its eight GPUs, their GiB, and what is wrong with them, if anything is.
pub type Other = (&'static str, &'static str, u64, Option<&'static str>);

impl Others {
    /// Puts these nodes beside the real one, and waits until they are ready.
    pub fn stand_beside(node: &Node, all: &[Other]) -> Self {
        let none = json!({ "nvidia.com/gpu": "8", "cpu": "0", "memory": "0", "pods": "0" });
        all.iter().for_each(|other| add(node, other, &none));
        let others = Self { kwok: kwok(node) };
        ready(node);
        others
    }

    /// Puts one more beside them, which has room for pods that hold GPUs.
    pub fn join(&self, node: &Node, other: &Other) {
        let room = json!({
            "nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti",
        });
        add(node, other, &room);
        node.kubectl(&["taint", "node", other.0, "nvidia.com/gpu:NoSchedule"]).unwrap();
        ready(node);
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        _ = self.kwok.kill();
        _ = self.kwok.wait();
    }
}

fn add(node: &Node, &(name, product, gib, fault): &Other, offers: &Value) {
    let (key, value) = FAKE;
    let object = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "annotations": { key: value } },
    });
    node.apply(&object.to_string()).unwrap();
    let object = json!({ "apiVersion": "realsyn.dev/v1alpha1", "kind": "GpuNode", "metadata": { "name": name } });
    node.apply(&object.to_string()).unwrap();
    let devices: Vec<Value> = (0..8).map(|n| device(name, n, product, gib, fault)).collect();
    patch_status(node, "gpunode", name, &json!({ "devices": devices }));
    patch_status(node, "node", name, &json!({ "capacity": offers, "allocatable": offers }));
}

fn ready(node: &Node) {
    let wait = ["wait", "--for=condition=Ready", "--timeout=10s", "nodes", "--all"];
    until(Duration::from_secs(60), "the other nodes to be ready", || Ok(node.kubectl(&wait).is_ok())).unwrap();
}

/// kwok, for nodes that say they are its own.
fn kwok(node: &Node) -> Child {
    let binaries = Binaries::default_folder();
    let stages = binaries.kwok_stages().join("node");
    let mut kwok = Command::new(binaries.require_tool("kwok").unwrap());
    kwok.arg("--kubeconfig").arg(node.kubeconfig());
    kwok.arg(format!("--manage-nodes-with-annotation-selector={}={}", FAKE.0, FAKE.1));
    kwok.arg("--node-lease-duration-seconds=40");
    for stage in ["fast/node-initialize.yaml", "heartbeat-with-lease/node-heartbeat-with-lease.yaml"] {
        kwok.arg("--config").arg(stages.join(stage));
    }
    kwok.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn patch_status(node: &Node, kind: &str, name: &str, status: &Value) {
    let patch = json!({ "status": status }).to_string();
    node.kubectl(&["patch", kind, name, "--subresource=status", "--type=merge", "-p", &patch]).unwrap();
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
