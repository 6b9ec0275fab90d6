//! The operator on a real Kubernetes node, as its charts install it: real API server, scheduler, kubelet and containerd, a
//! real S3 server, the very images of the Dockerfiles, and the very files that a local run takes. Whatever is done to the
//! cluster and to the operator while the build runs, what comes out has the local run's digest, and nothing that was sealed
//! has run again. Then a person asks what became of it.
//!
//! Needs root, the binaries of `e2e/cluster`, the models and the OpenStax sample; skipped loudly where one is missing.

mod asked;
mod chaos;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use chaos::{Patient, Recorder, names_below};
use realsyn_cluster::{Binaries, HOST_ADDRESS, Node, skip};
use realsyn_e2e::{S3Server, binary, sample, write_corpus};
use support::story::{OPERATOR, Story};
use support::{NAMESPACE, WORKER, give_scratch_space, import_images, inputs, open_folder, tenant, volume};

/// How long a build may take here; it takes about five minutes on two idle cores.
const PATIENCE: &str = "1500s";

/// How long a pod may take to start.
const SOON: Duration = Duration::from_secs(120);

/// The size of the disk of pods.
const SCRATCH: &str = "size=256m";

/// The tag of the workers' image in a later version of the operator.
const LATER: &str = "later";

/// A build, its release, and their files.
pub struct Build {
    name: String,
    release: String,
    file: PathBuf,
    /// The same with another setting of one stage.
    changed: PathBuf,
    /// Where the store keeps its objects.
    objects: PathBuf,
}

impl Build {
    /// The first, second … build, each below a root of its own.
    fn new(number: u32, folder: &Path, models: &Path, s3: &S3Server) -> Self {
        let name = if number == 1 { "part".to_owned() } else { format!("part{number}") };
        let (file, changed) = (folder.join(format!("{name}.yaml")), folder.join(format!("{name}-changed.yaml")));
        let text = manifests(&name, models, s3);
        std::fs::write(&file, &text).unwrap();
        let other = "  stages:\n    sentenceScore: {perplexity: {min: 30, max: 150}}\n";
        std::fs::write(&changed, text.replace("  stages:\n", other)).unwrap();
        let objects = folder.join("s3").join(S3Server::BUCKET).join(&name);
        Self { release: format!("{name}-v1"), name, file, changed, objects }
    }
}

