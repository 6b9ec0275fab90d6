//! `generate` with `engine: cuda` on a real Kubernetes node: the operator as its chart installs it, its admission policies, a
//! device plugin, and beside the worker a server that speaks as vLLM does, with a small real model on the processor.
//!
//! Needs root, the binaries of `e2e/cluster` with Helm, the models and the OpenStax sample; skipped loudly where one is missing.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use realsyn_cluster::{Binaries, HOST_ADDRESS, Node, Options, skip, until};
use realsyn_e2e::{DevicePlugin, S3Server, sample, write_corpus};
use serde_json::{Value, json};
use support::{NAMESPACE, WORKER, give_scratch_space, import_images, inputs, open_folder, tenant, volume, workspace};

const OPERATOR: &str = "realsyn-system";
const SERVER: &str = "realsyn.dev/server:test";
const SOON: Duration = Duration::from_secs(90);
const LATER: Duration = Duration::from_secs(900);
/// Seconds that a server may need to start.
const PATIENCE: &str = "40";

#[test]
fn generate_runs_beside_a_server_that_holds_its_gpus_or_says_why_not() {
    const NAME: &str = "generate_runs_beside_a_server_that_holds_its_gpus_or_says_why_not";
    let helm = Binaries::default_folder().require_tool("helm").map_err(|error| error.to_string());
    let Some((models, openstax)) = inputs(NAME) else { return };
    if skip(NAME, helm.err()) {
        return;
    }
    let folder = open_folder();
    write_corpus(&folder.path().join("corpus"), &sample(&openstax, 4, 120).unwrap(), 1).unwrap();
    let story = Story { node: Node::start(&Options::default()).unwrap(), began: Instant::now() };
    let s3 = S3Server::start_on(&folder.path().join("s3"), HOST_ADDRESS.parse().unwrap()).unwrap();
    let plugins = story.node.kubelet_folder().join("device-plugins");
    let _plugin = DevicePlugin::start(&plugins, "nvidia.com/gpu", &["GPU-0".to_owned()]).unwrap();
    give_scratch_space(&story.node);
    let vllm = folder.path().join("server.Dockerfile");
    std::fs::write(&vllm, "ARG BASE\nFROM ${BASE}\nCOPY --chmod=0755 chat-server /usr/local/bin/vllm\n").unwrap();
    let images = [
        ("cpu.Dockerfile", "realsyn", WORKER),
        ("controller.Dockerfile", "realsyn-controller", "realsyn.dev/controller:test"),
        (vllm.to_str().unwrap(), "chat-server", SERVER),
    ];
    import_images(&story.node, folder.path(), &images);
    story.says("images built");
    story.install();
    let pictures = openstax.join("images").canonicalize().unwrap();
    let places = [("data", folder.path()), ("images", &pictures), ("models", &models.canonicalize().unwrap())];
    let volumes: String = places.iter().map(|(name, path)| volume(name, path)).collect();
    story.node.apply(&format!("{}{volumes}", tenant())).unwrap();

    story.node.apply(&build("part", "smollm2-135m-instruct", &models, &s3)).unwrap();
    story.a_server_holds_the_gpu();
    story.until(LATER, "the build is Ready", || story.condition("part", "Ready")["status"] == "True");
    let stages = story.read(&["rsb", "part"])["status"]["stages"].as_array().cloned().unwrap();
    let generate = stages.iter().find(|stage| stage["name"] == "generate").unwrap();
    assert!(generate["recordsOut"].as_u64().is_some_and(|texts| texts > 0), "{generate}");

    // A folder that is what the build says, and holds no model that the server can load.
    story.node.apply(&build("hopeless", "demo-clip", &models, &s3)).unwrap();
    let why = || story.generate("hopeless")["waitsFor"].as_str().unwrap_or_default().to_owned();
    story.until(LATER, "the status tells of a server that does not start", || {
        why().contains("its server: CrashLoopBackOff") && why().contains(LAST_WORDS)
    });
    story.until(LATER, "the stage fails, and says with what", || why().contains("ended with 67"));
    let (why, failed) = (why(), story.generate("hopeless"));
    eprintln!("{why}");
    assert!(why.contains(LAST_WORDS) && why.contains("http://127.0.0.1:8000/v1"), "{why}");
    assert_eq!(failed["failures"], 1, "{failed}");
    let holds = |pod: &&Value| !["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default());
    assert_eq!(story.pods("hopeless").iter().filter(holds).count(), 0, "no pod holds the GPU");
}

/// How the server ends that finds no model.
const LAST_WORDS: &str = "expected one .gguf file in the folder, found 0";

/// A build up to its texts, written by this model.
fn build(name: &str, llm: &str, models: &Path, s3: &S3Server) -> String {
    let model = |name: &str| {
        let sha256 = realsyn_models::folder_sha256(&models.join(name)).unwrap();
        json!({ "sha256": sha256, "uri": format!("pvc://models/{name}") })
    };
    let build = json!({
        "apiVersion": "realsyn.dev/v1alpha1",
        "kind": "RealSynBuild",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "source": {
                "format": "obelics",
                "uri": "pvc://data/corpus",
                "imageMirrors": [{ "prefix": "https://openstax.example/", "uri": "pvc://images" }],
            },
            "storage": {
                "uri": format!("s3://{}/builds", S3Server::BUCKET),
                "endpoint": s3.endpoint(),
                "region": "us-east-1",
                "credentials": { "secretName": "s3" },
            },
            "models": { "clip": model("demo-clip"), "perplexity": model("smollm2-135m-instruct"), "llm": model(llm) },
            "stages": {
                "sentenceCluster": { "rowsPerCluster": 20 },
                "imageCluster": { "rowsPerCluster": 8 },
                "generate": {
                    "engine": "cuda", "gpu": { "count": 1 }, "maxNewTokens": 16, "retry": 0,
                    "resources": { "cpu": "500m", "memory": "3Gi", "ephemeral-storage": "2Gi" },
                },
            },
            "stopAfter": "generate",
        },
    });
    build.to_string()
}

