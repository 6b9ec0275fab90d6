//! A namespace of a real API server, with a controller whose requests can go wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use realsyn_cluster::{ControlPlane, Options as Cluster, missing_for_control_plane, skip};
use realsyn_controller::context::Options;
use realsyn_controller::kinds::Kind;
use realsyn_controller::names;
use realsyn_controller::run::{Process, run};
use realsyn_crds::{RealSynBuild, RealSynRelease, Stage};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::fault::{Faults, Through};
use super::{World, is};

/// A control plane with the CRDs.
pub fn control_plane() -> ControlPlane {
    control_plane_with(&Cluster::default())
}

/// The same, otherwise started.
pub fn control_plane_with(options: &Cluster) -> ControlPlane {
    let plane = ControlPlane::start(options).unwrap();
    plane.define(&["realsynbuilds", "realsynreleases", "gpunodes"].map(definition)).unwrap();
    plane
}

/// The file of one of our kinds' definitions.
pub fn definition(kinds: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../crds/generated/{kinds}.yaml"))
}

/// The file of a definition of Workloads, Kueue's kind, without its schema.
pub fn workloads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/workloads.yaml")
}

/// Plays a story on a control plane with the CRDs; skipped, loudly, where none can be started.
pub fn on_a_control_plane(test: &str, story: impl AsyncFnOnce(&ControlPlane, &Server) -> Result<()>) {
    if skip(test, missing_for_control_plane()) {
        return;
    }
    let plane = control_plane();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { story(&plane, &Server::new(&plane).await?).await }).unwrap();
}

/// The flags of a controller of one namespace, or of all.
pub fn options(namespace: Option<&str>) -> Options {
    Options {
        worker_image: "registry.example.org/realsyn/worker:1".to_owned(),
        namespace: namespace.map(str::to_owned),
        max_pods: 100,
        concurrency: 4,
        resync: Duration::from_secs(600),
        gpus: false,
        taint_nodes: false,
        kueue: false,
        agents_namespace: None,
        worker_otlp_endpoint: None,
        server: realsyn_objects::server::Settings { image: "registry.example.org/vllm:1".to_owned(), patience: None },
    }
}

/// Where it answers.
pub struct Server {
    config: Config,
    pub client: Client,
}

impl Server {
    pub async fn new(plane: &ControlPlane) -> Result<Self> {
        Self::by(plane.kubeconfig()).await
    }

    /// As whom the kubeconfig says.
    pub async fn by(kubeconfig: &Path) -> Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Self { client: Client::try_from(config.clone())?, config })
    }

    /// A controller whose requests go through `faults`.
    pub async fn controller(&self, options: Options, faults: &Arc<Faults>) -> Result<JoinHandle<Result<()>>> {
        let client = ClientBuilder::try_from(self.config.clone())?.with_layer(&Through(faults.clone())).build();
        let process = Process { listener: TcpListener::bind("127.0.0.1:0").await?, lease: None };
        // Its end is that of the task: nobody tells it to stop.
        let (keep, told) = tokio::sync::watch::channel(false);
        Ok(tokio::spawn(async move {
            let done = run(client, options, process, told).await;
            drop(keep);
            done
        }))
    }
}

/// A namespace with a build, a release, a world and controllers.
pub struct Site {
    pub world: Arc<World>,
    pub faults: Arc<Faults>,
    pub controllers: Vec<JoinHandle<Result<()>>>,
    kubelet: JoinHandle<()>,
    build: String,
    release: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.controllers.iter().for_each(JoinHandle::abort);
        self.kubelet.abort();
    }
}

impl Site {
    /// A namespace with these two objects, where all stages but `to_run` are sealed.
    pub async fn open(
        api: &Server,
        objects: (RealSynBuild, RealSynRelease),
        to_run: &[Stage],
        faults: Arc<Faults>,
    ) -> Result<Self> {
        let options = options(objects.0.metadata.namespace.as_deref());
        Self::open_with(api, options, objects, to_run, faults).await
    }

