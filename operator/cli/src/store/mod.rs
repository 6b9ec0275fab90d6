//! Commands that need the store: a pod of the worker image, created with the user's own rights, that mounts and may use
//! what an `advance` pod of the same build does. It is gone when the command ends.

mod follow;
mod look;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use realsyn_crds::{RealSynBuild, RealSynRelease};
use realsyn_objects::kinds::{Kind, KindExt};
use realsyn_objects::manifest::{self, Manifests};
use realsyn_objects::plan::Plan;
use realsyn_objects::{names, pod, text};
use serde_json::json;

pub use follow::{Ended, Sink};
pub use look::{End, Look, look};

use crate::args::PodArgs;
use crate::cluster::Cluster;
use crate::errors::{Asked, Explained};

/// Who made a pod that is not a Job's.
const PLUGIN: &str = "kubectl-realsyn";
/// Label: the command that a pod was made for.
const COMMAND: &str = "realsyn.dev/command";
/// A pod whose command was killed ends by itself after this many seconds.
const LONGEST: i64 = 3600;

/// A build or release whose store is to be read or written.
pub struct Store<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its kind.
    pub kind: Kind,
    /// The object; without one on the cluster only its name counts.
    pub object: &'a DynamicObject,
    /// What its spec asks for.
    pub plan: Plan,
    /// What its pods read.
    pub manifests: Manifests,
    /// The ConfigMap with these manifests, where it is known to be there.
    pub config_map: Option<String>,
    /// The worker image.
    pub image: String,
    /// How long the pod may take until it runs.
    pub patience: Duration,
    /// A switch of the command that older workers may not know: they read over a variable, not over an argument.
    pub switch: Option<&'static str>,
}

impl<'a> Store<'a> {
    /// The store of a build on the cluster, as its `advance` pods see it.
    ///
    /// # Errors
    /// A spec that cannot be read, and a build that no controller has looked at.
    pub async fn of_build(cluster: &'a Cluster, build: &'a DynamicObject, args: &PodArgs) -> Result<Self> {
        let name = build.name_any();
        let spec = serde_json::from_value(build.data["spec"].clone())
            .with_context(|| format!("the spec of build {name} cannot be read by this version of kubectl-realsyn"))?;
        let image = args.image.clone().or_else(|| worker_image(build)).with_context(|| {
            format!(
                "build {name} has no worker image yet, because no controller has looked at it: wait, or give --image"
            )
        })?;
        let mut manifests =
            Manifests::from([(manifest::file(Kind::Build).to_owned(), manifest::manifest(build, Kind::Build))]);
        if let Some(giver) = giver(cluster, build).await {
            manifests.insert(manifest::SENTENCES.to_owned(), manifest::manifest(&giver, Kind::Build));
        }
        let config_map = manifest::config_map(build, Kind::Build, &manifests);
        let found = cluster.api::<ConfigMap>().get_metadata_opt(&config_map).await;
        let found = found.explained(&Asked::new("get", "configmaps", &cluster.namespace))?;
        Ok(Self {
            cluster,
            kind: Kind::Build,
            object: build,
            plan: Plan::of_build(&spec),
            manifests,
            config_map: found.map(|_| config_map),
            image,
            patience: Duration::from_secs(args.timeout),
            switch: None,
        })
    }

    /// The store of a release that has begun, with the settings that it was made with.
    ///
    /// # Errors
    /// It has not begun, or its settings are gone or cannot be read.
    pub async fn of_release(cluster: &'a Cluster, release: &'a DynamicObject, args: &PodArgs) -> Result<Self> {
        let config_map = release.data["status"]["manifest"].as_str().with_context(|| {
            format!("release {} has not begun: its status names no settings yet", release.name_any())
        })?;
        let found = cluster.api::<ConfigMap>().get_opt(config_map).await;
        let found = found.explained(&Asked::new("get", "configmaps", &cluster.namespace))?;
        let manifests = found.and_then(|map| map.data).with_context(|| {
            format!(
                "the settings that it was made with are gone (ConfigMap {config_map}); its manifest.json is at its uri"
            )
        })?;
        let text = |kind| manifests.get(manifest::file(kind)).map_or("", String::as_str);
        let build: RealSynBuild = serde_json::from_str(text(Kind::Build)).context("the build that it was made from")?;
        let spec: RealSynRelease = serde_json::from_str(text(Kind::Release)).context("its settings")?;
        Ok(Self {
            cluster,
            kind: Kind::Release,
            object: release,
            plan: Plan::of_release(&build.spec, &spec.spec),
            config_map: Some(config_map.to_owned()),
            manifests,
            image: args
                .image
                .clone()
                .or_else(|| worker_image(release))
                .context("it has no worker image; give --image")?,
            patience: Duration::from_secs(args.timeout),
            switch: None,
        })
    }

