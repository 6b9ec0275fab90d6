//! Kubelet, queue and workers, played by the test: pods of our Jobs end as the script says.

// Each test uses its part of it.
#![allow(dead_code)]

pub mod binary;
pub mod fault;
pub mod grants;
pub mod site;
pub mod store;
pub mod values;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use realsyn_controller::kinds::{Kind, KindExt};
use realsyn_controller::names;
use realsyn_controller::plan::Plan;
use realsyn_crds::{BuildSpec, Manifest, RealSynBuild, RealSynRelease, ReleaseSpec, Stage, parse_manifests};
use realsyn_objects::manifest::SENTENCES;
use realsyn_plan::graph::BUILD;
use serde_json::{Value, json};

use store::Store;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What becomes of a pod: an exit code and a termination message, or a reason for which it waits.
pub enum Fate {
    Ends(i32, String),
    Waits(&'static str, &'static str),
    /// Its node cannot pull the image of what runs beside it.
    Unpulled(&'static str),
    /// As the store says.
    Works,
    /// Nothing yet.
    Pends,
}

/// What becomes of a pod with these labels.
pub type Script = Box<dyn Fn(&BTreeMap<String, String>) -> Fate + Send>;

/// Kubelet, workers and store of one namespace.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub store: Mutex<Store>,
    pub script: Mutex<Script>,
    /// Each Job's UIDs, by its name: a name stands for one Job for ever.
    pub jobs: Mutex<BTreeMap<String, Vec<String>>>,
    /// Runs of `gc`.
    pub cleaned: AtomicU32,
    /// Runs of `withdraw`.
    pub withdrawn: AtomicU32,
    plans: Mutex<BTreeMap<&'static str, Plan>>,
}

impl World {
    pub fn new(
        client: Client,
        namespace: &str,
        build: &RealSynBuild,
        release: &RealSynRelease,
        but: &[Stage],
    ) -> Arc<Self> {
        let world = Arc::new(Self {
            client,
            namespace: namespace.to_owned(),
            store: Mutex::default(),
            script: Mutex::new(Box::new(|_| Fate::Works)),
            jobs: Mutex::default(),
            cleaned: AtomicU32::default(),
            withdrawn: AtomicU32::default(),
            plans: Mutex::default(),
        });
        world.has(&build.spec, but);
        world.holds_release(&build.spec, &release.spec);
        world
    }

    /// What pods of a release work on.
    pub fn holds_release(&self, build: &BuildSpec, release: &ReleaseSpec) {
        self.plans.lock().unwrap().insert("release", Plan::of_release(build, release));
    }

    /// The store holds what a build of this spec makes, but for these stages; and that is what pods work on now.
    pub fn has(&self, spec: &BuildSpec, but: &[Stage]) {
        self.holds("build", Plan::of_build(spec), but);
    }

    /// The same of a build that takes its sentences from one with these settings.
    pub fn has_with_sentences_of(&self, spec: &BuildSpec, giver: &BuildSpec) {
        self.holds("taker", Plan::of_build(spec).with_sentences_of(Some(giver)), &[]);
    }

    fn holds(&self, name: &'static str, plan: Plan, but: &[Stage]) {
        let recipes = plan.recipes(&store::root(), Some(&store::root()));
        let mut store = self.store.lock().unwrap();
        for step in BUILD.iter().filter(|s| !but.contains(&s.id.stage)) {
            store.share(step, &|stage| recipes.stage_digest(stage).expect("a stage of a build"));
        }
        self.plans.lock().unwrap().insert(name, plan);
    }

