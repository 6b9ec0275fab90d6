//! The plugin against a real API server: the binary itself, objects written by hand, pods played by the test.

mod support;

use k8s_openapi::api::core::v1::Node;
use kube::api::DynamicObject;
use realsyn_cluster::{ControlPlane, Options, Process, missing_for_control_plane, skip};
use realsyn_crds::Stage;
use realsyn_objects::kinds::Kind;
use realsyn_objects::manifest::{self, Manifests};
use realsyn_objects::nodes::{GpuNode, planners_view};
use realsyn_objects::plan::Plan;
use realsyn_plan::placement::Inventory;
use serde_json::{Value, json};
use support::{User, workspace};

const ID: &str = "0123456789abcdef0123456789abcdef";

fn build(name: &str) -> Value {
    json!({
        "apiVersion": "realsyn.dev/v1alpha1", "kind": "RealSynBuild", "metadata": { "name": name },
        "spec": {
            "source": { "format": "obelics", "uri": "s3://corpora/obelics" },
            "storage": { "uri": "s3://realsyn/obelics", "credentials": { "secretName": "realsyn-s3" } },
            "models": {
                "clip": { "uri": "pvc://models/clip", "sha256": "ab".repeat(32) },
                "perplexity": { "uri": "pvc://models/gpt2", "sha256": "ab".repeat(32) },
                "llm": { "uri": "pvc://models/llama", "sha256": "ab".repeat(32) },
            },
        },
    })
}

fn release(name: &str) -> Value {
    json!({
        "apiVersion": "realsyn.dev/v1alpha1", "kind": "RealSynRelease", "metadata": { "name": name },
        "spec": { "buildRef": { "name": "obelics" } },
    })
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-03-01T10:00:00Z", "observedGeneration": 1,
    })
}

fn running() -> Value {
    json!({
        "observedGeneration": 1,
        "progress": "fetch 3/8 · 12 %",
        "workerImage": "registry.example.org/realsyn/cpu:1",
        "inventory": { "root": "ab", "files": 40, "shards": 40, "bytes": 9_000_000 },
        "conditions": [
            condition("Ready", "False", "Progressing", "fetch: ImagePullBackOff: no such image"),
            condition("Reconciling", "True", "Progressing", "fetch: ImagePullBackOff: no such image"),
        ],
        "stages": [
            {
                "name": "documents", "state": "Sealed", "attempt": 1, "tasks": 0, "tasksDone": 0, "gpuSeconds": 0,
                "shards": 40, "shardsDone": 40, "recordsIn": 1200, "recordsOut": 1100,
                "rejected": { "truncated-parquet": 1 },
            },
            {
                "name": "fetch", "state": "Running", "step": "fetch", "attempt": 2, "shards": 40, "shardsDone": 0, "tasks": 8,
                "tasksDone": 3, "recordsIn": 0, "recordsOut": 0, "gpuSeconds": 0,
                "waitsFor": "ImagePullBackOff: no such image",
            },
        ],
    })
}

#[test]
fn the_plugin_on_a_real_api_server() {
    if skip("the_plugin_on_a_real_api_server", missing_for_control_plane()) {
        return;
    }
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let early = User::admin(&plane, "early");
    let said = early.realsyn(&["status", "obelics"]);
    assert!(
        said.code == 1 && said.err.contains("does not know realsynbuilds: install the definitions"),
        "{}",
        said.err
    );

    let definitions = ["realsynbuilds.yaml", "realsynreleases.yaml", "gpunodes.yaml"];
    plane.define(&definitions.map(|file| workspace("crds/generated").join(file))).unwrap();
    shows(&User::admin(&plane, "shows"));
    changes(&User::admin(&plane, "changes"));
    refuses(&User::admin(&plane, "refuses"));
    explains(&User::admin(&plane, "explains"));
    rejects(&User::admin(&plane, "rejects"));
    plans(&User::admin(&plane, "plans"));
    asks_releases(&User::admin(&plane, "releases"));
    reads_logs(&User::admin(&plane, "logs"));
    let last = User::admin(&plane, "places");
    // It would take nodes without a kubelet for dead.
    plane.kill(Process::ControllerManager).unwrap();
    places(&last);
}

