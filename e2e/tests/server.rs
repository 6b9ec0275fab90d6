//! `generate` with `engine: cuda` on a real Kubernetes node: the operator as its chart installs it, its admission policies, a
//! device plugin, and beside the worker a server that speaks as vLLM does, with a small real model on the processor.
//!
//! Needs root, the binaries of `e2e/cluster` with Helm, the models and the OpenStax sample; skipped loudly where one is missing.

mod support;

use std::path::Path;
use std::time::Duration;

use realsyn_cluster::{Binaries, HOST_ADDRESS, skip};
use realsyn_e2e::{DevicePlugin, S3Server, sample, write_corpus};
use serde_json::{Value, json};
use support::story::OPERATOR;
use support::{
    NAMESPACE, WORKER, give_scratch_space, import_images, inputs, open_folder, signal, story, tenant, volume, workers,
};

const SERVER: &str = "realsyn.dev/server:test";
const SOON: Duration = Duration::from_secs(90);
const LATER: Duration = Duration::from_secs(900);
/// Seconds that a server may need to start.
const PATIENCE: &str = "40";

#[test]
#[ignore = "eleven minutes: `make e2e`"]
fn generate_runs_beside_a_server_that_holds_its_gpus_or_says_why_not() {
    const NAME: &str = "generate_runs_beside_a_server_that_holds_its_gpus_or_says_why_not";
    let helm = Binaries::default_folder().require_tool("helm").map_err(|error| error.to_string());
    let Some((models, openstax)) = inputs(NAME) else { return };
    if skip(NAME, helm.err()) {
        return;
    }
    let folder = open_folder();
    write_corpus(&folder.path().join("corpus"), &sample(&openstax, 4, 120).unwrap(), 1).unwrap();
    let story = Story(story::Story::begin(LOOKS));
    let s3 = S3Server::start_on(&folder.path().join("s3"), HOST_ADDRESS.parse().unwrap()).unwrap();
    let plugins = story.node.kubelet_folder().join("device-plugins");
    let _plugin = DevicePlugin::start(&plugins, "nvidia.com/gpu", &["GPU-0".to_owned()]).unwrap();
    give_scratch_space(&story.node);
    let vllm = folder.path().join("server.Dockerfile");
    std::fs::write(&vllm, "ARG BASE\nFROM ${BASE}\nCOPY --chmod=0755 chat-server /usr/local/bin/vllm\n").unwrap();
    let images = [
        ("cpu.Dockerfile", "realsyn", WORKER),
        ("cpu.Dockerfile", "realsyn", LATER_WORKER),
        ("controller.Dockerfile", "realsyn-controller", "realsyn.dev/controller:test"),
        (vllm.to_str().unwrap(), "chat-server", SERVER),
    ];
    import_images(&story.node, folder.path(), None, &images);
    story.says("images built");
    story.install(&format!(
        "generation.image.repository=realsyn.dev/server,generation.image.tag=test,generation.patience={PATIENCE}"
    ));
    let pictures = openstax.join("images").canonicalize().unwrap();
    let places = [("data", folder.path()), ("images", &pictures), ("models", &models.canonicalize().unwrap())];
    let volumes: String = places.iter().map(|(name, path)| volume(name, path)).collect();
    story.node.apply(&format!("{}{volumes}", tenant())).unwrap();

    story.node.apply(&build("part", "smollm2-135m-instruct", &models, &s3)).unwrap();
    story.an_upgrade_disturbs_nothing();
    story.a_server_holds_the_gpu();
    story.until(LATER, "the build is Ready", || story.condition("part", "Ready")["status"] == "True");
    let generate = story.generate("part");
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

    let image = |build: &str| story.read(&["rsb", build])["status"]["workerImage"].clone();
    assert_eq!((image("part"), image("hopeless")), (json!(WORKER), json!(LATER_WORKER)));
    story.uninstall();
    assert_eq!(story.condition("part", "Ready")["status"], "True", "builds stay");
}

/// The image of workers in a later version of the operator.
const LATER_WORKER: &str = "realsyn.dev/worker:later";

/// How the server ends that finds no model.
const LAST_WORDS: &str = "expected one .gguf file in the folder, found 0";

/// A build up to its texts, written by this model.
fn build(name: &str, llm: &str, models: &Path, s3: &S3Server) -> String {
    let stages = json!({
        "sentenceCluster": { "rowsPerCluster": 20 },
        "imageCluster": { "rowsPerCluster": 8 },
        "generate": {
            "engine": "cuda", "gpu": { "count": 1 }, "maxNewTokens": 16, "retry": 0,
            "resources": { "cpu": "500m", "memory": "3Gi", "ephemeral-storage": "2Gi" },
        },
    });
    story::build(name, llm, models, s3, stages, "generate")
}

const LOOKS: story::Looks =
    &[&["get", "pods,jobs,rsb", "-A", "-o", "wide"], &["get", "rsb,pods", "-n", NAMESPACE, "-o", "yaml"]];

struct Story(story::Story);

impl std::ops::Deref for Story {
    type Target = story::Story;

    fn deref(&self) -> &story::Story {
        &self.0
    }
}

impl Story {
    fn generate(&self, build: &str) -> Value {
        self.stage(build, "generate")
    }

    fn pods(&self, build: &str) -> Vec<Value> {
        let labels = format!("realsyn.dev/stage=generate,realsyn.dev/build={build}");
        self.read(&["pods", "-l", &labels])["items"].as_array().cloned().unwrap_or_default()
    }

    /// The operator is upgraded while a worker is at its task: its Job goes on, and what the build still needs is made with
    /// the image that it began with.
    fn an_upgrade_disturbs_nothing(&self) {
        self.until(LATER, "a worker runs", || {
            let workers = workers("");
            workers.iter().for_each(|pid| signal(*pid, "STOP"));
            !workers.is_empty()
        });
        let uids = |what: &[&str]| -> Vec<Value> {
            let all = self.read(what)["items"].as_array().cloned().unwrap_or_default();
            all.iter().map(|object| object["metadata"]["uid"].clone()).collect()
        };
        let jobs = || uids(&["jobs", "-l", "realsyn.dev/step"]);
        let leader = || self.kubectl(&["get", "lease", "-n", OPERATOR, "-o", "jsonpath={..holderIdentity}"]);
        let (at_work, led) = (jobs(), leader());
        self.upgrade("worker.image.tag=later");
        self.until(SOON, "another controller leads", || !leader().is_empty() && leader() != led);
        // Asked to try again what has failed, which nothing has, it writes down that it was asked.
        self.kubectl(&["annotate", "rsb", "part", "-n", NAMESPACE, "realsyn.dev/retry=upgraded"]);
        self.until(SOON, "it has looked at the build", || {
            self.read(&["rsb", "part"])["status"]["retried"] == "upgraded"
        });
        assert_eq!(jobs(), at_work, "what runs goes on");
        workers("").iter().for_each(|pid| signal(*pid, "CONT"));
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
