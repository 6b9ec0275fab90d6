//! Everything together: wait for the CRDs, fill the caches, contend for the Lease, reconcile until told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{FutureExt, StreamExt, TryFutureExt};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node};
use kube::api::{DynamicObject, ListParams};
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use realsyn_process::probes::{self, Probes};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::cache::Cache;
use crate::cache::jobs::{HeldJob, ReadJob};
use crate::cache::objects::Object;
use crate::cache::pods::{HeldPod, ReadPod};
use crate::clean_up;
use crate::context::{Context, Options};
use crate::gpu::agents;
use crate::gpu::guard::{Changed, Guard};
use crate::gpu::nodes::{GpuNode, Nodes, strip_gpu_node, strip_node};
use crate::health::Health;
use crate::kinds::{Kind, KindExt};
use crate::kueue;
use crate::lease::Contender;
use crate::metrics::Metrics;
use crate::names;
use crate::queues::Queues;
use crate::reconcile::build::trace_of;
use crate::reconcile::reconcile;
use crate::watches::{News, Watched, as_it_is, follow};

/// Changes come in bursts: a Job and its pods. Together they are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Builds, releases and nodes in one answer: their specs and statuses are long.
const PAGE_OF_OBJECTS: u32 = 100;
/// How long the reconciles, and then the Lease, may take to end once the process is told to: kubelet waits for thirty
/// seconds.
const ENDING: Duration = Duration::from_secs(12);
/// How often missing CRDs are looked for.
const LOOK_FOR_CRDS: Duration = Duration::from_secs(2);

/// How a process takes part.
pub struct Process {
    /// Where `/livez`, `/readyz` and `/metrics` are answered.
    pub listener: TcpListener,
    /// The namespace of the Lease, and a name that no other process has; without it, this is the only process.
    pub lease: Option<(String, String)>,
}

