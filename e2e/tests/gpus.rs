//! GPUs on a real Kubernetes node: the operator as its chart installs it, the agent as a real pod over a stand-in for NVIDIA's
//! library, a device plugin at the real kubelet. A device dies in mid-stage; the work leaves it, waits, goes to another node, comes
//! back, and is done. Then vectors are compared on GPUs: the pods hold devices, and run the kernels behind a stand-in for the driver.
//! What comes out is what a local run makes, to which nothing happens.
//!
//! Needs root, the binaries of `e2e/cluster` with Helm, the models and the OpenStax sample; skipped loudly where one is missing.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use realsyn_cluster::{Binaries, HOST_ADDRESS, NODE_NAME, Process, skip};
use realsyn_e2e::{DevicePlugin, S3Server, binary, sample, write_corpus};
use realsyn_nvml::{Scenario, StandIn, Xid, inventory};
use serde_json::{Value, json};
use support::others::{Other, Others};
use support::story::{self, OPERATOR};
use support::{
    NAMESPACE, WORKER, asked_to_end, give_scratch_space, import_images, inputs, open_folder, signal, tenant, volume,
    workers,
};

const AGENTS: &str = "realsyn-gpu";
/// The stage whose pods hold a GPU.
const STEP: &str = "sentence-score/score";
/// Seconds after which the agent trusts a device again.
const CLEAN: &str = "8";
/// What stands beside the real node: other products, and the right one with a fault.
const OTHERS: &[Other] = &[
    ("other-a", "H100-SXM5-80GB", 80, None),
    ("other-b", "A100-SXM4-40GB", 40, None),
    ("other-c", "A100-SXM4-80GB", 80, Some("Xid48")),
];
/// One that the stage fits, and that comes late.
const LATE: Other = ("other-d", "A100-SXM4-80GB", 80, None);
const QUARANTINE: &str = "realsyn.dev/gpu-quarantine";
/// Well below the minute after which the controller looks at every node again.
const PROMPTLY: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(90);
const LATER: Duration = Duration::from_secs(600);

#[test]
fn a_gpu_that_dies_in_mid_stage_costs_no_shard_and_no_retry() {
    const NAME: &str = "a_gpu_that_dies_in_mid_stage_costs_no_shard_and_no_retry";
    let tool = |name| Binaries::default_folder().require_tool(name).err().map(|error| error.to_string());
    let Some((models, openstax)) = inputs(NAME) else { return };
    if skip(NAME, tool("helm")) || skip(NAME, tool("kwok")) {
        return;
    }
    let folder = open_folder();
    write_corpus(&folder.path().join("corpus"), &sample(&openstax, 8, 200).unwrap(), 1).unwrap();
    let nvml = folder.path().join("nvml");
    std::fs::create_dir(&nvml).unwrap();
    let scenario = inventory::dgx_a100_80();
    let stand_in = StandIn::install(&nvml, &scenario).unwrap();

    let story = Story(story::Story::begin(LOOKS));
    let s3 = S3Server::start_on(&folder.path().join("s3"), HOST_ADDRESS.parse().unwrap()).unwrap();
    let pictures = openstax.join("images").canonicalize().unwrap();
    let local = {
        let build = build(&models, &s3, "sentence-cluster", "cpu");
        let (folder, models, pictures) = (folder.path().to_owned(), models.clone(), pictures.clone());
        thread::spawn(move || local_root(&folder, &build, &models, &pictures))
    };
    let plugins = story.node.kubelet_folder().join("device-plugins");
    let devices: Vec<String> = scenario.devices.iter().map(|device| device.uuid.clone()).collect();
    let plugin = DevicePlugin::start(&plugins, "nvidia.com/gpu", &devices).unwrap();
    give_scratch_space(&story.node);
    let images = [
        ("cpu.Dockerfile", "realsyn", WORKER),
        ("controller.Dockerfile", "realsyn-controller", "realsyn.dev/controller:test"),
        ("gpu-agent.Dockerfile", "realsyn-gpu-agent", "realsyn.dev/gpu-agent:test"),
    ];
    import_images(&story.node, folder.path(), Some(realsyn_cuda::folder()), &images);
    story.says("images built");
    story.install(&nvml);
    let places = [("data", folder.path()), ("images", &pictures), ("models", &models.canonicalize().unwrap())];
    let volumes: String = places.iter().map(|(name, path)| volume(name, path)).collect();
    story.node.apply(&format!("{}{volumes}", tenant())).unwrap();

    story.inventory_appears();
    story.an_agent_writes_for_its_own_node_alone();
    let others = Others::stand_beside(&story.node, OTHERS);
    story.placement_explains_itself(&build(&models, &s3, "sentence-score", "cpu"));
    let held = story.the_stage_holds_a_device();
    let _plugin = story.kubelet_restarts(&held, plugin, || DevicePlugin::start(&plugins, "nvidia.com/gpu", &devices));
    story.it_dies(&stand_in, scenario, &held, &others);
    story.it_recovers();
    let [on_gpus, on_processors] = ["cuda", "cpu"].map(|engine| {
        let build = build(&models, &s3, "sentence-cluster", engine);
        story.compares_vectors(&build, engine, &folder.path().join("s3"))
    });
    assert_eq!(on_gpus, on_processors, "the same bytes on any engine");
    assert_eq!(on_gpus, local.join().unwrap(), "the same bytes without a cluster, and without a fault");
}