fn manifests(name: &str, models: &Path, s3: &S3Server) -> String {
    let sha = |name: &str| realsyn_models::folder_sha256(&models.join(name)).unwrap();
    let (clip, language) = (sha("demo-clip"), sha("smollm2-135m-instruct"));
    format!(
        "apiVersion: realsyn.dev/v1alpha1
kind: RealSynBuild
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  source:
    format: obelics
    uri: pvc://data/corpus
    imageMirrors: [{{prefix: https://openstax.example/, uri: pvc://images}}]
  storage:
    uri: s3://{bucket}/{name}
    endpoint: {endpoint}
    region: us-east-1
    credentials: {{secretName: s3}}
  models:
    clip: {{sha256: \"{clip}\", uri: pvc://models/demo-clip}}
    perplexity: {{sha256: \"{language}\", uri: pvc://models/smollm2-135m-instruct}}
    llm: {{sha256: \"{language}\", uri: pvc://models/smollm2-135m-instruct}}
  stages:
    sentenceCluster: {{rowsPerCluster: 20}}
    imageCluster: {{rowsPerCluster: 8}}
    generate: {{maxNewTokens: 16}}
---
apiVersion: realsyn.dev/v1alpha1
kind: RealSynRelease
metadata: {{name: {name}-v1, namespace: {NAMESPACE}}}
spec:
  buildRef: {{name: {name}}}
  samplesPerShard: 10
",
        bucket = S3Server::BUCKET,
        endpoint = s3.endpoint(),
    )
}

/// Where kubelet keeps what belongs to pods, their scratch volumes among it.
fn pods_folder(node: &Node) -> PathBuf {
    node.kubelet_folder().join("pods")
}

/// The digest that `realsyn build` ends with, from the same file and with places of this machine.
fn local_digest(folder: &Path, file: &Path, models: &Path, pictures: &Path) -> String {
    let output = Command::new(binary("realsyn").unwrap())
        .args(["build", "-f"])
        .arg(file)
        .arg("--source")
        .arg(folder.join("corpus"))
        .arg("--models")
        .arg(models)
        .arg("--out")
        .arg(folder.join("local"))
        .arg(format!("--mirror=https://openstax.example/={}", pictures.display()))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    printed.lines().find_map(|l| l.strip_prefix("digest   ")).expect("a digest").to_owned()
}

#[test]
fn a_build_on_a_real_node_ends_with_the_digest_of_the_local_run() {
    const NAME: &str = "a_build_on_a_real_node_ends_with_the_digest_of_the_local_run";
    let helm = Binaries::default_folder().require_tool("helm").map_err(|error| error.to_string());
    let Some((models, openstax)) = inputs(NAME) else { return };
    if skip(NAME, helm.err()) {
        return;
    }
    let pictures = openstax.join("images").canonicalize().unwrap();
    let folder = open_folder();
    write_corpus(&folder.path().join("corpus"), &sample(&openstax, 6, 160).unwrap(), 3).unwrap();

    let story =
        Story::begin(&[&["get", "rsb,rsr,jobs,pods", "-A", "-o", "wide"], &["get", "rsb,rsr", "-A", "-o", "yaml"]]);
    let node = &story.node;
    let mut s3 = S3Server::start_on(&folder.path().join("s3"), HOST_ADDRESS.parse().unwrap()).unwrap();
    let build = Build::new(1, folder.path(), &models, &s3);
    let expected = local_digest(folder.path(), &build.file, &models, &pictures);

    give_scratch_space(node);
    // A disk of its own, which can be filled.
    let pods = pods_folder(node).display().to_string();
    node.exec(&["mount", "-t", "tmpfs", "-o", SCRATCH, "scratch", &pods]).unwrap();
    let images = [
        ("cpu.Dockerfile", "realsyn", WORKER),
        ("controller.Dockerfile", "realsyn-controller", "realsyn.dev/controller:test"),
    ];
    import_images(node, folder.path(), None, &images);
    node.name_image(WORKER, &WORKER.replace("test", LATER)).unwrap();
    story.says("images built");
    is_ready_only_with_its_definitions(&story);
    node.apply(&format!(
        "{}{}{}{}",
        tenant(),
        volume("data", folder.path()),
        volume("images", &pictures),
        volume("models", &models.canonicalize().unwrap()),
    ))
    .unwrap();
    let kubectl = |args: &[&str]| node.kubectl(&[&["-n", NAMESPACE], args].concat());

    let recorder = Recorder::start(node);
    let mut patient = Patient { story: &story, s3: &mut s3, tag: "test", build, injuries: chaos::injuries() };
    // Another build suffers what is left when one is published.
    for number in 2.. {
        let build = &patient.build;
        kubectl(&["apply", "--server-side", "-f", build.file.to_str().unwrap()]).unwrap();
        patient.suffer();
        let build = &patient.build;
        let (rsb, rsr) = (format!("rsb/{}", build.name), format!("rsr/{}", build.release));
        let waited = kubectl(&["wait", "--for=condition=Ready", "--timeout", PATIENCE, &rsr]);
        let state = kubectl(&["get", "rsb,rsr,jobs,pods", "-o", "wide"]).unwrap();
        waited.unwrap_or_else(|error| {
            panic!("{error:#}\n{state}\n{}", kubectl(&["get", "rsb,rsr", "-o", "yaml"]).unwrap())
        });
        eprintln!("{state}");
        let digest = kubectl(&["get", &rsr, "-o", "jsonpath={.status.digest}"]).unwrap();
        assert_eq!(digest, expected);
        let object = |name: &str| serde_json::from_str(&kubectl(&["get", name, "-o", "json"]).unwrap()).unwrap();
        let again = recorder.after_sealed(&build.name, &[object(&rsb), object(&rsr)]).unwrap();
        assert!(again.is_empty(), "sealed, and made again: {again:?}");
        // A commit that does not count any more is voided: nothing was committed twice, or lost and made anew.
        let void: Vec<String> = names_below(&build.objects).into_iter().filter(|name| name.contains(".void")).collect();
        assert!(void.is_empty(), "{void:?}");
        if patient.injuries.is_empty() {
            break;
        }
        patient.build = Build::new(number, folder.path(), &models, patient.s3);
    }

    asked::asks(&story, &patient.build, &expected);
}

/// The controller without its kinds of objects says that it is not ready, and so does Helm; with them it is, by itself.
fn is_ready_only_with_its_definitions(story: &Story) {
    const VALUES: &str = "log.format=text";
    let early = story.install_operator(VALUES, "15s").unwrap_err().to_string();
    assert!(early.contains("helm"), "{early}");
    let probe = || {
        let address = ["get", "pods", "-n", OPERATOR, "-o", "jsonpath={.items[0].status.podIP}"];
        let url = format!("http://{}:8080/readyz", story.node.kubectl(&address).unwrap_or_default());
        story.node.exec(&["curl", "-s", "-w", "%{http_code}", &url]).unwrap_or_default()
    };
    story.until(SOON, "the controller waits for its definitions", || {
        let said = probe();
        said.contains("waiting for the CustomResourceDefinitions") && said.ends_with("503")
    });
    story.install_definitions();
    story.until(SOON, "the controller is ready", || probe().ends_with("200"));
    story.install_operator(VALUES, "5m").unwrap();
    let pod = story.kubectl(&["get", "pods", "-n", OPERATOR, "-o", "jsonpath={.items[*].metadata.name}"]);
    story.until(SOON, "its pod leads", || story.leader().starts_with(&format!("{pod}_")));
}
