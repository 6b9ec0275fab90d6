//! What Prometheus sees. Labels are bounded: kinds, error categories, watches, stages.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use realsyn_crds::{Condition, Quarantine, Stage, StageStatus};

use crate::gpu::quarantine::CONTROLLER;
use crate::kinds::{Kind, KindExt};

type Labels = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// The states that shards are counted by.
const SHARDS: [&str; 3] = ["done", "left", "rejected"];

/// All metrics of the controller.
pub struct Metrics {
    registry: Registry,
    /// Objects that wait to be reconciled.
    queue_depth: Gauge,
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
    /// Pods that were evicted from nodes in quarantine.
    pub evictions: Counter,
    gpu_seconds: Family<Labels, Counter>,
    objects: Family<TwoLabels, Gauge>,
    shards: Family<TwoLabels, Gauge>,
    quarantined: Family<Labels, Gauge>,
    // Objects that wait.
    waiting: Mutex<HashSet<(Kind, String, String)>>,
    // What each object adds to the gauges, by UID.
    counted: Mutex<HashMap<String, Counted>>,
    // The classes of a node's quarantine, by its name.
    nodes: Mutex<HashMap<String, Vec<&'static str>>>,
}

/// What an object adds to the gauges.
#[derive(Default)]
struct Counted {
    state: Option<(Kind, &'static str)>,
    slow: i64,
    /// Of each stage, in the order of [`SHARDS`].
    shards: Vec<(Stage, [i64; 3])>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("realsyn_controller");
        let metrics = Self {
            queue_depth: Gauge::default(),
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
            evictions: Counter::default(),
            gpu_seconds: Family::default(),
            objects: Family::default(),
            shards: Family::default(),
            quarantined: Family::default(),
            waiting: Mutex::default(),
            counted: Mutex::default(),
            nodes: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register("queue_depth", "Objects that wait to be reconciled", metrics.queue_depth.clone());
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
        registry.register("shards", "Shards by stage and state", metrics.shards.clone());
        registry.register("gpu_seconds", "GPU time held by pods, by stage", metrics.gpu_seconds.clone());
        registry.register("quarantined_devices", "Devices in quarantine", metrics.quarantined.clone());
        registry.register("evictions", "Pods evicted from nodes in quarantine", metrics.evictions.clone());
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

    /// An object waits to be reconciled.
    pub fn queued(&self, kind: Kind, namespace: &str, name: &str) {
        self.wait(|waiting| _ = waiting.insert((kind, namespace.to_owned(), name.to_owned())));
    }

    /// It waits no more.
    pub fn taken(&self, kind: Kind, namespace: &str, name: &str) {
        self.wait(|waiting| _ = waiting.remove(&(kind, namespace.to_owned(), name.to_owned())));
    }

    fn wait(&self, change: impl FnOnce(&mut HashSet<(Kind, String, String)>)) {
        let mut waiting = locked(&self.waiting);
        change(&mut waiting);
        self.queue_depth.set(number(waiting.len()));
    }

    /// Counts an object under the state that its conditions tell, with its stages.
    pub fn progress(&self, kind: Kind, uid: &str, conditions: &[Condition], stages: &[StageStatus]) {
        let is = |name: &str| conditions.iter().any(|c| c.type_ == name && c.status == "True");
        let state = if is("Ready") {
            "ready"
        } else if is("Suspended") {
            "suspended"
        } else if is("Stalled") {
            "stalled"
        } else {
            "reconciling"
        };
        let of_stage = |stage: &StageStatus| {
            let left = stage.shards.saturating_sub(stage.shards_done);
            let rejected = stage.rejected.values().sum::<u64>();
            (stage.name, [stage.shards_done, left, rejected].map(number))
        };
        let shards = stages.iter().map(of_stage).filter(|(_, counts)| *counts != [0; 3]).collect();
        let slow = number(stages.iter().map(|s| s.stragglers.len()).sum::<usize>());
        let mut counted = locked(&self.counted);
        let now = Counted { state: Some((kind, state)), slow, shards };
        self.add(&now, 1);
        if let Some(before) = counted.insert(uid.to_owned(), now) {
            self.add(&before, -1);
        }
    }

    /// Counts the GPU time that stages held from one status to the next.
    pub fn spent(&self, before: &[StageStatus], after: &[StageStatus]) {
        for stage in after {
            let old = before.iter().find(|old| old.name == stage.name).map_or(0, |old| old.gpu_seconds);
            let more = stage.gpu_seconds.saturating_sub(old);
            if more > 0 {
                self.gpu_seconds.get_or_create(&[("stage", stage.name.name())]).inc_by(more);
            }
        }
    }

    /// No longer counts an object.
    pub fn forget(&self, uid: &str) {
        if let Some(before) = locked(&self.counted).remove(uid) {
            self.add(&before, -1);
        }
    }

    /// No longer counts any object but these.
    pub fn forget_all_but(&self, uids: &HashSet<String>) {
        for (_, before) in locked(&self.counted).extract_if(|uid, _| !uids.contains(uid)) {
            self.add(&before, -1);
        }
        self.wait(HashSet::clear);
    }

    /// Counts the quarantine of a node.
    pub fn quarantine(&self, node: &str, entries: &[Quarantine]) {
        let mut classes: Vec<(Option<&str>, &str)> = entries.iter().map(|e| (e.device.as_deref(), class(e))).collect();
        classes.sort_unstable();
        classes.dedup();
        let classes: Vec<&'static str> = classes.into_iter().map(|(_, class)| class).collect();
        let mut nodes = locked(&self.nodes);
        let gauge = |class: &'static str| self.quarantined.get_or_create(&[("class", class)]).clone();
        classes.iter().for_each(|class| _ = gauge(class).inc());
        let before = if classes.is_empty() { nodes.remove(node) } else { nodes.insert(node.to_owned(), classes) };
        before.iter().flatten().for_each(|class| _ = gauge(class).dec());
    }

    fn add(&self, counted: &Counted, sign: i64) {
        if let Some((kind, state)) = counted.state {
            self.objects.get_or_create(&[("kind", kind.label()), ("state", state)]).inc_by(sign);
        }
        for (stage, counts) in &counted.shards {
            for (state, n) in SHARDS.into_iter().zip(counts) {
                self.shards.get_or_create(&[("stage", stage.name()), ("state", state)]).inc_by(sign * n);
            }
        }
        self.stragglers.inc_by(sign * counted.slow);
    }
}

/// What an entry speaks of: few words, whatever agents and people write.
fn class(entry: &Quarantine) -> &'static str {
    match entry.reason.as_str() {
        _ if entry.by != CONTROLLER => "person",
        "Lost" | "ResetRequired" | "DriverHung" | "Unreadable" => "driver",
        "EccUncorrected" | "RowRemapFailed" | "RowRemapPending" => "memory",
        "Thermal" => "thermal",
        "RepeatedFailures" => "failures",
        reason if reason.starts_with("Xid") => "xid",
        _ => "other",
    }
}

fn number(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use realsyn_crds::StageState;

    use super::*;
    use crate::machine::set_condition;

    fn condition(type_: &str) -> Vec<Condition> {
        let mut conditions = Vec::new();
        set_condition(&mut conditions, type_, (true, ("Why", String::new())), 1, "2026-01-01T00:00:00Z");
        conditions
    }

    fn stage(shards: u64, done: u64, gpu_seconds: u64) -> StageStatus {
        let running = StageStatus { state: StageState::Running, ..StageStatus::waiting(Stage::ImageEmbed) };
        StageStatus { shards, shards_done: done, gpu_seconds, ..running }
    }

    /// The value of a series.
    fn value(metrics: &Metrics, series: &str) -> i64 {
        let text = metrics.text();
        let line = text.lines().find(|line| line.starts_with(&format!("realsyn_controller_{series} ")));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    #[test]
    fn an_object_is_counted_once_and_no_more_when_it_is_gone() {
        let metrics = Metrics::default();
        let stalled = "objects{kind=\"build\",state=\"stalled\"}";
        let (done, left) =
            ("shards{stage=\"image-embed\",state=\"done\"}", "shards{stage=\"image-embed\",state=\"left\"}");
        for uid in ["a", "b", "c"] {
            metrics.progress(Kind::Build, uid, &condition("Stalled"), &[stage(10, 4, 0)]);
        }
        metrics.progress(Kind::Build, "c", &condition("Ready"), &[stage(10, 10, 0)]);
        assert_eq!([stalled, done, left].map(|series| value(&metrics, series)), [2, 18, 12]);
        metrics.forget("a");
        metrics.forget("a");
        assert_eq!([stalled, done, left].map(|series| value(&metrics, series)), [1, 14, 6]);
        // Of `b` nobody told that it went.
        metrics.forget_all_but(&HashSet::from(["c".to_owned()]));
        assert_eq!([stalled, done, left].map(|series| value(&metrics, series)), [0, 10, 0]);
    }

    #[test]
    fn an_object_waits_once() {
        let metrics = Metrics::default();
        metrics.queued(Kind::Build, "n", "a");
        metrics.queued(Kind::Build, "n", "a");
        metrics.queued(Kind::Release, "n", "a");
        assert_eq!(value(&metrics, "queue_depth"), 2);
        metrics.taken(Kind::Build, "n", "a");
        metrics.taken(Kind::Build, "n", "a");
        assert_eq!(value(&metrics, "queue_depth"), 1);
    }

    #[test]
    fn gpu_time_is_counted_as_it_grows() {
        let metrics = Metrics::default();
        metrics.spent(&[], &[stage(1, 0, 70)]);
        metrics.spent(&[stage(1, 0, 70)], &[stage(1, 0, 100)]);
        // A stage that begins anew under another digest keeps what it spent; one that is no longer there spends nothing.
        metrics.spent(&[stage(1, 0, 100)], &[]);
        assert_eq!(value(&metrics, "gpu_seconds_total{stage=\"image-embed\"}"), 100);
    }

    #[test]
    fn quarantine_is_counted_by_few_words() {
        let metrics = Metrics::default();
        let entry = |device: &str, reason: &str, by: &str| Quarantine {
            device: Some(device.to_owned()),
            reason: reason.to_owned(),
            by: by.to_owned(),
            ..Quarantine::default()
        };
        let entries = [
            entry("a", "Xid79", CONTROLLER),
            entry("a", "Xid48", CONTROLLER),
            entry("b", "Xid79", CONTROLLER),
            entry("b", "Whatever", "ops"),
            entry("c", "Whatever", CONTROLLER),
        ];
        metrics.quarantine("node", &entries);
        metrics.quarantine("node", &entries);
        let of = |class: &str| value(&metrics, &format!("quarantined_devices{{class=\"{class}\"}}"));
        assert_eq!(["xid", "person", "other", "memory"].map(of), [2, 1, 1, 0]);
        metrics.quarantine("node", &[]);
        assert_eq!(["xid", "person", "other", "memory"].map(of), [0; 4]);
    }
}