    /// Runs a command of the worker to its end, and passes on what it prints.
    ///
    /// # Errors
    /// A pod that cannot be made, cannot start, or does not start in time; Ctrl-C. The pod is deleted in each case.
    pub async fn run(&self, command: &str, args: &[String], sink: &mut Sink<'_>) -> Result<Ended> {
        let (pods, namespace) = (self.cluster.api::<Pod>(), &self.cluster.namespace);
        let mut interrupted = std::pin::pin!(interrupted()?);
        let pod = pods.create(&PostParams::default(), &self.pod(command, args)).await;
        let pod = pod.explained(&Asked::new("create", "pods", namespace))?;
        let name = pod.name_any();
        let ended = tokio::select! {
            ended = self.carry_out(&pod, sink) => ended,
            () = &mut interrupted => Err(anyhow::anyhow!("interrupted; the pod {name} is deleted, and nothing it did is undone")),
        };
        let gone = pods.delete(&name, &DeleteParams::background().grace_period(1)).await;
        if let Err(error) = gone.explained(&Asked::new("delete", "pods", namespace)) {
            eprintln!("warning: the pod {name} is left over: {error:#}");
        }
        ended
    }

    async fn carry_out(&self, pod: &Pod, sink: &mut Sink<'_>) -> Result<Ended> {
        if self.config_map.is_none() {
            // After the pod, so that it can belong to the pod and go with it; the kubelet waits for it.
            let made = self.cluster.api::<ConfigMap>().create(&PostParams::default(), &self.config_map_of(pod)).await;
            made.explained(&Asked::new("create", "configmaps", &self.cluster.namespace))?;
        }
        follow::follow(self.cluster, pod, self.patience, sink).await
    }

    fn pod(&self, command: &str, args: &[String]) -> Pod {
        let name = format!("{}-{command}-{}", text::dns_prefix(&self.object.name_any(), 20), token());
        let mut all = vec![args[0].clone()];
        all.extend(pod::files(self.manifests.keys()));
        all.extend_from_slice(&args[1..]);
        let config_map = self.config_map.as_deref().unwrap_or(&name);
        let parts = pod::Pod {
            plan: &self.plan,
            config_map,
            stage: None,
            container: command,
            image: &self.image,
            args: &all,
            gpus: None,
            trace: None,
        };
        let mut spec = pod::spec(&parts);
        // What it printed last is the reason of a failure, even where its log cannot be read.
        spec["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        spec["activeDeadlineSeconds"] = json!(LONGEST);
        if let (Some(name), Some(env)) = (self.switch, spec["containers"][0]["env"].as_array_mut()) {
            env.push(json!({ "name": name, "value": "true" }));
        }
        let owner = self.object.uid().map(|uid| {
            json!([{
                "apiVersion": realsyn_crds::API_VERSION, "kind": self.kind.name(), "name": self.object.name_any(), "uid": uid,
            }])
        });
        let pod = json!({
            "metadata": {
                "name": name,
                "namespace": self.cluster.namespace,
                "labels": {
                    names::MANAGED_BY: PLUGIN,
                    names::KIND: self.kind.label(),
                    names::BUILD: text::label_value(&self.object.name_any()),
                    COMMAND: command,
                },
                "ownerReferences": owner.unwrap_or_default(),
            },
            "spec": spec,
        });
        serde_json::from_value(pod).expect("the fields of a pod")
    }

    fn config_map_of(&self, pod: &Pod) -> ConfigMap {
        let map = json!({
            "metadata": {
                "name": pod.name_any(),
                "namespace": self.cluster.namespace,
                "labels": pod.labels(),
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid().unwrap_or_default(),
                }],
            },
            "immutable": true,
            "data": self.manifests,
        });
        serde_json::from_value(map).expect("the fields of a ConfigMap")
    }
}

/// The build whose sentences a build takes. A worker that needs it says so where it is gone.
pub async fn giver(cluster: &Cluster, build: &DynamicObject) -> Option<DynamicObject> {
    let name = build.data["spec"]["sentencesFrom"]["build"].as_str()?;
    cluster.object(Kind::Build, name).await.ok()
}

/// The worker image that an object works with.
pub fn worker_image(object: &DynamicObject) -> Option<String> {
    object.data["status"]["workerImage"].as_str().map(str::to_owned)
}

/// The part of a name that makes it unique.
fn token() -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    realsyn_plan::Digest::builder("pod").number(now as u64).number(std::process::id().into()).finish().to_string()[..8]
        .to_owned()
}

/// Ends when the user presses Ctrl-C, or the terminal goes.
fn interrupted() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind).context("listening for Ctrl-C")?);
    }
    let [mut interrupt, mut terminate, mut hangup] =
        <[_; 3]>::try_from(signals).map_err(|_| ()).expect("three signals");
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Fails with the words of a pod that ended badly, where it could not say them itself.
///
/// # Errors
/// It did end badly, or what it printed could not be read.
pub fn must_tell(ended: &Ended) -> Result<()> {
    match &ended.untold {
        None => Ok(()),
        Some(why) => bail!("{why}{}", ended.reason()),
    }
}