/// A status as a page, as JSON, and as it changes until it is Ready.
fn shows(user: &User) {
    user.apply(&build("obelics"));
    let said = user.realsyn(&["status", "obelics"]);
    assert!(said.out.contains("not seen yet") && said.out.contains("is realsyn-operator installed"), "{}", said.out);
    user.set_status("rsb/obelics", &running());
    let said = user.realsyn(&["status", "obelics"]);
    eprintln!("{}", said.out);
    for words in [
        "obelics  RealSynBuild in shows, generation 1",
        "▶ running  fetch 3/8 · 12 %",
        "40 files, 8.6 MiB, in 40 shards",
        "step fetch (1 of 1): 3 of 8 tasks, attempt 2",
        "1 shard rejected: 1 truncated-parquet",
        "ImagePullBackOff: no such image",
        "waits for fetch",
    ] {
        assert!(said.out.contains(words), "{words} in\n{}", said.out);
    }
    assert!(!said.out.contains('\u{1b}'), "colours in a pipe");
    let said = user.realsyn(&["status", "rsb/obelics", "-o", "json"]);
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&value["state"], &value["stages"][1]["share"]), (&json!("running"), &json!(0.375)));

    let mut watching = user.begin(&["status", "obelics", "--watch"]);
    assert!(watching.first_line().starts_with("running  fetch 3/8"));
    user.set_status("rsb/obelics", &json!({ "progress": "fetch 4/8 · 13 %" }));
    assert!(watching.first_line().contains("fetch 4/8"));
    let ready = json!({ "conditions": [condition("Ready", "True", "Complete", "the pool is complete")], "progress": "complete · 100 %" });
    user.set_status("rsb/obelics", &ready);
    let said = watching.said();
    assert!(said.code == 0 && said.out.contains("✔ ready  complete · 100 %"), "{}{}", said.out, said.err);
}

/// `retry`, `suspend`, `resume`.
fn changes(user: &User) {
    user.apply(&build("obelics"));
    user.set_status("rsb/obelics", &running());
    assert_eq!(user.realsyn(&["retry", "obelics"]).code, 0);
    let token = user.get("rsb/obelics")["metadata"]["annotations"]["realsyn.dev/retry"].clone();
    assert!(token.is_string());
    assert_eq!(user.realsyn(&["retry", "obelics"]).code, 0);
    assert_ne!(user.get("rsb/obelics")["metadata"]["annotations"]["realsyn.dev/retry"], token, "any new value counts");

    assert!(user.realsyn(&["suspend", "obelics"]).out.contains("is suspended"));
    assert_eq!(user.get("rsb/obelics")["spec"]["suspend"], true);
    assert!(user.realsyn(&["suspend", "obelics"]).out.contains("already"));
    assert!(user.realsyn(&["resume", "obelics"]).out.contains("goes on"));
    assert_eq!(user.get("rsb/obelics")["spec"]["suspend"], false);
    assert!(user.realsyn(&["suspend", "release/v1"]).err.contains("cannot be suspended"));
    let said = user.realsyn(&["retry", "release/v1"]);
    assert!(said.code == 1 && said.err.contains("there is no release v1 in the namespace changes"), "{}", said.err);
}