    /// The same with these flags of its controller.
    pub async fn open_with(
        api: &Server,
        options: Options,
        (build, release): (RealSynBuild, RealSynRelease),
        to_run: &[Stage],
        faults: Arc<Faults>,
    ) -> Result<Self> {
        let namespace = build.metadata.namespace.as_deref().unwrap_or_default();
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
        Api::<Namespace>::all(api.client.clone()).create(&PostParams::default(), &object).await?;
        let world = World::new(api.client.clone(), namespace, &build, &release, to_run);
        let playing = world.clone();
        let kubelet = tokio::spawn(async move { playing.play().await });
        let controllers = vec![api.controller(options, &faults).await?];
        for (kind, object) in [(Kind::Build, json!(build)), (Kind::Release, json!(release))] {
            let object: DynamicObject = serde_json::from_value(object)?;
            world.api(kind).create(&PostParams::default(), &object).await?;
        }
        let (build, release) = (build.metadata.name, release.metadata.name);
        Ok(Self { world, faults, controllers, kubelet, build, release })
    }

    /// Looks again and again.
    pub async fn until<F: Future<Output = Result<bool>>>(&self, done: impl Fn() -> F) -> Result<()> {
        let began = Instant::now();
        while !done().await? {
            if self.kubelet.is_finished() || began.elapsed() > Duration::from_secs(90) {
                let objects = [Kind::Build, Kind::Release].map(|kind| self.world.api(kind));
                let mut text = String::new();
                for api in objects {
                    for object in api.list(&ListParams::default()).await?.items {
                        text += &format!("{:#}\n", object.data["status"]);
                    }
                }
                bail!("waited in vain; the statuses are {text}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until everything is done and cleaned up, and tells what is left.
    pub async fn end(&self) -> Result<Value> {
        let world = &self.world;
        let jobs: Api<Job> = Api::namespaced(world.client.clone(), &world.namespace);
        self.until(|| async {
            let build = world.api(Kind::Build).get(&self.build).await?;
            let release = world.api(Kind::Release).get(&self.release).await?;
            let ready = is(&build.data["status"], "Ready") && is(&release.data["status"], "Ready");
            Ok(ready && jobs.list(&ListParams::default()).await?.items.is_empty())
        })
        .await?;
        let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
        let ours = ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::CONTROLLER));
        let maps: Vec<Value> = maps.list(&ours).await?.items.iter().map(|m| json!(m.data)).collect();
        let build = world.api(Kind::Build).get(&self.build).await?;
        let release = world.api(Kind::Release).get(&self.release).await?;
        let mut end = json!({ "build": build.data["status"], "release": release.data["status"], "manifests": maps });
        blur(&mut end);
        let made = world.jobs.lock().unwrap().clone();
        // A request that was held up until another leader was done cannot be told from one in time: Kubernetes has no
        // fence for the creation of an object. Its Job is removed, and real workers find their work done.
        if !*self.faults.resumed.borrow() {
            for (name, uids) in &made {
                ensure!(uids.len() == 1, "the Job {name} was made {} times", uids.len());
            }
            let wasted = &world.store.lock().unwrap().wasted;
            ensure!(wasted.is_empty(), "sealed steps ran again: {wasted:?}");
        }
        end["worker jobs"] = json!(made.keys().filter(|name| !name.contains("-advance-")).count());
        // Manifests name the namespace that they are in, and the UIDs of the objects.
        let mut text = end.to_string().replace(&world.namespace, "NAMESPACE");
        for object in [build, release] {
            text = text.replace(&object.uid().context("a UID")?, "UID");
        }
        let mut end: Value = serde_json::from_str(&text)?;
        end["manifests"].as_array_mut().context("manifests")?.sort_by_key(Value::to_string);
        Ok(end)
    }
}

/// Takes out what differs from run to run: times, names by UID, and how often was tried.
fn blur(value: &mut Value) {
    const OWN: [&str; 12] = [
        "lastTransitionTime",
        "completedAt",
        "startedAt",
        "sealedAt",
        "attempt",
        "failures",
        "retryAt",
        "job",
        "manifest",
        "list",
        "tasks",
        "tasksDone",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OWN.contains(&name.as_str()));
            fields.values_mut().for_each(blur);
        }
        Value::Array(entries) => entries.iter_mut().for_each(blur),
        _ => {}
    }
}