/// Runs the controller until `stop` says true, then ends what was begun and hands the Lease back.
///
/// # Errors
/// A watch that ended. Everything else is tried again.
pub async fn run(client: Client, options: Options, process: Process, stop: watch::Receiver<bool>) -> Result<()> {
    let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
    // Ends with this function, like every task in the set.
    let mut tasks = JoinSet::new();
    let probes = Arc::new(Vitals { health: health.clone(), metrics: metrics.clone() });
    tasks.spawn(probes::serve(process.listener, probes));

    let mut stopping = stop.clone();
    for kind in Kind::ALL {
        tokio::select! {
            () = wait_for_crd(kind, &client, &options) => {}
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        }
    }

    let (leads, leader) = watch::channel(process.lease.is_none());
    let caches = Caches::new();
    let gpu_nodes = NodeCaches::default();
    let nodes = Arc::new(Nodes::new(gpu_nodes.nodes.as_reader(), gpu_nodes.gpu_nodes.as_reader(), options.gpus));
    let instance = process.lease.as_ref().map(|(_, identity)| identity.clone());
    let context = Arc::new(Context {
        client: client.clone(),
        builds: caches.builds.as_reader(),
        releases: caches.releases.as_reader(),
        jobs: caches.jobs.clone(),
        pods: caches.pods.clone(),
        workloads: Arc::default(),
        events: caches.events.as_reader(),
        wishes: caches.wishes.as_reader(),
        metrics: metrics.clone(),
        nodes: nodes.clone(),
        recorder: Recorder::new(client.clone(), Reporter { controller: names::CONTROLLER.to_owned(), instance }),
        leader: leader.clone(),
        notes: std::sync::Mutex::default(),
        options: options.clone(),
    });
    let (build_queue, builds) = unbounded();
    let (release_queue, releases) = unbounded();
    let queues = Queues::new(build_queue, release_queue, context.clone());
    caches.follow(&mut tasks, &client, &options, &queues, &health, &metrics);
    if options.kueue {
        // Nobody waits for it: what may be absent says nothing of whether this process is ready.
        let watched = Watched { name: "workloads", health: health.clone(), metrics: metrics.clone() };
        let (workloads, q) = (context.workloads.clone(), queues.clone());
        tasks.spawn(kueue::watch(watched, client.clone(), options.namespace.clone(), workloads, move |job| q.job(job)));
    }
    tasks.spawn(clean_up::run(context.clone()));
    if options.gpus {
        let (tell, told) = unbounded();
        gpu_nodes.follow(&mut tasks, &client, tell.clone(), &health, &metrics);
        if let Some(namespace) = options.agents_namespace.clone() {
            tasks.spawn(agents::follow(context.clone(), namespace, tell));
        }
        let wake = queues.clone();
        tasks.spawn(Guard::new(context.clone()).run(told, move || wake.placed()));
    }

    let appliers = [(Kind::Build, builds), (Kind::Release, releases)].map(|(kind, queue)| {
        let mut stopping = stop.clone();
        let until = async move { _ = stopping.wait_for(|stop| *stop).await };
        let queue = queue.map(Ok::<_, std::convert::Infallible>).take_until(until.boxed());
        let config = Config::default().debounce(DEBOUNCE).concurrency(options.concurrency);
        let store = context.objects(kind).clone();
        let one = move |object, context| timed(kind, object, context).boxed();
        applier(one, retry, context.clone(), store, queue, config).for_each(|_| std::future::ready(()))
    });

    let mut follower = leader;
    let (gauge, everything) = (metrics.clone(), queues.clone());
    tasks.spawn(async move {
        // Whoever begins to lead looks at everything once.
        loop {
            let leads = *follower.borrow_and_update();
            gauge.leader.set(leads.into());
            if leads {
                everything.all();
            }
            if follower.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    let lease = async {
        match process.lease {
            Some((namespace, identity)) => {
                // It stops after the reconciles: what they write is still written by the leader.
                let (tell, told) = watch::channel(false);
                let contender = Contender::new(client, &namespace, names::CONTROLLER, identity);
                (Some(tell), tokio::spawn(contender.run(leads, told)))
            }
            None => (None, tokio::spawn(async move { _ = leads.closed().await })),
        }
    };
    let (tell, lease) = lease.await;
    let [builds, releases] = appliers;
    let mut overdue = stop;
    let overdue = async move {
        _ = overdue.wait_for(|stop| *stop).await;
        tokio::time::sleep(ENDING).await;
    };
    let ended = tokio::select! {
        _ = futures::future::join(builds, releases) => Ok(()),
        () = overdue => {
            tracing::warn!(
                "the API server leaves reconciles without an answer, and they are given up; whoever leads next goes on from \
                 what the statuses say"
            );
            Ok(())
        }
        ended = tasks.join_next() => Err(ended),
    };
    drop(queues);
    if let Some(tell) = tell {
        _ = tell.send(true);
        match tokio::time::timeout(ENDING, lease).await {
            Ok(done) => done.context("the task that holds the Lease")?,
            Err(_) => tracing::warn!("the API server does not take the Lease back; it runs out by itself"),
        }
    } else {
        lease.abort();
    }
    match ended {
        Ok(()) => Ok(()),
        Err(ended) => bail!("a watch ended that should go on for ever: {ended:?}"),
    }
}

/// What is said of the process.
struct Vitals {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Probes for Vitals {
    fn wedged(&self) -> Option<String> {
        self.health.wedged()
    }

    fn unready(&self) -> Option<String> {
        self.health.unready()
    }

    fn report(&self) -> String {
        self.health.report()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }
}

async fn timed(kind: Kind, object: Arc<Object>, context: Arc<Context>) -> Result<Action, crate::reconcile::Error> {
    let began = std::time::Instant::now();
    let object = object.read(kind);
    let uid = object.uid().unwrap_or_default();
    let metrics = context.metrics.clone();
    metrics.taken(kind, &object.namespace().unwrap_or_default(), &object.name_any());
    metrics.reconciles.get_or_create(&[("kind", kind.label())]).inc();
    let span = tracing::info_span!(
        "reconcile",
        kind = kind.name(),
        namespace = object.namespace().unwrap_or_default(),
        name = object.name_any(),
        generation = object.metadata.generation.unwrap_or_default(),
    );
    realsyn_telemetry::follow(&span, &trace_of(&object));
    let done = reconcile(kind, &object, context.clone()).inspect_err(|error| {
        metrics.errors.get_or_create(&[("category", error.category())]).inc();
    });
    let done = done.instrument(span).await;
    metrics.duration.observe(began.elapsed().as_secs_f64());
    context.ended(&uid, done.is_ok());
    if !context.shows(kind, &object) {
        // It went meanwhile, and nobody tells of it again.
        context.forget(&uid);
    }
    done
}

/// When to try a failed reconcile again: at once for a conflict, else ever later, up to a minute.
fn retry(object: Arc<Object>, error: &crate::reconcile::Error, context: Arc<Context>) -> Action {
    let failures = context.failures(object.uid().as_deref().unwrap_or_default());
    let wait = match error {
        crate::reconcile::Error::Conflict => Duration::from_millis(200),
        _ => Duration::from_secs(1u64.checked_shl(failures.clamp(1, 7) - 1).unwrap_or(60).min(60)),
    };
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    if error.category() == "conflict" {
        tracing::debug!(%namespace, %name, %error, "reconcile");
    } else {
        tracing::warn!(%namespace, %name, %error, ?wait, "the reconcile failed and is tried again");
    }
    Action::requeue(wait)
}

async fn wait_for_crd(kind: Kind, client: &Client, options: &Options) {
    let api: Api<DynamicObject> = match &options.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource()),
        None => Api::all_with(client.clone(), &kind.resource()),
    };
    let mut said = false;
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(kind = kind.name(), %error, "objects of this kind cannot be listed yet; waiting for the CRD");
        }
        tokio::time::sleep(LOOK_FOR_CRDS).await;
    }
}