/// What is not there, and rights that are missing.
fn refuses(user: &User) {
    let said = user.realsyn(&["status", "obelix"]);
    assert!(said.err.contains("there is no build obelix in the namespace refuses; it has none at all"), "{}", said.err);
    user.apply(&build("obelics"));
    let said = user.realsyn(&["status", "obelix"]);
    assert!(said.code == 1 && said.err.contains("; it has obelics"), "{}", said.err);
    let said = user.realsyn(&["explain", ID, "--build", "obelics"]);
    assert!(said.code == 1 && said.err.contains("has no worker image yet"), "{}", said.err);
    user.set_status("rsb/obelics", &running());

    let nobody = user.other("nobody", &[]);
    let said = nobody.realsyn(&["status", "obelics"]);
    assert!(said.code == 1 && said.err.contains("ask for the verb `get` on `realsynbuilds`"), "{}", said.err);
    let reader = user.other("reader", &[("get,list,watch", "realsynbuilds,configmaps")]);
    for (args, right) in [
        (&["retry", "obelics"][..], "`patch` on `realsynbuilds`"),
        (&["suspend", "obelics"], "`patch` on `realsynbuilds`"),
        (&["explain", ID, "-b", "obelics"], "`create` on `pods`"),
        (&["affected", ID], "`list` on `realsynreleases`"),
        (&["logs", "fetch", "-b", "obelics"], "`list` on `pods`"),
        (&["logs", "fetch", "-b", "obelics", "--kept"], "`create` on `pods`"),
    ] {
        let said = reader.realsyn(args);
        assert!(said.code == 1 && said.err.contains(right), "{args:?}: {}", said.err);
    }
    // A pod that its maker may not watch is deleted all the same.
    let blind = user
        .other("blind", &[("get", "realsynbuilds,configmaps"), ("create", "configmaps"), ("create,delete", "pods")]);
    let said = blind.realsyn(&["explain", ID, "-b", "obelics"]);
    assert!(said.code == 1 && said.err.contains("`list` on `pods`"), "{}", said.err);
    assert_eq!(user.pods(), 0);
}

/// A pod of a command: what it is, and every way in which it can go wrong.
fn explains(user: &User) {
    user.apply(&build("obelics"));
    user.set_status("rsb/obelics", &running());
    let explain = ["explain", ID, "--build", "obelics"];

    let (running, pod) = user.begin_pod(&explain);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["explain", "-f", "/etc/realsyn/build.yaml", ID]));
    assert_eq!(container["image"], "registry.example.org/realsyn/cpu:1");
    assert_eq!(container["envFrom"][0]["secretRef"]["name"], "realsyn-s3");
    let mounts: Vec<&str> =
        container["volumeMounts"].as_array().unwrap().iter().filter_map(|m| m["mountPath"].as_str()).collect();
    assert!(mounts.contains(&"/claims/models"), "{mounts:?}");
    let labels = &pod["metadata"]["labels"];
    assert_eq!(
        (&labels["realsyn.dev/build"], &labels["app.kubernetes.io/managed-by"]),
        (&json!("obelics"), &json!("kubectl-realsyn"))
    );
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "RealSynBuild");
    // No controller has written the manifest, so the pod has one of its own.
    let map = pod["spec"]["volumes"].as_array().unwrap().iter().find_map(|v| v["configMap"]["name"].as_str()).unwrap();
    let map = user.get(&format!("configmap/{map}"));
    assert_eq!(map["metadata"]["ownerReferences"][0]["name"], pod["metadata"]["name"]);
    assert!(map["data"]["build.yaml"].as_str().unwrap().contains("s3://corpora/obelics"));
    user.bind(&pod);
    user.end(&pod, 0, "");
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("cannot be read") && said.err.contains("ended well"), "{}", said.err);
    assert_eq!(user.pods(), 0, "the pod is left over");

    let (running, pod) = user.begin_pod(&explain);
    user.end(&pod, 1, "realsyn: the id is neither an image nor a sentence of this build");
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("is neither an image nor a sentence"), "{}", said.err);

    let (running, pod) = user.begin_pod(&explain);
    user.play(
        &pod,
        "Pending",
        json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image: cpu:1" } }),
    );
    let said = running.said();
    assert!(
        said.code == 1
            && said.err.contains("cannot start: ImagePullBackOff: no such image")
            && said.err.contains("--image"),
        "{}",
        said.err
    );
    assert_eq!(user.pods(), 0);

    let mut slow = explain.to_vec();
    slow.extend(["--timeout", "3"]);
    let (running, pod) = user.begin_pod(&slow);
    let unplaced = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available" });
    user.set_status(
        &format!("pod/{}", pod["metadata"]["name"].as_str().unwrap()),
        &json!({ "conditions": [unplaced] }),
    );
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("did not start within 3 s: Unschedulable: 0/3 nodes"), "{}", said.err);
    assert_eq!(user.pods(), 0);

    let (running, _) = user.begin_pod(&explain);
    running.interrupt();
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("interrupted"), "{}", said.err);
    assert_eq!(user.pods(), 0, "Ctrl-C leaves no pod");
}