/// A build as far as a stage. The first one with a model holds a GPU; `engine` compares vectors, of enough sentences in one cell that
/// a GPU has something to do.
fn build(models: &Path, s3: &S3Server, last: &str, engine: &str) -> String {
    let stages = json!({
        "sentences": { "minComplexity": 0, "requireAction": false },
        "sentenceScore": {
            "minEntropy": 0, "perplexity": { "min": 0, "max": 1e300 },
            "gpu": { "products": ["A100-80GB"], "minMemory": "70Gi" },
        },
        "sentenceCells": { "engine": engine, "cells": 1 },
        "sentenceDedupSemantic": { "engine": engine },
        "sentenceCluster": { "engine": engine, "rowsPerCluster": 4 },
    });
    story::build("part", "smollm2-135m-instruct", models, s3, stages, last)
}

/// The root of the last seal of `realsyn build`, from the same manifest and with places of this machine.
fn local_root(folder: &Path, build: &str, models: &Path, pictures: &Path) -> String {
    let (file, out) = (folder.join("build.yaml"), folder.join("local"));
    std::fs::write(&file, build).unwrap();
    let done = Command::new(binary("realsyn").unwrap())
        .args(["build".as_ref(), "-f".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()])
        .args(["--source".as_ref(), folder.join("corpus").as_os_str(), "--models".as_ref(), models.as_os_str()])
        .arg(format!("--mirror=https://openstax.example/={}", pictures.display()))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let seals = std::fs::read_dir(out.join("sentence-cluster/cluster")).unwrap().map(|entry| entry.unwrap().path());
    let seals: Vec<PathBuf> = seals.filter(|path| path.to_string_lossy().ends_with(".g0.seal.json")).collect();
    let [seal] = seals.as_slice() else { panic!("one seal, not {seals:?}") };
    seal_at(seal)["root"].as_str().unwrap().to_owned()
}