/// The caches before they are filled.
struct Caches {
    builds: Writer<Object>,
    releases: Writer<Object>,
    jobs: Arc<Cache<HeldJob>>,
    pods: Arc<Cache<HeldPod>>,
    events: Writer<Event>,
    wishes: Writer<ConfigMap>,
}

impl Caches {
    fn new() -> Self {
        Self {
            builds: Writer::new(Kind::Build.resource()),
            releases: Writer::new(Kind::Release.resource()),
            jobs: Arc::default(),
            pods: Arc::default(),
            events: Writer::default(),
            wishes: Writer::default(),
        }
    }

    fn follow(
        self,
        tasks: &mut JoinSet<()>,
        client: &Client,
        options: &Options,
        queues: &Queues,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
    ) {
        let watched = |name| {
            health.expect(name);
            Watched { name, health: health.clone(), metrics: metrics.clone() }
        };
        let ours = || watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY, names::CONTROLLER));
        for (kind, name, cache) in [(Kind::Build, "builds", self.builds), (Kind::Release, "releases", self.releases)] {
            let api: Api<Object> = match &options.namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource()),
                None => Api::all_with(client.clone(), &kind.resource()),
            };
            let queues = queues.clone();
            let tell = move |news: News<'_, Object>| queues.object(kind, news);
            let few = watcher::Config::default().page_size(PAGE_OF_OBJECTS);
            tasks.spawn(follow(watched(name), api, few, cache, as_it_is, tell));
        }
        let q = queues.clone();
        let tell = move |news: News<'_, ReadJob>| q.labelled(news);
        tasks.spawn(follow(watched("jobs"), scoped(client, options), ours(), self.jobs, as_it_is, tell));
        let q = queues.clone();
        let tell = move |news: News<'_, ReadPod>| q.labelled(news);
        tasks.spawn(follow(watched("pods"), scoped(client, options), ours(), self.pods, as_it_is, tell));
        let q = queues.clone();
        let wishes = ours().labels(&format!("{}={}", names::STAGE, names::CLEAN_UP));
        tasks.spawn(follow(watched("wishes"), scoped(client, options), wishes, self.wishes, as_it_is, |_| ()));
        let warnings = watcher::Config::default().fields("involvedObject.kind=Job,type=Warning");
        let tell = move |news: News<'_, Event>| {
            if let News::Of(event) | News::Gone(event) = news {
                q.job(event.involved_object.uid.as_deref().unwrap_or_default());
            }
        };
        tasks.spawn(follow(watched("events"), scoped(client, options), warnings, self.events, as_it_is, tell));
    }
}

/// The caches of nodes before they are filled.
#[derive(Default)]
struct NodeCaches {
    nodes: Writer<Node>,
    gpu_nodes: Writer<GpuNode>,
}

impl NodeCaches {
    /// Tells of each node that changes.
    fn follow(
        self,
        tasks: &mut JoinSet<()>,
        client: &Client,
        tell: UnboundedSender<Changed>,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
    ) {
        let watched = |name| {
            health.expect(name);
            Watched { name, health: health.clone(), metrics: metrics.clone() }
        };
        fn names<K: ResourceExt>(tell: UnboundedSender<Changed>) -> impl FnMut(News<'_, K>) {
            move |news| {
                let changed = match news {
                    News::Of(object) | News::Gone(object) => Changed::Node(object.name_any()),
                    News::Relisted => Changed::All,
                };
                // It is closed only while the process ends.
                _ = tell.unbounded_send(changed);
            }
        }
        let few = || watcher::Config::default().page_size(PAGE_OF_OBJECTS);
        let api: Api<Node> = Api::all(client.clone());
        tasks.spawn(follow(watched("nodes"), api, few(), self.nodes, strip_node, names(tell.clone())));
        let api: Api<GpuNode> = Api::all(client.clone());
        tasks.spawn(follow(watched("gpunodes"), api, few(), self.gpu_nodes, strip_gpu_node, names(tell)));
    }
}

fn scoped<K>(client: &Client, options: &Options) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match &options.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