/// A shard is rejected and forgotten, with the controller's own ConfigMap, and the controller is told.
fn rejects(user: &User) {
    user.apply(&build("obelics"));
    user.set_status("rsb/obelics", &running());
    let object: DynamicObject = serde_json::from_value(user.get("rsb/obelics")).unwrap();
    let text = manifest::manifest(&object, Kind::Build);
    let manifests = Manifests::from([("build.yaml".to_owned(), text)]);
    let name = manifest::config_map(&object, Kind::Build, &manifests);
    user.apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": manifests }));
    let maps = || user.get("configmaps")["items"].as_array().unwrap().len();
    let before = maps();

    let retry = || user.get("rsb/obelics")["metadata"]["annotations"]["realsyn.dev/retry"].clone();
    let (running, pod) = user.begin_pod(&["reject", "documents/extract", "3", "bad scan", "-b", "obelics"]);
    assert_eq!(maps(), before, "the controller's ConfigMap serves");
    let args =
        json!(["reject", "-f", "/etc/realsyn/build.yaml", "--brief", "--", "documents/extract", "3", "bad scan"]);
    assert_eq!(pod["spec"]["containers"][0]["args"], args);
    user.end(&pod, 1, "documents/extract shard 3 is committed with its data");
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("is committed with its data"), "{}", said.err);
    assert!(retry().is_null(), "nothing was done, so nothing is to be tried again");

    let (running, pod) = user.begin_pod(&["reject", "documents/extract", "3", "bad scan", "-b", "obelics"]);
    user.bind(&pod);
    user.end(&pod, 0, "");
    let said = running.said();
    assert!(said.code == 0 && said.out.contains("goes on at once"), "{}{}", said.out, said.err);
    assert!(said.err.contains("warning: what the pod"), "{}", said.err);
    assert!(retry().is_string());

    let ready = json!({ "conditions": [condition("Ready", "True", "Complete", "the pool is complete")] });
    user.set_status("rsb/obelics", &ready);
    let (running, pod) = user.begin_pod(&["forget", "documents/extract", "3", "-b", "obelics"]);
    user.end(&pod, 0, "");
    let said = running.said();
    assert!(said.code == 0 && said.out.contains("goes on at once"), "{}", said.out);
    let said = user.realsyn(&["reject", "documents", "3", "why", "-b", "obelics"]);
    assert!(said.code == 1 && said.err.contains("that stage has documents/extract"), "{}", said.err);
}

/// A file that is not on the cluster is planned with its own settings.
fn plans(user: &User) {
    let folder = user.plane.folder();
    let (file, bad) = (folder.join("build.json"), folder.join("bad.json"));
    std::fs::write(&file, build("new").to_string()).unwrap();
    std::fs::write(&bad, build("new").to_string().replace("obelics\",\"uri", "obelix\",\"uri")).unwrap();
    let said = user.realsyn(&["plan", "-f", file.to_str().unwrap()]);
    assert!(said.code == 1 && said.err.contains("give it with --image"), "{}", said.err);
    let said = user.realsyn(&["plan", "-f", bad.to_str().unwrap(), "--image", "w:1"]);
    assert!(said.code == 1 && said.err.contains("spec.source.format") && said.err.contains("bad.json"), "{}", said.err);
    user.apply(&build("neighbour"));
    user.set_status("rsb/neighbour", &running());
    let (running, pod) = user.begin_pod(&["plan", "-f", file.to_str().unwrap()]);
    assert_eq!(pod["spec"]["containers"][0]["image"], "registry.example.org/realsyn/cpu:1", "the neighbour's");
    assert_eq!(pod["metadata"].get("ownerReferences"), None);
    user.end(&pod, 64, "the bucket `corpora` does not exist");
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("ended with 64: the bucket `corpora` does not exist"), "{}", said.err);
}

