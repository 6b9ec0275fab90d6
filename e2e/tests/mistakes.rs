//! What people get wrong, on a real Kubernetes node with a real store: each build says within seconds what is wrong, by the
//! name of the thing, and goes on once that is mended. The operator stays as it is: it is no crash loop, and never silent.
//!
//! Needs root, the binaries of `e2e/cluster` with Helm, the models and the OpenStax sample; skipped loudly where one is missing.

mod support;

use std::path::Path;
use std::time::Duration;

use realsyn_cluster::{Binaries, HOST_ADDRESS, skip};
use realsyn_e2e::{S3Server, sample, write_corpus};
use serde_json::{Value, json};
use support::story::{OPERATOR, Story};
use support::{NAMESPACE, WORKER, give_scratch_space, import_images, inputs, open_folder, tenant, volume};

/// How long a build may take to say what is wrong, on a busy machine.
const SOON: Duration = Duration::from_secs(300);
/// How long it may take from then on.
const LATER: Duration = Duration::from_secs(600);
/// Of 63 letters.
const LONGEST: &str = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
/// A namespace that has room for no pod.
const POOR: &str = "poor";

/// A condition that is true, its reason, and words of its message.
type Says = (&'static str, &'static str, &'static [&'static str]);

/// A build with a mistake.
struct Mistake {
    name: &'static str,
    /// What makes it another than the one without.
    make: fn(&mut Value),
    says: Says,
    /// What a person does about it.
    mend: fn(&Site),
}

/// Where mistakes are made.
struct Site {
    story: Story,
    s3: S3Server,
    folder: tempfile::TempDir,
    /// The hash of the language model.
    sha256: String,
}

/// All that can be made at once. What is tried again ever later comes first.
fn mistakes() -> Vec<Mistake> {
    vec![
        Mistake {
            name: "wrong-keys",
            make: |build| build["spec"]["storage"]["credentials"] = json!({ "secretName": "wrong" }),
            says: ("Reconciling", "Progressing", &["the look at the store failed", "SignatureDoesNotMatch"]),
            // It looks again by itself.
            mend: |site| site.secret("wrong", S3Server::SECRET_KEY),
        },
        Mistake {
            name: "no-bucket",
            make: |build| build["spec"]["storage"]["uri"] = json!("s3://absent/builds"),
            says: ("Stalled", "Stalled", &["s3://absent/builds", "NoSuchBucket"]),
            mend: |site| {
                std::fs::create_dir(site.folder.path().join("s3/absent")).unwrap();
                site.retries("no-bucket");
            },
        },
        Mistake {
            name: "no-secret",
            make: |build| build["spec"]["storage"]["credentials"] = json!({ "secretName": "late" }),
            says: ("Reconciling", "Progressing", &["CreateContainerConfigError", "secret \"late\" not found"]),
            mend: |site| site.secret("late", S3Server::SECRET_KEY),
        },
        Mistake {
            name: "no-claim",
            make: |build| build["spec"]["source"]["uri"] = json!("pvc://late/corpus"),
            says: ("Reconciling", "Progressing", &["Unschedulable", "persistentvolumeclaim \"late\" not found"]),
            mend: |site| drop(site.story.node.apply(&volume("late", site.folder.path())).unwrap()),
        },
        Mistake {
            name: "another-model",
            make: |build| {
                build["spec"]["stopAfter"] = json!("sentence-score");
                build["spec"]["models"]["perplexity"]["sha256"] = json!("0".repeat(64));
            },
            says: ("Stalled", "Stalled", &["sentence-score", "smollm2-135m-instruct", "0000000000000000"]),
            mend: |site| {
                let logs = ["logs", "sentence-score", "--build", "another-model", "--kept"];
                let (done, log) = site.story.plugin(&logs);
                assert!(done && log.contains("smollm2-135m-instruct"), "what the worker said is kept: {log}");
                let model = json!({ "spec": { "models": { "perplexity": { "sha256": site.sha256 } } } });
                site.patches("another-model", &model);
            },
        },
        // None: the longest name that there may be.
        Mistake {
            name: LONGEST,
            make: |_| (),
            says: ("Ready", "StoppedAfter", &["everything up to documents is sealed"]),
            mend: |_| (),
        },
    ]
}

#[test]
fn every_mistake_is_named_and_can_be_mended() {
    const NAME: &str = "every_mistake_is_named_and_can_be_mended";
    let helm = Binaries::default_folder().require_tool("helm").map_err(|error| error.to_string());
    let Some((models, openstax)) = inputs(NAME) else { return };
    if skip(NAME, helm.err()) {
        return;
    }
    let site = Site::open(&models, &openstax);
    site.some_are_refused_at_once();
    let all = mistakes();
    for mistake in &all {
        let mut build = site.build(NAMESPACE, mistake.name);
        (mistake.make)(&mut build);
        site.story.node.apply(&build.to_string()).unwrap();
    }
    for Mistake { name, says: (kind, reason, words), mend, .. } in &all {
        site.says(NAMESPACE, name, kind, reason, words);
        mend(&site);
    }
    site.no_room();
    for mistake in &all {
        site.becomes_ready(mistake.name);
    }
    site.nothing_was_restarted();
    site.an_image_that_cannot_be_pulled();
    site.nothing_was_restarted();
}