    /// Plays until the future is dropped. What the API server refuses is tried again, as kubelet does: it may be busy, and a
    /// pod may change or go in between.
    pub async fn play(&self) {
        loop {
            for done in [self.admit().await, self.look().await] {
                if let Err(error) = done {
                    eprintln!("the played kubelet tries again: {error:#}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kueue, where a build names a queue: everything is admitted.
    async fn admit(&self) -> Result<()> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        let queued = ListParams::default().labels("kueue.x-k8s.io/queue-name");
        for job in api.list(&queued).await?.items {
            if job.spec.as_ref().is_some_and(|s| s.suspend == Some(true)) {
                let patch = Patch::Merge(json!({ "spec": { "suspend": false } }));
                match api.patch(&job.name_any(), &PatchParams::default(), &patch).await {
                    Err(kube::Error::Api(e)) if e.code == 404 => {}
                    done => _ = done?,
                }
            }
        }
        Ok(())
    }

    async fn look(&self) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let ours = ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::CONTROLLER));
        for pod in api.list(&ours).await?.items {
            let owner = pod.owner_references().first().cloned().context("a pod of a Job")?;
            self.remember(owner.name, owner.uid);
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
            if phase != "Pending" || pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let fate = (self.script.lock().unwrap())(pod.labels());
            let status = match fate {
                Fate::Pends => continue,
                Fate::Waits(reason, message) => waiting(&pod, reason, message),
                Fate::Unpulled(message) => unpulled(&pod, message),
                Fate::Ends(code, message) => ended(&pod, code, &message),
                Fate::Works => {
                    let message = self.work(&pod)?;
                    ended(&pod, 0, &message)
                }
            };
            let patch = Patch::Merge(json!({ "status": status }));
            match api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(e)) if e.code == 404 => {}
                done => _ = done?,
            }
        }
        Ok(())
    }

    /// Does a pod's work, as if it had taken so many seconds.
    pub async fn ends_after(&self, pod: &Pod, seconds: i64) -> Result<()> {
        let message = self.work(pod)?;
        let mut status = ended(pod, 0, &message);
        let began = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
        status["containerStatuses"][0]["state"]["terminated"]["startedAt"] = json!(began.to_string());
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    fn remember(&self, name: String, uid: String) {
        let mut jobs = self.jobs.lock().unwrap();
        let uids = jobs.entry(name).or_default();
        if !uids.contains(&uid) {
            uids.push(uid);
        }
    }

    fn work(&self, pod: &Pod) -> Result<String> {
        let container = &pod.spec.as_ref().context("a spec")?.containers[0];
        let args = container.args.clone().unwrap_or_default();
        let after = |flag: &str| args.iter().skip_while(|a| *a != flag).nth(1).cloned();
        if args[0] == "gc" {
            // The first run opens a tombstone, the second finds nothing left to do.
            let again = self.cleaned.fetch_add(1, Ordering::SeqCst) == 0;
            return Ok(if again { "{\"againIn\":0}" } else { "{}" }.to_owned());
        }
        if args[0] == "withdraw" {
            self.withdrawn.fetch_add(1, Ordering::SeqCst);
            return Ok("{}".to_owned());
        }
        let mut store = self.store.lock().unwrap();
        if args[0] == "stage" {
            let index = &pod.annotations()["batch.kubernetes.io/job-completion-index"];
            store.work(&after("--tasks").context("--tasks")?.parse()?, index.parse()?);
            return Ok("done".to_owned());
        }
        let reads = |file: &str| args.iter().any(|a| a.ends_with(file));
        let is_release = reads("release.yaml");
        let plans = self.plans.lock().unwrap();
        let plan = &plans[match is_release {
            true => "release",
            false if reads(SENTENCES) => "taker",
            false => "build",
        }];
        let recipes = plan.recipes(&store::root(), Some(&store::root()));
        let known = after("--known").map(|k| k.split(',').map(str::to_owned).collect()).unwrap_or_else(Vec::new);
        let digests = |stage| recipes.stage_digest(stage).expect("a stage of the plan");
        let mut report = store.advance(&digests, &known, is_release, plan.build.stop_after);
        if let Some(listed) = report.inventory.as_mut().filter(|_| plan.sentences.is_some()) {
            listed.sentences = Some(store::root());
        }
        Ok(String::from_utf8(report.encode())?)
    }

    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// Looks until the object is as wanted, and returns it.
    pub async fn until(
        &self,
        kind: Kind,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<DynamicObject> {
        let began = Instant::now();
        loop {
            let object = self.api(kind).get(name).await?;
            if wanted(&object.data["status"]) {
                return Ok(object);
            }
            if began.elapsed() > PATIENCE {
                bail!("waited in vain for {what}; the status is {:#}", object.data["status"]);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Looks again and again, for so long.
pub async fn until(patience: Duration, what: &str, mut done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !done().await? {
        if began.elapsed() >= patience {
            bail!("waited in vain for {what}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The status of a condition.
pub fn is(status: &Value, condition: &str) -> bool {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == condition && c["status"] == "True")
}

/// The message of a condition.
pub fn why(status: &Value, condition: &str) -> String {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|c| c["type"] == condition);
    found.and_then(|c| c["message"].as_str()).unwrap_or_default().to_owned()
}

fn ended(pod: &Pod, code: i32, message: &str) -> Value {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let reason = if code == 0 { "Completed" } else { "Error" };
    let now = jiff::Timestamp::now().to_string();
    let state = json!({ "terminated": {
        "exitCode": code, "message": message, "reason": reason, "startedAt": now, "finishedAt": now,
    } });
    container(pod, phase, state)
}

fn waiting(pod: &Pod, reason: &str, message: &str) -> Value {
    container(pod, "Pending", json!({ "waiting": { "reason": reason, "message": message } }))
}

/// On a node from its first moment on.
fn unpulled(pod: &Pod, message: &str) -> Value {
    let state = |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
    let mut status = container(pod, "Pending", state("PodInitializing", ""));
    let spec = pod.spec.as_ref().expect("a spec");
    let beside = &spec.init_containers.as_ref().expect("something beside it")[0];
    status["initContainerStatuses"] = json!([{
        "name": beside.name, "image": beside.image, "imageID": "", "ready": false, "restartCount": 0,
        "state": state("ImagePullBackOff", message),
    }]);
    let at = &pod.metadata.creation_timestamp;
    status["conditions"] = json!([{ "type": "PodScheduled", "status": "True", "lastTransitionTime": at }]);
    status
}

fn container(pod: &Pod, phase: &str, state: Value) -> Value {
    let container = &pod.spec.as_ref().expect("a spec").containers[0];
    json!({
        "phase": phase,
        "containerStatuses": [{
            "name": container.name, "image": container.image, "imageID": "", "ready": false, "restartCount": 0,
            "state": state,
        }],
    })
}

/// The example build and release, in a namespace.
pub fn examples(namespace: &str) -> (RealSynBuild, RealSynRelease) {
    let read = |text: &str| parse_manifests(text, "example").expect("an example that is right").remove(0);
    let Manifest::Build(mut build) = read(include_str!("../../../../manifests/examples/build.yaml")) else {
        panic!("build.yaml holds a build")
    };
    let Manifest::Release(mut release) = read(include_str!("../../../../manifests/examples/release.yaml")) else {
        panic!("release.yaml holds a release")
    };
    build.metadata.namespace = Some(namespace.to_owned());
    release.metadata.namespace = Some(namespace.to_owned());
    (*build, *release)
}