fn seal_at(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

const LOOKS: story::Looks = &[
    &["get", "pods,jobs,gn,rsb,leases", "-A", "-o", "wide"],
    &["get", "rsb", "-A", "-o", "yaml"],
    &["logs", "-n", AGENTS, "daemonset/realsyn-gpu-agent", "--tail=30"],
];

struct Story(story::Story);

impl std::ops::Deref for Story {
    type Target = story::Story;

    fn deref(&self) -> &story::Story {
        &self.0
    }
}

impl Story {
    /// The charts, as a person installs them, and what stands for a driver added to the agent's pods.
    fn install(&self, nvml: &Path) {
        self.0.install("gpu.enabled=true,gpu.agent.image.tag=test");
        let at = |path: &str, value: Value| json!({ "op": "add", "path": format!("/spec/template/spec/{path}"), "value": value });
        let flags = ["--nvml=/nvml/libnvidia-ml.so.1", "--sysfs=/nvml/sys", "--every=1", "--hold=1", "--clean", CLEAN];
        let mut patch: Vec<Value> = flags.iter().map(|flag| at("containers/0/args/-", json!(flag))).collect();
        patch.push(at("volumes/-", json!({ "name": "nvml", "hostPath": { "path": nvml } })));
        let mount = json!({ "name": "nvml", "mountPath": "/nvml", "readOnly": true });
        patch.push(at("containers/0/volumeMounts/-", mount));
        let patch = json!(patch).to_string();
        self.kubectl(&["patch", "daemonset", "realsyn-gpu-agent", "-n", AGENTS, "--type=json", "-p", &patch]);
        self.kubectl(&["label", "node", NODE_NAME, "nvidia.com/gpu.present=true"]);
    }

    fn gpu_node(&self) -> Value {
        self.read(&["gpunode", NODE_NAME])
    }

    fn inventory_appears(&self) {
        self.until(SOON, "the GpuNode has its devices", || self.gpu_node()["status"]["summary"]["healthy"] == "8/8");
        self.until(SOON, "kubelet tells who holds what", || {
            self.gpu_node()["status"].get("allocationUnknown").is_none()
        });
        self.until(SOON, "the node offers them", || {
            self.read(&["node", NODE_NAME])["status"]["allocatable"]["nvidia.com/gpu"] == "8"
        });
        let columns = self.kubectl(&["get", "gpunodes"]);
        eprint!("{columns}");
        for what in ["NODE", "A100-SXM4-80GB", "80.0Gi", "8/8", "550.90.07"] {
            assert!(columns.to_uppercase().contains(&what.to_uppercase()), "{what}: {columns}");
        }
    }

    /// With the token that the agent's pod really has.
    fn an_agent_writes_for_its_own_node_alone(&self) {
        let path = "/var/run/secrets/kubernetes.io/serviceaccount/token";
        let token = self.kubectl(&["exec", "-n", AGENTS, "daemonset/realsyn-gpu-agent", "--", "cat", path]);
        let plane = self.node.control_plane();
        let apply = |object: Value| {
            let file = plane.folder().join("attempt.json");
            std::fs::write(&file, object.to_string()).unwrap();
            // Not the administrator's certificate, which would count first.
            let done = Command::new(Binaries::default_folder().path("kubectl"))
                .env("KUBECONFIG", "/dev/null")
                .args(["--server", &plane.server(), "--token", token.trim()])
                .arg("--certificate-authority")
                .arg(plane.folder().join("certificates/ca.crt"))
                .args(["apply", "--server-side", "--force-conflicts", "--validate=false", "-f"])
                .arg(file)
                .output()
                .unwrap();
            (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
        };
        let gpu_node = |name: &str| json!({ "apiVersion": "realsyn.dev/v1alpha1", "kind": "GpuNode", "metadata": { "name": name } });
        let lease = |namespace: &str, name: &str| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name, "namespace": namespace },
                "spec": { "holderIdentity": "somebody" },
            })
        };
        let mut judged = gpu_node(NODE_NAME);
        judged["spec"] = json!({ "quarantine": [{ "reason": "Mine" }] });
        let own = "the agent of node node-a may write";
        let refused = [
            (gpu_node("node-b"), own),
            (lease(AGENTS, "realsyn-gpu-node-b"), own),
            (lease(AGENTS, "realsyn-controller"), own),
            (lease(OPERATOR, "realsyn-controller"), "cannot patch resource \"leases\""),
            (judged, "quarantine is the controller's and people's to write"),
        ];
        for (object, why) in refused {
            let (done, said) = apply(object.clone());
            assert!(!done && said.contains(why), "{object}: {said}");
        }
        // It is the object that is refused, not the way of asking.
        let (done, said) = apply(gpu_node(NODE_NAME));
        assert!(done, "{said}");
        self.says("the agent may write for its own node alone");
    }

    fn condition(&self, kind: &str) -> Value {
        self.0.condition("part", kind)
    }

    fn quarantine(&self, node: &str, entries: Value) {
        let patch = json!({ "spec": { "quarantine": entries } }).to_string();
        self.kubectl(&["patch", "gpunode", node, "--type=merge", "-p", &patch]);
    }

    fn is_tainted(&self) -> bool {
        let taints = self.read(&["node", NODE_NAME])["spec"]["taints"].clone();
        taints.as_array().is_some_and(|all| all.iter().any(|t| t["key"] == QUARANTINE))
    }

    /// A person's quarantine, a controller that starts when all this is there already, and the quarantine's end.
    fn placement_explains_itself(&self, build: &str) {
        self.quarantine(NODE_NAME, json!([{ "reason": "Fan", "by": "ops" }]));
        self.until(SOON, "a person's quarantine taints the node", || self.is_tainted());
        // Its own pod must get past the taint: where all nodes have GPUs, a person lets it.
        let toleration = json!({ "spec": { "template": { "spec": {
            "tolerations": [{ "key": QUARANTINE, "operator": "Exists" }],
        } } } });
        let deployment = "deployment/realsyn-controller";
        self.kubectl(&["patch", deployment, "-n", OPERATOR, "-p", &toleration.to_string()]);
        self.kubectl(&["rollout", "status", deployment, "-n", OPERATOR, "--timeout=90s"]);
        self.says("another controller leads");
        self.node.apply(build).unwrap();
        let message = || self.condition("Placeable")["message"].to_string();
        self.until(PROMPTLY, "Placeable says why not", || message().contains("node-a: quarantined, Fan"));
        assert_eq!(self.condition("Placeable")["status"], "False");
        self.the_others_are_named();
        self.quarantine(NODE_NAME, json!([]));
        self.until(SOON, "Placeable is True", || self.condition("Placeable")["status"] == "True");
        self.until(SOON, "the taint is gone", || !self.is_tainted());
    }

    /// Each of the nodes beside the real one, and what speaks against it.
    fn the_others_are_named(&self) {
        let why = [
            "other-a: has H100-SXM5-80GB, A100-80GB wanted",
            "other-b: has A100-SXM4-40GB, A100-80GB wanted",
            "other-c: quarantined, ",
        ];
        let mut message = String::new();
        self.until(SOON, "Placeable names the other nodes", || {
            message = self.condition("Placeable")["message"].to_string();
            why.iter().all(|why| message.contains(why))
        });
        eprintln!("{message}");
    }

    /// Kubelet dies and comes back under a worker that holds a device. Nobody knows for a while what is held, and nobody
    /// forgets it. A device plugin registers anew, as real ones do when kubelet's socket is another.
    fn kubelet_restarts(
        &self,
        held: &str,
        plugin: DevicePlugin,
        register: impl Fn() -> anyhow::Result<DevicePlugin>,
    ) -> DevicePlugin {
        let pod = || self.pods().into_iter().find(|pod| pod["status"]["phase"] == "Running").unwrap_or_default();
        let before = pod();
        assert_eq!(before["spec"]["nodeName"], NODE_NAME, "no other node fits: {before}");
        self.node.kill(Process::Kubelet).unwrap();
        drop(plugin);
        self.until(SOON, "the agent does not know who holds what", || {
            self.gpu_node()["status"]["allocationUnknown"] == true
        });
        self.node.start_process(Process::Kubelet).unwrap();
        let mut plugin = None;
        self.until(SOON, "a device plugin registers with the new kubelet", || {
            plugin = register().ok();
            plugin.is_some()
        });
        self.until(SOON, "the agent knows again", || {
            let status = self.gpu_node()["status"].clone();
            let devices = status["devices"].as_array().cloned().unwrap_or_default();
            let allocated = |d: &Value| (d["allocated"] == true).then(|| d["uuid"].clone());
            let all: Vec<Value> = devices.iter().filter_map(allocated).collect();
            all == [held] && status["summary"]["free"] == 7 && status.get("allocationUnknown").is_none()
        });
        self.until(SOON, "the node is ready and offers its devices", || {
            let status = self.read(&["node", NODE_NAME])["status"].clone();
            let ready = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            ready && status["allocatable"]["nvidia.com/gpu"] == "8"
        });
        let after = pod();
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "the same pod goes on: {after}");
        plugin.unwrap()
    }

    fn pods(&self) -> Vec<Value> {
        let pods = self.read(&["pods", "-n", NAMESPACE, "-l", "realsyn.dev/gpu"]);
        pods["items"].as_array().cloned().unwrap_or_default()
    }

    /// The UUID of the device that the stage's first pod holds. Its worker stands still from here on.
    fn the_stage_holds_a_device(&self) -> String {
        self.until(LATER, "the stage's worker runs", || {
            let workers = workers(STEP);
            workers.iter().for_each(|pid| signal(*pid, "STOP"));
            !workers.is_empty()
        });
        let held = || {
            let devices = self.gpu_node()["status"]["devices"].as_array().cloned().unwrap_or_default();
            devices.iter().find(|d| d["allocated"] == true).map(|d| d["uuid"].as_str().unwrap().to_owned())
        };
        self.until(SOON, "its device is seen as held", || held().is_some());
        assert_eq!(self.gpu_node()["status"]["summary"]["free"], 7);
        held().unwrap()
    }

    fn it_dies(&self, stand_in: &StandIn, mut scenario: Scenario, held: &str, others: &Others) {
        let device = scenario.devices.iter().position(|d| d.uuid == held).unwrap();
        let victim = self.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let xid = |scenario: &mut Scenario| {
            scenario.xids.push(Xid { device, code: 79 });
            stand_in.play(scenario).unwrap();
        };
        xid(&mut scenario);
        let mut last = Instant::now();
        // As long as it dies again and again, it is not clean, however slow this machine is.
        let mut dying = |what: &str, ready: &dyn Fn() -> bool| {
            self.until(SOON, what, || {
                if last.elapsed() > Duration::from_secs(2) {
                    xid(&mut scenario);
                    last = Instant::now();
                }
                ready()
            });
        };
        dying("the agent reports the XID", &|| self.gpu_node()["status"]["devices"][device]["reason"] == "Xid79");
        dying("the device is in quarantine", &|| {
            let entry = &self.gpu_node()["spec"]["quarantine"][0];
            entry["device"] == held && entry["reason"] == "Xid79" && entry["by"] == "controller"
        });
        dying("the node is tainted", &|| self.is_tainted());
        dying("the pod is evicted", &|| {
            let pod = self.read(&["pod", &victim, "-n", NAMESPACE]);
            !pod["metadata"]["deletionTimestamp"].is_null()
                && pod["status"].to_string().contains("EvictionByEvictionAPI")
        });
        // Before that it would go on with its task.
        dying("kubelet asks its worker to end", &|| workers(STEP).into_iter().all(asked_to_end));
        workers(STEP).iter().for_each(|pid| signal(*pid, "CONT"));
        dying("another pod waits in its place", &|| self.waiting().is_some());
        let pod = self.waiting().unwrap();
        let count =
            |name: &str| pod["metadata"]["annotations"][format!("batch.kubernetes.io/job-index-{name}")].clone();
        assert_eq!((count("failure-count"), count("ignored-failure-count")), (json!("0"), json!("1")), "{pod}");
        dying("the scheduler says why it waits", &|| {
            self.waiting().is_some_and(|pod| pod["status"].to_string().contains("untolerated taint"))
        });
        dying("the build says why it waits", &|| {
            let placeable = self.condition("Placeable");
            placeable["status"] == "False"
                && placeable["message"].to_string().contains("node-a: quarantined, XID 79 at ")
        });
        // A node comes that the stage fits: the pod goes there. Nobody starts it, and then that node is in quarantine, too.
        let (late, ..) = LATE;
        others.join(&self.node, &LATE);
        dying("the waiting pod is bound to another node", &|| {
            self.pods().iter().any(|pod| pod["spec"]["nodeName"] == late)
        });
        let on_it: Vec<Value> = self.pods().into_iter().filter(|pod| pod["spec"]["nodeName"] == late).collect();
        let [moved] = on_it.as_slice() else { panic!("one pod, not {on_it:?}") };
        let name = moved["metadata"]["name"].as_str().unwrap();
        assert_eq!(name, pod["metadata"]["name"].as_str().unwrap(), "the one that has waited");
        self.quarantine(late, json!([{ "reason": "Fan", "by": "ops" }]));
        dying("it is evicted there, too", &|| {
            self.read(&["pod", name, "-n", NAMESPACE])["status"].to_string().contains("EvictionByEvictionAPI")
        });
        // As its kubelet would end it.
        let failed = r#"{"status":{"phase":"Failed"}}"#;
        self.kubectl(&["patch", "pod", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", failed]);
        self.kubectl(&["delete", "pod", name, "-n", NAMESPACE, "--force", "--grace-period=0", "--wait=false"]);
        dying("a third pod waits", &|| self.waiting().is_some());
        let told = self.kubectl(&["describe", "gn", NODE_NAME]);
        eprintln!("{told}");
        for what in ["Quarantined", "Xid79", held, "Since:", "XID 79: the GPU has fallen off the bus"] {
            assert!(told.contains(what), "{what}: {told}");
        }
    }

    /// The pod that has no node yet.
    fn waiting(&self) -> Option<Value> {
        self.pods().into_iter().find(|pod| pod["status"]["phase"] == "Pending" && pod["spec"].get("nodeName").is_none())
    }

    fn it_recovers(&self) {
        self.until(SOON, "the entry is gone", || {
            self.gpu_node()["spec"].get("quarantine").is_none_or(|q| q == &json!([]))
        });
        self.until(SOON, "the taint is gone", || !self.is_tainted());
        let mut of_the_stage = Value::Null;
        self.until(LATER, "the stage is sealed", || {
            of_the_stage = self.stage("part", "sentence-score");
            of_the_stage["state"] == "Sealed"
        });
        eprintln!("{of_the_stage}");
        assert_eq!((&of_the_stage["attempt"], &of_the_stage["failures"]), (&json!(1), &Value::Null));
        assert_eq!((&of_the_stage["shards"], &of_the_stage["shardsDone"]), (&json!(4), &json!(4)));
        self.until(SOON, "the build is done", || self.condition("Reconciling")["status"] == "False");
        self.until(SOON, "the device is free again", || self.gpu_node()["status"]["summary"]["free"] == 8);
        let told = self.kubectl(&["describe", "gn", NODE_NAME]);
        assert!(told.contains("Released"), "{told}");
        eprint!("{}", self.kubectl(&["get", "rsb,jobs,gn", "-n", NAMESPACE, "-o", "wide"]));
    }

    /// The build goes on to its clusters, with this engine, on GPUs where it says so; returns the root of the last seal.
    fn compares_vectors(&self, build: &str, engine: &str, store: &Path) -> String {
        self.node.apply(build).unwrap();
        // Until the build has been looked at anew, its stages are those of the generation before.
        self.until(LATER, &format!("vectors are compared on {engine}"), || {
            let (generation, condition) =
                (self.read(&["rsb", "part"])["metadata"]["generation"].clone(), self.condition("Reconciling"));
            condition["status"] == "False" && condition["observedGeneration"] == generation
        });
        let stage = self.stage("part", "sentence-cluster");
        assert_eq!(stage["failures"], Value::Null, "{stage}");
        let digest = stage["digest"].as_str().unwrap();
        let seal = format!("{}/builds/sentence-cluster/cluster/{digest}.g0.seal.json", S3Server::BUCKET);
        let seal = seal_at(&store.join(seal));
        let held = seal["effort"]["gpus"].as_object().is_some_and(|gpus| !gpus.is_empty());
        assert_eq!(held, engine == "cuda", "{seal}");
        seal["root"].as_str().unwrap().to_owned()
    }
}