/// Where stages fit is told before a pod has read the store, and also if none ever does; and as the controller tells it.
fn places(user: &User) {
    // Agents in a namespace that the chart was given; that of gpu-2 died an hour ago.
    user.apply(&json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "realsyn-gpu-agent" },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "nodeSelector": { "agents": "none" }, "containers": [{ "name": "agent", "image": "agent:1" }] },
            },
        },
    }));
    let dead = "2026-01-01T10:00:00.000000Z";
    user.apply(&json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "realsyn-gpu-gpu-2" },
        "spec": { "holderIdentity": "gpu-2", "renewTime": dead },
    }));
    let (mut nodes, mut gpu_nodes) = (Vec::new(), Vec::new());
    for (name, product, gib) in [
        ("gpu-1", "A100-SXM4-80GB", 80u64),
        ("gpu-2", "A100-SXM4-80GB", 80),
        ("gpu-3", "A100-SXM4-40GB", 40),
        ("gpu-4", "A100-SXM4-40GB", 40),
    ] {
        user.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } }));
        let offers = json!({ "nvidia.com/gpu": "1" });
        let ready = json!({ "type": "Ready", "status": "True" });
        let status = json!({ "allocatable": offers, "capacity": offers, "conditions": [ready] });
        user.set_status(&format!("node/{name}"), &status);
        let bare = json!({ "spec": { "taints": null } }).to_string();
        user.kubectl(&["patch", "node", name, "--type=merge", "-p", &bare]);
        user.apply(&json!({ "apiVersion": "realsyn.dev/v1alpha1", "kind": "GpuNode", "metadata": { "name": name } }));
        let device = json!({
            "uuid": format!("GPU-{name}"), "pci": "0000:07:00.0", "product": product, "memory": gib << 30,
            "compute": "8.0", "healthy": true,
        });
        user.set_status(&format!("gpunode/{name}"), &json!({ "driver": "580.95.05", "devices": [device] }));
        nodes.push(serde_json::from_value::<Node>(user.get(&format!("node/{name}"))).unwrap());
        gpu_nodes.push(serde_json::from_value::<GpuNode>(user.get(&format!("gpunode/{name}"))).unwrap());
    }

    let with = |min_memory: &str| {
        let mut build = build("gpus");
        build["spec"]["models"]["perplexity"]["uri"] = json!("pvc://models/gpt2-large");
        let gpu = json!({ "minMemory": min_memory });
        build["spec"]["stages"] = json!({ "sentenceScore": { "gpu": gpu } });
        build
    };
    let file = user.plane.folder().join("gpus.json");
    let plan = |build: &Value, more: &[&str]| {
        std::fs::write(&file, build.to_string()).unwrap();
        user.realsyn(&[&["plan", "-f", file.to_str().unwrap()], more].concat())
    };
    // No image is known, so that no pod can read the store; the table stands there all the same.
    let said = plan(&with("60Gi"), &[]);
    assert!(said.code == 1 && said.err.contains("give it with --image"), "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("GPUs for ") && lines[0].ends_with("now     batch  needs"), "{}", said.out);
    assert!(lines[1].starts_with("sentence-score ") && lines[1].contains(" 1 of 4 "), "{}", said.out);
    let batch = lines[1].split_whitespace().nth(7).and_then(|n| n.parse::<u32>().ok());
    assert!(batch.is_some_and(|batch| batch > 16), "{}", said.out);
    assert!(said.out.contains("gpu-3 and gpu-4: A100-SXM4-40GB has 40 GiB, 60 needed"), "{}", said.out);
    assert!(said.out.contains("gpu-2: ") && said.out.contains("silent"), "{}", said.out);
    // Elsewhere nobody says that the agent of gpu-2 is silent.
    let said = plan(&with("60Gi"), &["--agents", "default"]);
    assert!(said.out.contains(" 2 of 4 "), "{}", said.out);

    // The sentence of what fits nowhere is that of the controller's condition.
    let build = with("200Gi");
    let said = plan(&build, &[]);
    let view = |(node, gpu_node): (&Node, &GpuNode)| {
        let since = "2026-01-01T10:00:00Z";
        planners_view(node, Some(gpu_node), (gpu_node.metadata.name.as_deref() == Some("gpu-2")).then_some(since))
    };
    let inventory: Inventory = nodes.iter().zip(&gpu_nodes).map(view).collect();
    let spec = serde_json::from_value(build["spec"].clone()).unwrap();
    let demand = Plan::of_build(&spec).demand(Stage::SentenceScore, 1).unwrap();
    let condition = inventory.place(&demand).sentence;
    assert!(condition.starts_with("no node fits: "), "{condition}");
    let shown: Vec<&str> = said.out.lines().skip(2).map(str::trim).collect();
    assert_eq!(shown.join(" ").trim(), condition);

    // What the GPU-hours so far have cost, at the namespace's price, and at that of who asks.
    user.apply(&with("60Gi"));
    let sealed = json!({ "name": "sentence-score", "state": "Sealed", "shards": 4, "gpuSeconds": 7200 });
    user.set_status("rsb/gpus", &json!({ "observedGeneration": 1, "workerImage": "w:1", "stages": [sealed] }));
    let status = |more: &[&str]| user.realsyn(&[&["status", "gpus"], more].concat()).out;
    assert!(!status(&[]).contains("cost"), "{}", status(&[]));
    user.kubectl(&["annotate", "namespace", &user.namespace, "realsyn.dev/gpu-prices=A100-80GB=2.5,H100=4"]);
    assert!(status(&[]).contains("cost       5.00 so far\n"), "{}", status(&[]));
    assert!(status(&["--price", "A100=3"]).contains("cost       5.00 so far\n"), "the name that says most counts");
    assert!(status(&["--price", "A100-SXM4-80GB=3"]).contains("cost       6.00 so far\n"));
    let (running, pod) = user.begin_pod(&["status", "gpus", "--forecast"]);
    let asked = pod["spec"]["containers"][0]["env"].as_array().unwrap().iter();
    assert!(asked.clone().any(|env| env["name"] == "REALSYN_PLAN_MEASURED"), "{asked:?}");
    user.end(&pod, 64, "the bucket `corpora` does not exist");
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("the bucket `corpora` does not exist"), "{}", said.err);
}

