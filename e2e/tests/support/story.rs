//! The operator on a node, as its chart installs it, and what a person who runs the test sees of it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use realsyn_cluster::{Binaries, Node, Options, until};
use realsyn_e2e::{S3Server, binary};
use serde_json::{Value, json};

use super::{NAMESPACE, workspace};

/// Where the operator is installed.
pub const OPERATOR: &str = "realsyn-system";

/// What a person looks at when something does not come: arguments of kubectl.
pub type Looks = &'static [&'static [&'static str]];

/// A node, from its start.
pub struct Story {
    pub node: Node,
    looks: Looks,
    began: Instant,
}

impl Story {
    pub fn begin(looks: Looks) -> Self {
        Self { node: Node::start(&Options::default()).unwrap(), looks, began: Instant::now() }
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.node.kubectl(arguments).unwrap()
    }

    /// What a person who runs this test sees of it.
    pub fn says(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// An object or a list, in the namespace of builds where it lies in one; nothing if that cannot be read.
    pub fn read(&self, what: &[&str]) -> Value {
        let read = self.node.kubectl(&[&["get", "-n", NAMESPACE, "-o", "json"], what].concat());
        read.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Waits, and says with what things look like if that was in vain, and what the controller logged.
    pub fn until(&self, patience: Duration, what: &str, mut ready: impl FnMut() -> bool) {
        if let Err(error) = until(patience, what, || Ok(ready())) {
            let look = |arguments: &[&str]| self.node.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
            let log: &[&str] = &["logs", "-n", OPERATOR, "deployment/realsyn-controller", "--tail=60"];
            let looks: Vec<String> = self.looks.iter().chain([&log]).map(|arguments| look(arguments)).collect();
            panic!("{error:#}\n{}", looks.join("\n"));
        }
        self.says(what);
    }

    fn helm(&self, line: &[&str]) -> Result<()> {
        let mut helm = Command::new(Binaries::default_folder().path("helm"));
        let done = helm.args(line).current_dir(workspace()).env("KUBECONFIG", self.node.kubeconfig()).output()?;
        ensure!(done.status.success(), "helm {line:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// The charts, as a person installs them; returns once the controller is ready.
    pub fn install(&self, values: &str) {
        self.install_definitions();
        self.install_operator(values, "5m").unwrap();
    }

    /// The chart of the CustomResourceDefinitions alone.
    pub fn install_definitions(&self) {
        self.helm(&["install", "realsyn-crds", "charts/realsyn-crds"]).unwrap();
    }

    /// The operator's chart alone, over the images that tests build; once more where that was in vain.
    ///
    /// # Errors
    /// The controller is not ready within `patience`, as Helm writes times.
    pub fn install_operator(&self, values: &str, patience: &str) -> Result<()> {
        let images =
            "image.tag=test,image.pullPolicy=Never,worker.image.tag=test,worker.image.repository=realsyn.dev/worker";
        let operator = ["upgrade", "--install", "realsyn-operator", "charts/realsyn-operator", "--create-namespace"];
        let wait = ["--wait", "--timeout", patience];
        self.helm(&[&operator[..], &wait, &["-n", OPERATOR, "--set", images, "--set", values]].concat())
    }

    /// The operator, as a person upgrades it, with other values; returns once another pod is ready.
    pub fn upgrade(&self, values: &str) {
        let operator = ["upgrade", "realsyn-operator", "charts/realsyn-operator", "--reuse-values", "--wait"];
        self.helm(&[&operator[..], &["-n", OPERATOR, "--set", values]].concat()).unwrap();
    }

    /// The charts, as a person removes them.
    pub fn uninstall(&self) {
        self.helm(&["uninstall", "realsyn-operator", "-n", OPERATOR, "--wait"]).unwrap();
        self.helm(&["uninstall", "realsyn-crds"]).unwrap();
    }

    /// Which controller leads; nobody, if it is empty.
    pub fn leader(&self) -> String {
        self.kubectl(&["get", "lease", "-n", OPERATOR, "-o", "jsonpath={..holderIdentity}"])
    }

    /// The plugin of kubectl, in the namespace of builds: whether it ended well, and all that it printed.
    pub fn plugin(&self, arguments: &[&str]) -> (bool, String) {
        let mut plugin = Command::new(binary("kubectl-realsyn").unwrap());
        plugin.args(arguments).args(["-n", NAMESPACE]).env("KUBECONFIG", self.node.kubeconfig());
        let done = plugin.output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// A condition of a build.
    pub fn condition(&self, build: &str, kind: &str) -> Value {
        let build = self.read(&["rsb", build]);
        let conditions = build["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
    }

    /// A stage of a build.
    pub fn stage(&self, build: &str, name: &str) -> Value {
        let stages = self.read(&["rsb", build])["status"]["stages"].as_array().cloned().unwrap_or_default();
        stages.into_iter().find(|stage| stage["name"] == name).unwrap_or_default()
    }
}

/// A build over the claims `data`, `images` and `models`; the language model that writes is `llm`.
pub fn build(name: &str, llm: &str, models: &Path, s3: &S3Server, stages: Value, last: &str) -> String {
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
            "stages": stages,
            "stopAfter": last,
        },
    });
    build.to_string()
}