struct Story {
    node: Node,
    began: Instant,
}

impl Story {
    /// What a person who runs this test sees of it.
    fn says(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    fn read(&self, what: &[&str]) -> Value {
        let read = self.node.kubectl(&[&["get", "-n", NAMESPACE, "-o", "json"], what].concat());
        read.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Waits, and says with what things look like if that was in vain.
    fn until(&self, patience: Duration, what: &str, mut ready: impl FnMut() -> bool) {
        if let Err(error) = until(patience, what, || Ok(ready())) {
            let looks = |arguments: &[&str]| self.node.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
            panic!(
                "{error:#}\n{}\n{}\n{}",
                looks(&["get", "pods,jobs,rsb", "-A", "-o", "wide"]),
                looks(&["get", "rsb,pods", "-n", NAMESPACE, "-o", "yaml"]),
                looks(&["logs", "-n", OPERATOR, "deployment/realsyn-controller", "--tail=60"]),
            );
        }
        self.says(what);
    }

    fn install(&self) {
        let helm = |line: &[&str]| {
            let mut helm = Command::new(Binaries::default_folder().path("helm"));
            let done =
                helm.args(line).current_dir(workspace()).env("KUBECONFIG", self.node.kubeconfig()).output().unwrap();
            assert!(done.status.success(), "helm {line:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        helm(&["install", "realsyn-crds", "charts/realsyn-crds"]);
        let values = format!(
            "image.tag=test,image.pullPolicy=Never,worker.image.tag=test,worker.image.repository=realsyn.dev/worker,\
             generation.image.repository=realsyn.dev/server,generation.image.tag=test,generation.patience={PATIENCE}"
        );
        let operator = ["install", "realsyn-operator", "charts/realsyn-operator", "--create-namespace"];
        helm(&[&operator[..], &["-n", OPERATOR, "--set", &values]].concat());
    }

    fn condition(&self, build: &str, kind: &str) -> Value {
        let build = self.read(&["rsb", build]);
        let conditions = build["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
    }

    fn generate(&self, build: &str) -> Value {
        let stages = self.read(&["rsb", build])["status"]["stages"].as_array().cloned().unwrap_or_default();
        stages.into_iter().find(|stage| stage["name"] == "generate").unwrap_or_default()
    }

    fn pods(&self, build: &str) -> Vec<Value> {
        let labels = format!("realsyn.dev/stage=generate,realsyn.dev/build={build}");
        self.read(&["pods", "-l", &labels])["items"].as_array().cloned().unwrap_or_default()
    }

    fn a_server_holds_the_gpu(&self) {
        let pod =
            || self.pods("part").into_iter().find(|pod| pod["status"]["initContainerStatuses"][0]["started"] == true);
        self.until(LATER, "the server runs", || pod().is_some());
        let Some(pod) = pod() else { return self.says("it was too quick to be looked at") };
        let (server, worker) = (&pod["spec"]["initContainers"][0], &pod["spec"]["containers"][0]);
        assert_eq!((&server["name"], &server["restartPolicy"]), (&json!("server"), &json!("Always")));
        assert_eq!(server["resources"]["limits"]["nvidia.com/gpu"], "1");
        assert!(worker["resources"]["limits"].get("nvidia.com/gpu").is_none(), "{worker}");
        let labels = ["-n", NAMESPACE, "logs", pod["metadata"]["name"].as_str().unwrap(), "-c", "server"];
        self.until(SOON, "its log can be read", || self.node.kubectl(&labels).is_ok_and(|log| log.contains("float32")));
    }
}
