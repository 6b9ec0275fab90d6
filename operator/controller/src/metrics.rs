//! What Prometheus sees. Labels are bounded: kinds, error categories, watches, stages.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use kube::ResourceExt;
use kube::api::DynamicObject;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use realsyn_crds::Condition;

use crate::kinds::{Kind, KindExt};

type Labels = [(&'static str, &'static str); 1];

/// All metrics of the controller.
pub struct Metrics {
    registry: Registry,
    /// Reconciles, by kind.
    pub reconciles: Family<Labels, Counter>,
    /// Failed reconciles, by category.
    pub errors: Family<Labels, Counter>,
    /// How long a reconcile takes.
    pub duration: Histogram,
    /// Writes of a status.
    pub status_writes: Counter,
    /// Jobs created.
    pub jobs_created: Counter,
    /// Events of each watch.
    pub watch_events: Family<Labels, Counter>,
    /// Errors of each watch.
    pub watch_errors: Family<Labels, Counter>,
    /// When each watch last moved.
    pub watch_moved: Family<Labels, Gauge<f64, AtomicU64>>,
    /// Whether this process leads.
    pub leader: Gauge,
    /// Tasks that take much longer than their equals.
    pub stragglers: Gauge,
    /// GPU agents that are silent.
    pub silent_agents: Gauge,
    objects: Family<[(&'static str, &'static str); 2], Gauge>,
    // The state that each object was last counted under, by UID.
    counted: Mutex<HashMap<String, (Kind, &'static str)>>,
    // Its slow tasks, where it has any.
    slow: Mutex<HashMap<String, usize>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("realsyn_controller");
        let metrics = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            duration: Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
            status_writes: Counter::default(),
            jobs_created: Counter::default(),
            watch_events: Family::default(),
            watch_errors: Family::default(),
            watch_moved: Family::default(),
            leader: Gauge::default(),
            stragglers: Gauge::default(),
            silent_agents: Gauge::default(),
            objects: Family::default(),
            counted: Mutex::default(),
            slow: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register("reconciles", "Reconciles by kind", metrics.reconciles.clone());
        registry.register("reconcile_errors", "Failed reconciles by category", metrics.errors.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit("reconcile", "How long it takes", seconds, metrics.duration.clone());
        registry.register("status_writes", "Writes of a status", metrics.status_writes.clone());
        registry.register("jobs_created", "Jobs created", metrics.jobs_created.clone());
        registry.register("watch_events", "Events by watch", metrics.watch_events.clone());
        registry.register("watch_errors", "Errors by watch", metrics.watch_errors.clone());
        registry.register("watch_moved_timestamp_seconds", "When a watch last moved", metrics.watch_moved.clone());
        registry.register("leader", "Whether this process leads", metrics.leader.clone());
        registry.register("straggling_tasks", "Tasks that are much slower than others", metrics.stragglers.clone());
        registry.register("silent_gpu_agents", "GPU agents that are silent", metrics.silent_agents.clone());
        registry.register("objects", "Builds and releases by state", metrics.objects.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Everything in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        _ = encode(&mut text, &self.registry);
        text
    }

    /// Counts an object under the state that its conditions tell.
    pub fn progress(&self, kind: Kind, object: &DynamicObject, conditions: &[Condition]) {
        let is = |name: &str| conditions.iter().any(|c| c.type_ == name && c.status == "True");
        let now = if is("Ready") {
            "ready"
        } else if is("Suspended") {
            "suspended"
        } else if is("Stalled") {
            "stalled"
        } else {
            "reconciling"
        };
        self.count(object.uid().unwrap_or_default(), Some((kind, now)));
    }

    /// Counts the slow tasks of an object.
    pub fn slow_tasks(&self, uid: &str, tasks: usize) {
        let mut slow = self.slow.lock().unwrap_or_else(|e| e.into_inner());
        match tasks {
            0 => _ = slow.remove(uid),
            tasks => _ = slow.insert(uid.to_owned(), tasks),
        }
        self.stragglers.set(i64::try_from(slow.values().sum::<usize>()).unwrap_or(i64::MAX));
    }

    /// No longer counts an object.
    pub fn forget(&self, uid: &str) {
        self.count(uid.to_owned(), None);
        self.slow_tasks(uid, 0);
    }

    fn count(&self, uid: String, now: Option<(Kind, &'static str)>) {
        let mut counted = self.counted.lock().unwrap_or_else(|e| e.into_inner());
        let before = match now {
            Some(now) => counted.insert(uid, now),
            None => counted.remove(&uid),
        };
        let gauge = |(kind, state): (Kind, &'static str)| {
            self.objects.get_or_create(&[("kind", kind.label()), ("state", state)]).clone()
        };
        _ = before.map(|b| gauge(b).dec());
        _ = now.map(|n| gauge(n).inc());
    }
}