/// Every release is asked with its own settings.
fn asks_releases(user: &User) {
    assert!(user.realsyn(&["affected", ID]).out.contains("has no release"));
    user.apply(&release("v1"));
    assert_eq!(user.realsyn(&["affected", ID]).out, "v1: not begun yet, so it holds nothing\n");
    let manifests = json!({ "build.yaml": build("obelics").to_string(), "release.yaml": release("v2").to_string() });
    user.apply(
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "v2-manifests" }, "data": manifests }),
    );
    user.apply(&release("v2"));
    user.set_status(
        "rsr/v2",
        &json!({ "manifest": "v2-manifests", "workerImage": "w:2", "pool": { "generation": 1, "digest": "d" } }),
    );
    let (running, pod) = user.begin_pod(&["affected", ID]);
    let files = ["affected", "-f", "/etc/realsyn/build.yaml", "-f", "/etc/realsyn/release.yaml", ID];
    assert_eq!(
        (&pod["spec"]["containers"][0]["args"], &pod["spec"]["containers"][0]["image"]),
        (&json!(files), &json!("w:2"))
    );
    user.bind(&pod);
    user.end(&pod, 0, "");
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("release v2 could not be asked"), "{}", said.err);
}

/// Logs of pods that are there, and where to look for others.
fn reads_logs(user: &User) {
    user.apply(&build("obelics"));
    user.set_status("rsb/obelics", &running());
    let said = user.realsyn(&["logs", "fetsh", "-b", "obelics"]);
    assert!(said.code == 1 && said.err.contains("`fetsh` is not a stage; the nearest is `fetch`"), "{}", said.err);
    // Without a Job the store is asked, and it is said so.
    let (running, pod) = user.begin_pod(&["logs", "documents", "-b", "obelics", "--failed", "--tail", "7"]);
    let args = &pod["spec"]["containers"][0]["args"];
    assert_eq!(args, &json!(["logs", "-f", "/etc/realsyn/build.yaml", "documents"]));
    user.end(&pod, 1, "realsyn: documents has left no log");
    let said = running.said();
    let gone = "documents of build obelics is sealed, and its Jobs are deleted then; what its failed tasks said last";
    assert!(said.code == 1 && said.err.starts_with(gone), "{}", said.err);
    assert!(said.err.contains("documents has left no log"), "{}", said.err);
    let said = user.realsyn(&["logs", "sentences", "-b", "obelics"]);
    assert!(said.code == 1 && said.err.contains("sentences of build obelics has not begun"), "{}", said.err);
    assert!(said.err.contains("realsyn.dev/stage=sentences"), "{}", said.err);

    for index in ["0", "7"] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("fetch-{index}"),
                "labels": {
                    "app.kubernetes.io/managed-by": "realsyn-controller", "realsyn.dev/kind": "build",
                    "realsyn.dev/build": "obelics", "realsyn.dev/stage": "fetch", "realsyn.dev/step": "fetch",
                },
                "annotations": { "batch.kubernetes.io/job-completion-index": index },
            },
            "spec": {
                "restartPolicy": "Never",
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "worker", "image": "w:1",
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
            },
        });
        user.apply(&pod);
    }
    let said = user.realsyn(&["logs", "fetch", "-b", "obelics", "--failed"]);
    assert!(said.code == 1 && said.err.contains("none of the 2 pods of fetch is a pod that failed"), "{}", said.err);
    user.bind(&user.get("pod/fetch-7"));
    user.end(&user.get("pod/fetch-7"), 64, "the mirror answers 403");
    let said = user.realsyn(&["logs", "fetch", "-b", "obelics", "--failed"]);
    assert_eq!(said.out, "── task 7, step fetch, pod fetch-7\nfailed with 64: the mirror answers 403\n");
    assert!(said.code == 1 && said.err.contains("the log of pod fetch-7 cannot be read"), "{}", said.err);
    let said = user.realsyn(&["logs", "fetch", "-b", "obelics"]);
    assert!(said.out.starts_with("── task 0, step fetch, pod fetch-0\nis starting\n── task 7"), "{}", said.out);

    // What lies in the store is read beside it.
    let (running, pod) = user.begin_pod(&["logs", "fetch", "-b", "obelics", "--kept", "--index", "7"]);
    let args = &pod["spec"]["containers"][0]["args"];
    assert_eq!(args, &json!(["logs", "-f", "/etc/realsyn/build.yaml", "fetch", "--index", "7"]));
    user.end(&pod, 1, "realsyn: task 7 of fetch has left no log");
    let said = running.said();
    assert!(said.code == 1 && said.err.contains("task 7 of fetch has left no log"), "{}", said.err);
    let manifests = json!({ "build.yaml": build("obelics").to_string(), "release.yaml": release("v1").to_string() });
    user.apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "v1-a" }, "data": manifests }));
    user.apply(&release("v1"));
    let begun = json!({ "name": "release", "state": "Stalled", "attempt": 2 });
    user.set_status("rsr/v1", &json!({ "manifest": "v1-a", "workerImage": "w:2", "stages": [begun] }));
    let (running, pod) = user.begin_pod(&["logs", "release", "-r", "v1"]);
    let args = &pod["spec"]["containers"][0]["args"];
    assert_eq!(args, &json!(["logs", "-f", "/etc/realsyn/build.yaml", "-f", "/etc/realsyn/release.yaml", "release"]));
    user.end(&pod, 1, "realsyn: release has left no log");
    let said = running.said();
    assert!(said.err.starts_with("release of release v1 has no pod at the moment; what"), "{}", said.err);
    let said = user.realsyn(&["logs", "advance", "-b", "obelics", "--kept"]);
    assert!(said.code == 1 && said.err.contains("`advance` is not a stage"), "{}", said.err);
}
