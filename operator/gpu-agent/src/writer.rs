//! The agent's two objects: the node's `GpuNode`, written when its status has changed, and a Lease, renewed while the agent lives.
//!
//! While nothing changes the renewals are all that is sent. The Lease belongs to the GpuNode and the GpuNode to the Node, so
//! whoever deletes one of them lets the garbage collector take the Lease, and the next renewal finds out.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use realsyn_crds::{GROUP, GpuNodeStatus, VERSION};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::metrics::Metrics;
use crate::node::change;
use crate::probes::Health;

/// How often the Lease is renewed.
pub const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// What the Lease says of itself to whoever reads Leases. The controller judges by its own clock and is slower to call an agent
/// silent (90 s), since a restart with another image takes as long.
pub const LEASE: Duration = Duration::from_secs(40);
const MANAGER: &str = "realsyn-gpu-agent";
/// One request; the client itself would wait for minutes.
const REQUEST: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, or there was no answer.
    #[error("{what}: {source}")]
    Request {
        /// What was asked.
        what: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// It did not answer in time.
    #[error("{what}: no answer within {} s", REQUEST.as_secs())]
    Deadline {
        /// What was asked.
        what: String,
    },
    /// Something that must be there is not.
    #[error("{0}")]
    Missing(String),
}

impl Error {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Request { source, .. } if matches!(&**source, kube::Error::Api(e) if e.code == 404))
    }
}

/// Writes for one node.
pub struct Writer {
    node: String,
    nodes: Api<Node>,
    gpu_nodes: Api<DynamicObject>,
    leases: Api<Lease>,
    uid: Option<String>,
    // Whether the object is known to be there and to belong to its node.
    ensured: bool,
    written: Option<GpuNodeStatus>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// What `GpuNode` is to the API server.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, "GpuNode"), "gpunodes")
}

/// The name of the Lease of a node's agent.
pub fn lease_name(node: &str) -> String {
    format!("realsyn-gpu-{node}")
}

impl Writer {
    /// Writes for a node, with the Lease in a namespace.
    pub fn new(client: Client, node: &str, namespace: &str, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        Self {
            node: node.to_owned(),
            nodes: Api::all(client.clone()),
            gpu_nodes: Api::all_with(client.clone(), &resource()),
            leases: Api::namespaced(client, namespace),
            uid: None,
            ensured: false,
            written: None,
            health,
            metrics,
        }
    }

    /// What an earlier agent wrote, which is not written again.
    pub async fn previous(&mut self) -> Result<Option<GpuNodeStatus>, Error> {
        let object = request(format!("reading GpuNode {}", self.node), self.gpu_nodes.get_opt(&self.node)).await?;
        let Some(mut object) = object else { return Ok(None) };
        let status = object.data.get_mut("status").map(Value::take);
        // What cannot be read was written by another version; it is replaced.
        self.written = status.and_then(|status| serde_json::from_value(status).ok());
        self.uid = object.uid();
        Ok(self.written.clone())
    }

    /// Writes what changes until told to stop.
    pub async fn run(mut self, mut statuses: watch::Receiver<GpuNodeStatus>, mut stop: watch::Receiver<bool>) {
        let mut renew = interval(RENEWED_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry = FIRST_RETRY;
        let mut again: Option<Instant> = None;
        loop {
            let due = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = until(again), if again.is_some() => true,
                // While something fails its retry is all that is tried.
                _ = renew.tick(), if again.is_none() => true,
                changed = statuses.changed(), if again.is_none() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
            };
            let status = statuses.borrow_and_update().clone();
            let outcome = self.step(status, due).await;
            match &outcome {
                Ok(()) => (retry, again) = (FIRST_RETRY, None),
                Err(error) => {
                    tracing::warn!(node = self.node, %error, "will be tried again in {} s", retry.as_secs());
                    self.metrics.write_errors.inc();
                    again = Some(Instant::now() + retry);
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
            self.health.wrote(outcome.map_err(|error| error.to_string()));
        }
    }

    async fn step(&mut self, status: GpuNodeStatus, renew: bool) -> Result<(), Error> {
        if !self.ensured {
            self.ensure().await?;
        }
        self.write(status.clone()).await?;
        if renew && !self.renew().await? {
            // The GpuNode may be gone, and with it what was written.
            self.ensure().await?;
            self.write(status).await?;
            self.create_lease().await?;
        }
        Ok(())
    }

    /// Makes sure that the GpuNode exists and belongs to the Node.
    async fn ensure(&mut self) -> Result<(), Error> {
        let name = &self.node;
        let node = request(format!("reading Node {name}"), self.nodes.get_opt(name)).await?;
        let owner = node.and_then(|node| node.uid());
        let owner = owner.ok_or_else(|| Error::Missing(format!("there is no Node {name}; NODE_NAME must name one")))?;
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "GpuNode",
            "metadata": {
                "name": name,
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": owner }],
            },
        });
        let what = format!("creating GpuNode {name}");
        let object = request(what, self.gpu_nodes.patch(name, &params(), &Patch::Apply(object))).await?;
        if object.uid() != self.uid {
            (self.uid, self.written) = (object.uid(), None);
        }
        self.ensured = true;
        Ok(())
    }

    async fn write(&mut self, status: GpuNodeStatus) -> Result<(), Error> {
        let Some(status) = change(self.written.as_ref(), status, now()) else { return Ok(()) };
        let object = json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GpuNode", "status": status });
        let what = format!("writing the status of GpuNode {}", self.node);
        let (how, patch) = (params(), Patch::Apply(object));
        if let Err(error) = request(what, self.gpu_nodes.patch_status(&self.node, &how, &patch)).await {
            if error.is_missing() {
                self.ensured = false;
            }
            return Err(error);
        }
        self.metrics.status_writes.inc();
        self.written = Some(status);
        Ok(())
    }

    /// Renews the Lease; false if there is none.
    async fn renew(&self) -> Result<bool, Error> {
        let name = lease_name(&self.node);
        let patch = Patch::Merge(json!({ "spec": { "renewTime": MicroTime(Timestamp::now()) } }));
        let how = PatchParams::default();
        match request(format!("renewing Lease {name}"), self.leases.patch(&name, &how, &patch)).await {
            Ok(_) => {
                self.metrics.renewals.inc();
                Ok(true)
            }
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn create_lease(&self) -> Result<(), Error> {
        let name = lease_name(&self.node);
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "ownerReferences": [{
                    "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GpuNode", "name": self.node, "uid": self.uid,
                }],
            },
            "spec": {
                "holderIdentity": self.node,
                "leaseDurationSeconds": LEASE.as_secs(),
                "renewTime": MicroTime(Timestamp::now()),
            },
        });
        request(format!("creating Lease {name}"), self.leases.patch(&name, &params(), &Patch::Apply(lease))).await?;
        self.metrics.renewals.inc();
        Ok(())
    }
}

async fn request<T>(what: String, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    match timeout(REQUEST, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Request { what, source: Box::new(source) }),
        Err(_) => Err(Error::Deadline { what }),
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn params() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

/// The time as objects have it, in whole seconds.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a time of this age of the world")
}
