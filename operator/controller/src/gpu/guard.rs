//! Quarantine, carried out: the entry in the `GpuNode`, the taint on the node, the eviction of our pods. Each is brought
//! to what it should be, whatever an earlier try left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{EvictParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use realsyn_crds::{QUARANTINED, Quarantine};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::nodes::GpuNode;
use super::quarantine::{CONTROLLER, Failures, changes, in_a_line, wanted};
use crate::cache::Kept;
use crate::cache::pods::{HeldPod, SERVER_DIED};
use crate::context::Context;
use crate::names;

/// Nodes are looked at again so often even if nothing changes: suspicions end by the clock.
const AGAIN: Duration = Duration::from_secs(60);

/// The exit code of a worker whose GPU was lost.
const LOST_GPU: i32 = 66;

/// What the guard is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The node of this name, or its `GpuNode`, has changed, come, or gone.
    Node(String),
    /// Any node may have: a watch listed everything anew.
    All,
}

/// Looks after quarantine.
pub struct Guard {
    context: Arc<Context>,
    failures: Mutex<Failures>,
}

impl Guard {
    /// A guard over the nodes that the context knows.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, failures: Mutex::default() }
    }

    /// Looks at nodes as they change, and at all of them when a watch begins anew and every minute, for ever.
    /// `changed` is called after nodes have changed in a way that matters to placement, or may have.
    pub async fn run(self, mut news: UnboundedReceiver<Changed>, changed: impl Fn()) {
        // Not a wait for silence: in a large cluster there is always some node that changes.
        let mut all = tokio::time::interval(AGAIN);
        all.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (mut due, mut wake) = (BTreeSet::new(), false);
            let mut take = |news: Changed| match news {
                Changed::Node(name) => _ = due.insert(name),
                Changed::All => {
                    due.extend(self.context.nodes.names());
                    // A build whose condition came into the cache after its node had changed.
                    wake = true;
                }
            };
            tokio::select! {
                first = news.next() => match first {
                    Some(first) => take(first),
                    None => return,
                },
                _ = all.tick() => take(Changed::All),
            }
            while let Ok(more) = news.try_recv() {
                take(more);
            }
            due.iter().for_each(|name| wake |= self.context.nodes.changed(name));
            if !self.context.leads() {
                continue;
            }
            if wake {
                changed();
            }
            let suspected = self.suspected();
            for name in due {
                if let Err(error) = self.look(&name, &suspected).await {
                    // Whoever wrote first is seen by the watch; everything else is tried again within a minute.
                    tracing::warn!(node = name, %error, "the quarantine of a node cannot be brought up to date yet");
                }
            }
        }
    }

    /// Devices on which tasks of ours fail, and nodes on which their servers do.
    fn suspected(&self) -> BTreeMap<String, Timestamp> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in self.ended_with(LOST_GPU) {
            // A pod can speak of the devices of its own node, and of no other.
            let node = pod.seen.node.as_deref().unwrap_or_default();
            let Some(gpu_node) = self.context.nodes.gpu_nodes.get(&ObjectRef::new(node)) else { continue };
            let (Some(ended), Some(at)) = (&pod.seen.ended, pod.seen.ended_at) else { continue };
            if gpu_node.status.devices.iter().any(|device| ended.message.contains(&device.uuid)) {
                failures.add(&task(&pod), &ended.message, at);
            }
        }
        let died = self.ended_with(SERVER_DIED);
        let well = if died.is_empty() { Vec::new() } else { self.ended_with(0) };
        let well: BTreeMap<String, &HeldPod> = well.iter().map(|pod| (task(pod), &**pod)).collect();
        for pod in &died {
            let task = task(pod);
            let Some(well) = well.get(&task).filter(|well| well.seen.node != pod.seen.node) else { continue };
            if let (Some(node), Some(at)) = (&pod.seen.node, well.seen.ended_at) {
                failures.add_server(&task, node, at);
            }
        }
        failures.suspected(Timestamp::now())
    }

    /// Our pods that held GPUs, and whose worker ended with this code.
    fn ended_with(&self, code: i32) -> Vec<Arc<HeldPod>> {
        self.context.pods.filter(|pod| pod.holds_gpus && pod.seen.ended.as_ref().is_some_and(|e| e.code == code))
    }

    async fn look(&self, name: &str, suspected: &BTreeMap<String, Timestamp>) -> Result<(), kube::Error> {
        if !self.context.nodes.are_there() {
            // Not listed yet, or not to be read: that is no reason to end a quarantine.
            return Ok(());
        }
        let found = self.context.nodes.gpu_nodes.get(&ObjectRef::new(name));
        let mut entries = Vec::new();
        if let Some(gpu_node) = found {
            entries = wanted(name, &gpu_node.spec.quarantine, &gpu_node.status, suspected);
            let line = gpu_node.metadata.annotations.as_ref().and_then(|all| all.get(QUARANTINED));
            if entries != gpu_node.spec.quarantine || line != in_a_line(&entries).as_ref() {
                self.write(&gpu_node, &entries).await?;
            }
        }
        self.context.metrics.quarantine(name, &entries);
        if self.context.options.taint_nodes {
            self.taint(name, !entries.is_empty()).await?;
        }
        if !entries.is_empty() {
            self.evict(name, &entries).await?;
        }
        Ok(())
    }

    async fn write(&self, gpu_node: &GpuNode, entries: &[Quarantine]) -> Result<(), kube::Error> {
        let api: Api<GpuNode> = Api::all(self.context.client.clone());
        // The resource version is the fence: a person's entry that we have not seen yet is not written over.
        let version = gpu_node.resource_version();
        let patch = json!({
            "metadata": { "resourceVersion": version, "annotations": { QUARANTINED: in_a_line(entries) } },
            "spec": { "quarantine": entries },
        });
        match api.patch(&gpu_node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 409 || refusal.code == 404 => return Ok(()),
            done => _ = done?,
        }
        let (begun, ended) = changes(&gpu_node.spec.quarantine, entries);
        for (entries, type_, reason) in
            [(begun, EventType::Warning, "Quarantined"), (ended, EventType::Normal, "Released")]
        {
            for entry in entries.iter().filter(|e| e.by == CONTROLLER) {
                let device = entry.device.as_deref().unwrap_or("the node");
                tracing::warn!(node = gpu_node.name_any(), device, why = entry.reason, "{reason}");
                let event = Event {
                    type_,
                    reason: reason.to_owned(),
                    action: format!("{reason}/{device}"),
                    note: Some(format!("{device}: {}: {}", entry.reason, entry.message)),
                    secondary: None,
                };
                if let Err(error) = self.context.recorder.publish(&event, &gpu_node.object_ref(&())).await {
                    tracing::debug!(%error, "an Event was not taken");
                }
            }
        }
        Ok(())
    }

    /// Gives the node the taint, or takes it away.
    async fn taint(&self, name: &str, wanted: bool) -> Result<(), kube::Error> {
        let Some(node) = self.context.nodes.nodes.get(&ObjectRef::new(name)) else { return Ok(()) };
        let is_ours = |t: &Taint| t.key == names::QUARANTINE;
        let mut taints = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        if taints.iter().any(is_ours) == wanted {
            return Ok(());
        }
        if wanted {
            let (key, effect) = (names::QUARANTINE.to_owned(), "NoSchedule".to_owned());
            taints.push(Taint { key, effect, ..Taint::default() });
        } else {
            taints.retain(|t| !is_ours(t));
        }
        // Taints are a list without keys, so they are replaced as a whole, unless somebody else was faster.
        let version = node.resource_version();
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        let api: Api<Node> = Api::all(self.context.client.clone());
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 409 || refusal.code == 404 => Ok(()),
            done => done.map(drop),
        }
    }

    /// Evicts our pods that hold GPUs of the node: an eviction, unlike a failure, spends no retry.
    async fn evict(&self, name: &str, entries: &[Quarantine]) -> Result<(), kube::Error> {
        let on_it = |pod: &HeldPod| pod.holds_gpus && !pod.is_over && pod.seen.node.as_deref() == Some(name);
        for pod in self.context.pods.filter(on_it) {
            let namespace = &pod.namespace;
            let api: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
            match api.evict(&pod.name, &EvictParams::default()).await {
                // 429: a disruption budget says not now.
                Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409 | 429) => {}
                done => {
                    done?;
                    self.context.metrics.evictions.inc();
                    let why = entries.first().map(|e| e.reason.as_str()).unwrap_or_default();
                    tracing::warn!(namespace, pod = pod.name, node = name, why, "evicted from a node in quarantine");
                }
            }
        }
        Ok(())
    }
}

/// The task of a pod: its Job, and its index.
fn task(pod: &HeldPod) -> String {
    let index = pod.seen.index.map(|index| index.to_string()).unwrap_or_default();
    format!("{}/{index}", pod.owner())
}
