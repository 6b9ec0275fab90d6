//! What every reconcile shares: the caches, the client, and short-lived notes on each object. Nothing here is needed
//! after a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::DynamicObject;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::cache::Cache;
use crate::cache::jobs::HeldJob;
use crate::cache::objects::Objects;
use crate::cache::pods::HeldPod;
use crate::clean_up::Wishes;
use crate::gpu::nodes::Nodes;
use crate::kinds::{Kind, KindExt};
use crate::kueue::HeldWorkload;
use crate::machine::Trouble;
use crate::metrics::Metrics;
use crate::text::sentence;

/// What the flags say.
#[derive(Clone, Debug)]
pub struct Options {
    /// The image of the pods of a new generation.
    pub worker_image: String,
    /// The only namespace to look at; all without one.
    pub namespace: Option<String>,
    /// Pods that run at once in a namespace, over all its builds.
    pub max_pods: u32,
    /// Objects that are reconciled at once.
    pub concurrency: u16,
    /// About how long an object of which nothing is told goes without a look.
    pub resync: Duration,
    /// Whether nodes and their GPUs are watched.
    pub gpus: bool,
    /// Whether nodes in quarantine are tainted.
    pub taint_nodes: bool,
    /// Whether Kueue, where it is, is asked why Jobs of queues wait.
    pub kueue: bool,
    /// The namespace of the GPU agents' Leases; without it nobody asks whether agents live.
    pub agents_namespace: Option<String>,
    /// Where workers send their spans.
    pub worker_otlp_endpoint: Option<String>,
    /// The language model's server beside workers that have one.
    pub server: realsyn_objects::server::Settings,
}

/// What every reconcile shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The flags.
    pub options: Options,
    /// Builds.
    pub builds: Objects,
    /// Releases.
    pub releases: Objects,
    /// Our Jobs.
    pub jobs: Arc<Cache<HeldJob>>,
    /// Our pods.
    pub pods: Arc<Cache<HeldPod>>,
    /// What Kueue says of our Jobs.
    pub workloads: Arc<Cache<HeldWorkload>>,
    /// What is to become of the work of deleted builds.
    pub wishes: Wishes,
    /// Warnings about Jobs.
    pub events: Store<Event>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Nodes and their GPUs.
    pub nodes: Arc<Nodes>,
    /// Events about builds and releases.
    pub recorder: Recorder,
    /// Whether this process leads.
    pub leader: watch::Receiver<bool>,
    /// By UID.
    pub notes: Mutex<HashMap<String, Note>>,
}

/// What is remembered of an object between two reconciles.
#[derive(Default)]
pub struct Note {
    /// Jobs that were just created (`true`) or deleted, until the cache shows it.
    touched: BTreeMap<String, bool>,
    trouble: Option<Trouble>,
    /// Reconciles in a row that failed.
    failures: u32,
    /// The manifests that were of use when the others were removed.
    swept: Option<BTreeSet<String>>,
}

impl Context {
    /// The builds, or the releases.
    pub fn objects(&self, kind: Kind) -> &Objects {
        match kind {
            Kind::Build => &self.builds,
            Kind::Release => &self.releases,
        }
    }

    /// Whether this process may write.
    pub fn leads(&self) -> bool {
        *self.leader.borrow()
    }

    fn notes(&self) -> MutexGuard<'_, HashMap<String, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T>(&self, uid: &str, look: impl FnOnce(&mut Note) -> T) -> T {
        look(self.notes().entry(uid.to_owned()).or_default())
    }

    /// A Job is about to be created or deleted.
    pub fn touch(&self, uid: &str, job: &str, created: bool) {
        self.note(uid, |note| _ = note.touched.insert(job.to_owned(), created));
    }

    /// A Job that was touched is not there.
    pub fn settled(&self, uid: &str, job: &str) {
        self.note(uid, |note| _ = note.touched.remove(job));
    }

    /// Jobs that were touched and that the cache still shows as they were before.
    pub fn touched(&self, uid: &str, cached: &[Arc<HeldJob>]) -> BTreeSet<String> {
        self.note(uid, |note| {
            note.touched.retain(|name, created| match cached.iter().find(|job| job.seen.name == *name) {
                Some(job) => !*created && !job.seen.deleting,
                None => true,
            });
            note.touched.keys().cloned().collect()
        })
    }

    /// What the last try to change something failed with.
    pub fn trouble(&self, uid: &str) -> Option<Trouble> {
        self.note(uid, |note| note.trouble.clone())
    }

    /// Remembers what a try to change something failed with, or that it went well. Tells whether that is news.
    pub fn set_trouble(&self, uid: &str, trouble: Option<Trouble>) -> bool {
        self.note(uid, |note| std::mem::replace(&mut note.trouble, trouble.clone()) != trouble)
    }

    /// A reconcile has ended, well or not.
    pub fn ended(&self, uid: &str, well: bool) {
        self.note(uid, |note| note.failures = if well { 0 } else { note.failures.saturating_add(1) });
    }

    /// How many reconciles in a row have failed.
    pub fn failures(&self, uid: &str) -> u32 {
        self.notes().get(uid).map_or(0, |note| note.failures)
    }

    /// The manifests that were of use when all others were removed, if that was since the start.
    pub fn swept(&self, uid: &str) -> Option<BTreeSet<String>> {
        self.note(uid, |note| note.swept.clone())
    }

    /// All other manifests are removed.
    pub fn set_swept(&self, uid: &str, used: BTreeSet<String>) {
        self.note(uid, |note| note.swept = Some(used));
    }

    /// Whether the cache shows this very object.
    pub fn shows(&self, kind: Kind, object: &DynamicObject) -> bool {
        let reference = kind.reference(&object.namespace().unwrap_or_default(), &object.name_any());
        self.objects(kind).get(&reference).is_some_and(|there| there.metadata.uid == object.metadata.uid)
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.notes().remove(uid);
        self.metrics.forget(uid);
    }

    /// Objects that no cache shows are gone: nothing is told of what goes while a watch is broken off.
    pub fn forget_gone(&self) {
        let all = [&self.builds, &self.releases].into_iter().flat_map(|objects| objects.state());
        let there: HashSet<String> = all.filter_map(|object| object.uid()).collect();
        self.notes().retain(|uid, _| there.contains(uid));
        self.metrics.forget_all_but(&there);
    }

    /// The newest warning about a Job, in words.
    pub fn event_of(&self, job_uid: &str) -> Option<String> {
        let about = |event: &Event| event.involved_object.uid.as_deref() == Some(job_uid);
        let events = self.events.state_filter(about);
        let when = |event: &Event| event.last_timestamp.as_ref().or(event.first_timestamp.as_ref()).map(|t| t.0);
        let newest = events.iter().max_by_key(|event| when(event))?;
        let (reason, message) = (newest.reason.as_deref().unwrap_or_default(), newest.message.as_deref());
        Some(sentence(&format!("{reason}: {}", message.unwrap_or_default()), 300))
    }
}