impl Site {
    fn open(models: &Path, openstax: &Path) -> Self {
        let folder = open_folder();
        write_corpus(&folder.path().join("corpus"), &sample(openstax, 2, 60).unwrap(), 1).unwrap();
        let story = Story::begin(&[&["get", "rsb,jobs,pods", "-A", "-o", "wide"], &["get", "rsb", "-A", "-o", "yaml"]]);
        let s3 = S3Server::start_on(&folder.path().join("s3"), HOST_ADDRESS.parse().unwrap()).unwrap();
        give_scratch_space(&story.node);
        let images = [
            ("cpu.Dockerfile", "realsyn", WORKER),
            ("controller.Dockerfile", "realsyn-controller", "realsyn.dev/controller:test"),
        ];
        import_images(&story.node, folder.path(), None, &images);
        story.says("images built");
        story.install("log.format=text");
        let models = models.canonicalize().unwrap();
        let claims = format!("{}{}", volume("data", folder.path()), volume("models", &models));
        story.node.apply(&format!("{}{claims}", tenant())).unwrap();
        let sha256 = realsyn_models::folder_sha256(&models.join("smollm2-135m-instruct")).unwrap();
        let site = Self { story, s3, folder, sha256 };
        site.secret("wrong", "no-such-secret-key");
        site
    }

    /// A small build without a mistake.
    fn build(&self, namespace: &str, name: &str) -> Value {
        json!({
            "apiVersion": "realsyn.dev/v1alpha1",
            "kind": "RealSynBuild",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "source": { "format": "obelics", "uri": "pvc://data/corpus" },
                "storage": {
                    // Short, because the store of tests keeps a whole key in the name of a file.
                    "uri": format!("s3://{}/{}", S3Server::BUCKET, &name[..4]),
                    "endpoint": self.s3.endpoint(),
                    "region": "us-east-1",
                    "credentials": { "secretName": "s3" },
                },
                "models": { "perplexity": { "uri": "pvc://models/smollm2-135m-instruct", "sha256": self.sha256 } },
                "stopAfter": "documents",
            },
        })
    }

    /// A Secret with this secret key, made or changed.
    fn secret(&self, name: &str, key: &str) {
        let keys = json!({ "AWS_ACCESS_KEY_ID": S3Server::ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": key });
        let metadata = json!({ "name": name, "namespace": NAMESPACE });
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys });
        self.story.node.apply(&secret.to_string()).unwrap();
    }

    fn patches(&self, build: &str, patch: &Value) {
        self.story.kubectl(&["patch", "rsb", build, "-n", NAMESPACE, "--type=merge", "-p", &patch.to_string()]);
    }

    /// Whoever has mended something and does not want to wait says so.
    fn retries(&self, build: &str) {
        self.patches(build, &json!({ "metadata": { "annotations": { "realsyn.dev/retry": "mended" } } }));
    }

    /// Waits until a condition of a build is true for a reason and says these words.
    fn says(&self, namespace: &str, name: &str, kind: &str, reason: &str, words: &[&str]) {
        let fields =
            "jsonpath={range .status.conditions[?(@.status==\"True\")]}{.type} {.reason}: {.message}{\"\\n\"}{end}";
        let head = format!("{kind} {reason}: ");
        let mut said = String::new();
        self.story.until(SOON, &format!("{name} is {kind} and tells why"), || {
            said = self.story.node.kubectl(&["get", "rsb", name, "-n", namespace, "-o", fields]).unwrap_or_default();
            said.lines().any(|line| line.starts_with(&head) && words.iter().all(|word| line.contains(word)))
        });
        eprintln!("{said}");
    }

    fn becomes_ready(&self, name: &str) {
        self.story
            .until(LATER, &format!("{name} is Ready"), || self.story.condition(name, "Ready")["status"] == "True");
    }

    /// What the API server itself can tell.
    fn some_are_refused_at_once(&self) {
        let mut bands = self.build(NAMESPACE, "bands");
        bands["spec"]["stages"] = json!({ "sentenceScore": { "perplexity": { "min": 150, "max": 30 } } });
        let long = self.build(NAMESPACE, &"n".repeat(253));
        for (build, words) in [
            (bands, ["spec.stages.sentenceScore.perplexity", "min is above max", "swap them"]),
            (long, ["metadata.name", "Too long", "63"]),
        ] {
            let said = self.story.node.apply(&build.to_string()).unwrap_err().to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }

    /// A quota that has no room for a pod is named; once it is gone, the build gets as far as what is missing next.
    fn no_room(&self) {
        let (metadata, hard) = (json!({ "name": "none", "namespace": POOR }), json!({ "hard": { "pods": "0" } }));
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": POOR } });
        let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": hard });
        let build = self.build(POOR, "no-room");
        for object in [namespace, quota, build] {
            self.story.node.apply(&object.to_string()).unwrap();
        }
        self.says(POOR, "no-room", "Reconciling", "Progressing", &["exceeded quota: none"]);
        self.story.kubectl(&["delete", "resourcequota", "none", "-n", POOR]);
        let next = ["Unschedulable", "persistentvolumeclaim \"data\" not found"];
        self.says(POOR, "no-room", "Reconciling", "Progressing", &next);
    }

    /// The operator is upgraded to workers whose image is nowhere; once it is there, the build goes on by itself.
    fn an_image_that_cannot_be_pulled(&self) {
        let image = WORKER.replace("test", "nowhere");
        self.story.upgrade("worker.image.tag=nowhere");
        self.story.node.apply(&self.build(NAMESPACE, "no-image").to_string()).unwrap();
        self.says(NAMESPACE, "no-image", "Reconciling", "Progressing", &["ImagePull", &image]);
        self.story.node.name_image(WORKER, &image).unwrap();
        self.becomes_ready("no-image");
    }

    fn nothing_was_restarted(&self) {
        let starts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        assert_eq!(
            self.story.kubectl(&["get", "pods", "-n", OPERATOR, "-o", starts]),
            "0",
            "the controller's restarts"
        );
    }
}
