//! What a spec becomes: Jobs and pods, without a cluster.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::build::{Change, build, halt};
use super::dereference::{Seen, neighbours};
use super::validate::{Checked, pool_for, validate};
use super::{plan, validate::Refusal};
use crate::cache::objects::Object;
use crate::context::Options;
use crate::kinds::Kind;
use crate::machine::{Action, JobPhase, Order, SeenJob, State, Work};
use realsyn_crds::{Manifest, parse_manifests};
use realsyn_objects::server;
use realsyn_plan::graph::ids;
use realsyn_plan::placement::{Demand, Inventory, NodeFacts, NodeGpus};

const COLLECTOR: &str = "http://collector:4318";

fn options() -> Options {
    Options {
        worker_image: "worker:1".to_owned(),
        namespace: None,
        max_pods: 10,
        concurrency: 1,
        resync: std::time::Duration::from_secs(600),
        gpus: true,
        taint_nodes: false,
        kueue: false,
        agents_namespace: None,
        worker_otlp_endpoint: Some(COLLECTOR.to_owned()),
        server: server::Settings { image: "vllm@sha256:2".to_owned(), patience: None },
    }
}

fn example(change: impl Fn(&mut Value)) -> DynamicObject {
    let text = include_str!("../../../../manifests/examples/build.yaml");
    let Manifest::Build(build) = parse_manifests(text, "example").unwrap().remove(0) else {
        panic!("build.yaml holds a build")
    };
    let mut value = json!(build);
    value["spec"]["stages"]["sentenceScore"]["gpu"] = json!({ "minMemory": "20Gi" });
    value["metadata"] = json!({ "name": "obelics", "namespace": "datasets", "uid": "u", "generation": 3 });
    change(&mut value["spec"]);
    serde_json::from_value(value).unwrap()
}

fn nothing_seen() -> Seen {
    Seen { jobs: Vec::new(), room: 10, neighbours: Vec::new(), trouble: None, build: None, pinned: None }
}

fn checked(object: &DynamicObject) -> Checked {
    validate(Kind::Build, object, &nothing_seen()).unwrap_or_else(|r| panic!("{}", r.message))
}

fn job(object: &DynamicObject, work: Work) -> Value {
    let state = State { worker_image: Some("worker@sha256:1".to_owned()), ..State::default() };
    let order = Order { name: "j".to_owned(), attempt: 4, work };
    match build(Kind::Build, object, &checked(object), &state, vec![Action::Create(order)], &options()).remove(0) {
        Change::Create(job, _) => json!(job),
        _ => panic!("a Job was asked for"),
    }
}

fn step(step: realsyn_plan::StepId) -> Work {
    let spec = checked(&example(|_| {})).plan.build;
    let placement = Demand::of_stage(&spec, step.stage, 40).map(|d| Box::new(Inventory::unknown().place(&d)));
    Work::Step { step, digest: "d".into(), list: "ab".into(), tasks: 40, asked: 8, granted: 5, placement }
}

#[test]
fn pods_know_their_trace_and_what_a_job_is_made_of_does_not() {
    let object = example(|_| {});
    let parent = json!(realsyn_plan::trace::traceparent("u", 3));
    for work in [step(ids::SCORE), Work::Advance { known: Vec::new() }] {
        let holds_gpus = matches!(work, Work::Step { .. });
        let job = job(&object, work);
        let template = &job["spec"]["template"];
        assert_eq!(template["metadata"]["annotations"], json!({ "realsyn.dev/traceparent": parent }));
        let mut env = json!([
            { "name": "TRACEPARENT", "value": parent },
            { "name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": COLLECTOR },
        ]);
        if holds_gpus {
            let held = [("REALSYN_GPUS", "1"), ("REALSYN_GPU_PRODUCTS", "")];
            env.as_array_mut().unwrap().extend(held.map(|(name, value)| json!({ "name": name, "value": value })));
        }
        assert_eq!(template["spec"]["containers"][0]["env"], env);
    }
    // Another generation is another trace, but no reason to replace a Job whose settings are the same.
    let mut later = object.clone();
    later.metadata.generation = Some(4);
    let [before, after] = [&object, &later].map(|object| job(object, step(ids::SCORE)));
    assert_eq!(before["metadata"]["annotations"], after["metadata"]["annotations"]);
    assert_ne!(before["spec"]["template"]["metadata"], after["spec"]["template"]["metadata"]);
}

#[test]
fn a_worker_is_told_what_gpus_it_may_hold() {
    let node = |name: &str, product: &str| {
        let label = |name: &str, value: &str| (format!("nvidia.com/gpu.{name}"), value.to_owned());
        let facts = NodeFacts {
            name: name.to_owned(),
            labels: [label("product", product), label("memory", "81920"), label("count", "8")].into(),
            allocatable: [("nvidia.com/gpu".to_owned(), "8".to_owned())].into(),
            ready: true,
            ..NodeFacts::default()
        };
        NodeGpus::of(&facts, None)
    };
    let nodes: Inventory =
        [node("a", "NVIDIA-H100-80GB-HBM3"), node("b", "NVIDIA-A100-SXM4-80GB"), node("c", "NVIDIA-A100-SXM4-80GB")]
            .into_iter()
            .collect();
    let mut work = step(ids::SCORE);
    if let Work::Step { placement, .. } = &mut work {
        let demand = Demand { count: 2, tasks: 40, ..Demand::new(&realsyn_crds::Gpu::default(), None) };
        *placement = Some(Box::new(nodes.place(&demand)));
    }
    let job = job(&example(|_| {}), work);
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|v| v["name"] == name).unwrap()["value"].as_str().unwrap();
    assert_eq!((value("REALSYN_GPUS"), value("REALSYN_GPU_PRODUCTS")), ("2", "A100-SXM4-80GB,H100-SXM5-80GB"));
}

#[test]
fn a_step_is_an_indexed_job_under_the_restricted_standard() {
    let object = example(|_| {});
    let job = job(&object, step(ids::SCORE));
    let spec = &job["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(40), &json!(5)));
    assert_eq!((&spec["completionMode"], &spec["podReplacementPolicy"]), (&json!("Indexed"), &json!("Failed")));
    assert_eq!(spec["backoffLimitPerIndex"], json!(6), "retry, and three for GPUs that get lost");
    let rules: Vec<(&str, i64)> = spec["podFailurePolicy"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["action"].as_str().unwrap(), r["onExitCodes"]["values"][0].as_i64().unwrap_or_default()))
        .collect();
    assert_eq!(rules, [("Ignore", 0), ("FailJob", 64), ("FailJob", 65), ("Count", 66), ("Count", 67)]);
    let pod = &spec["template"]["spec"];
    let worker = &pod["containers"][0];
    assert_eq!(
        worker["args"],
        json!([
            "stage",
            "sentence-score/score",
            "-f",
            "/etc/realsyn/build.yaml",
            "--tasks",
            "ab",
            "--index",
            "$(JOB_COMPLETION_INDEX)",
            "--report",
            "/dev/termination-log",
        ])
    );
    assert_eq!((&worker["name"], &worker["image"]), (&json!("worker"), &json!("worker@sha256:1")));
    assert_eq!(worker["securityContext"]["readOnlyRootFilesystem"], json!(true));
    assert_eq!(worker["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!((&pod["automountServiceAccountToken"], &pod["restartPolicy"]), (&json!(false), &json!("Never")));
    assert_eq!(pod["terminationGracePeriodSeconds"], json!(60));
    assert_eq!(worker["envFrom"], json!([{ "secretRef": { "name": "realsyn-s3" } }]));
    assert_eq!(worker["resources"]["limits"]["nvidia.com/gpu"], json!("1"));
    let nodes = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = nodes["nodeSelectorTerms"][0]["matchExpressions"].as_array().unwrap();
    let memory = terms.iter().find(|t| t["key"] == "nvidia.com/gpu.memory").unwrap();
    // 20 GiB less a twentieth, in MiB, and one less for `Gt`.
    assert_eq!((&memory["operator"], &memory["values"]), (&json!("Gt"), &json!(["19455"])));
    assert_eq!(pod["tolerations"], json!([{ "key": "nvidia.com/gpu", "operator": "Exists" }]));
    assert_eq!(spec["template"]["metadata"]["labels"]["realsyn.dev/gpu"], json!("true"));
    assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], json!("u"));
}

#[test]
fn a_worker_on_gpus_is_told_of_its_server_and_needs_a_volume_for_it() {
    let on_gpus = |uri: &'static str| {
        example(move |spec| {
            spec["stages"]["generate"] = json!({ "engine": "cuda", "gpu": { "count": 2 } });
            spec["models"]["llm"]["uri"] = json!(uri);
        })
    };
    let object = on_gpus("pvc://models/llm");
    let made = job(&object, step(ids::GENERATE));
    let pod = &made["spec"]["template"]["spec"];
    let args: Vec<&str> = pod["containers"][0]["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(args.windows(2).any(|pair| pair == ["--server", "http://127.0.0.1:8000/v1"]), "{args:?}");
    assert_eq!(pod["initContainers"][0]["image"], "vllm@sha256:2");
    let on_cpus = example(|spec| spec["stages"]["generate"] = json!({ "engine": "cpu" }));
    for (object, work) in [(&on_cpus, step(ids::GENERATE)), (&object, step(ids::SCORE))] {
        assert!(job(object, work)["spec"]["template"]["spec"].get("initContainers").is_none());
    }
    let Err(refusal) = validate(Kind::Build, &on_gpus("s3://models/llm"), &nothing_seen()) else {
        panic!("it was taken")
    };
    assert!(refusal.stalled && refusal.message.contains("spec.models.llm.uri"), "{}", refusal.message);
}

#[test]
fn claims_are_mounted_where_the_uris_point_and_written_only_where_work_goes() {
    let object = example(|spec| {
        spec["storage"] = json!({ "uri": "pvc://builds/deep/path" });
        spec["models"]["clip"]["uri"] = json!("pvc://models/clip");
        spec["models"]["llm"]["uri"] = json!("pvc://models/llm");
    });
    let job = job(&object, step(ids::SCORE));
    let pod = &job["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let claims: Vec<(&str, bool)> = mounts
        .iter()
        .filter(|m| m["mountPath"].as_str().unwrap().starts_with("/claims/"))
        .map(|m| (m["mountPath"].as_str().unwrap(), m["readOnly"] == true))
        .collect();
    assert_eq!(claims, [("/claims/builds", false), ("/claims/models", true)]);
}

#[test]
fn a_look_is_one_small_pod_that_is_tried_once() {
    let object = example(|_| {});
    let known = vec!["documents/extract".to_owned(), "fetch/fetch".to_owned()];
    let job = job(&object, Work::Advance { known });
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(job["spec"]["backoffLimit"], json!(0));
    let args = pod["containers"][0]["args"].as_array().unwrap();
    assert_eq!(args[0], "advance");
    assert!(args.contains(&json!("documents/extract,fetch/fetch")), "{args:?}");
    assert!(pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu").is_none());
}

#[test]
fn with_a_queue_jobs_begin_suspended() {
    let object = example(|spec| spec["queueName"] = json!("research"));
    let job = job(&object, step(ids::UNIQUE));
    assert_eq!(job["spec"]["suspend"], json!(true));
    assert_eq!(job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], json!("research"));
}

#[test]
fn pods_tell_the_scheduler_what_the_build_says_and_a_change_of_it_replaces_the_job() {
    let scheduling = json!({
        "priorityClassName": "batch",
        "runtimeClassName": "nvidia",
        "schedulerName": "volcano",
        "tolerations": [{ "key": "pool", "value": "a100", "effect": "NoSchedule" }, { "key": "team", "operator": "Exists" }],
    });
    let object = example(|spec| spec["scheduling"] = scheduling.clone());
    let on_gpus = job(&object, step(ids::SCORE));
    let pod = &on_gpus["spec"]["template"]["spec"];
    let names = ["priorityClassName", "runtimeClassName", "schedulerName"].map(|field| pod[field].clone());
    assert_eq!(names, ["batch", "nvidia", "volcano"]);
    let asked = [
        json!({ "key": "pool", "operator": "Equal", "value": "a100", "effect": "NoSchedule" }),
        json!({ "key": "team", "operator": "Exists" }),
    ];
    let gpus = json!({ "key": "nvidia.com/gpu", "operator": "Exists" });
    assert_eq!(pod["tolerations"], json!([gpus, asked[0], asked[1]]));
    // Without GPUs it needs no runtime for them, and may go where they are in quarantine.
    for work in [Work::Advance { known: Vec::new() }, step(ids::UNIQUE)] {
        let made = job(&object, work);
        let pod = &made["spec"]["template"]["spec"];
        assert_eq!((&pod["priorityClassName"], pod.get("runtimeClassName")), (&json!("batch"), None));
        let quarantine = json!({ "key": "realsyn.dev/gpu-quarantine", "operator": "Exists" });
        assert_eq!(pod["tolerations"], json!([quarantine, asked[0], asked[1]]));
    }
    let template = |object: &DynamicObject| checked(object).plan.template(ids::SCORE.stage, "worker:1");
    assert_eq!(template(&object), template(&object));
    assert_ne!(template(&object), template(&example(|_| {})));

    let taint = |value: &str| realsyn_plan::placement::Taint {
        key: "pool".to_owned(),
        value: value.to_owned(),
        effect: "NoSchedule".to_owned(),
    };
    let node = |name: &str, value: &str| {
        let label = |name: &str, value: &str| (format!("nvidia.com/gpu.{name}"), value.to_owned());
        let facts = NodeFacts {
            name: name.to_owned(),
            labels: [label("product", "NVIDIA-A100-SXM4-80GB"), label("memory", "81920"), label("count", "8")].into(),
            allocatable: [("nvidia.com/gpu".to_owned(), "8".to_owned())].into(),
            taints: vec![taint(value)],
            ready: true,
            ..NodeFacts::default()
        };
        NodeGpus::of(&facts, None)
    };
    let demand = checked(&object).plan.demand(ids::SCORE.stage, 40).unwrap();
    let placement = [node("a", "a100"), node("b", "h100")].into_iter().collect::<Inventory>().place(&demand);
    let fit: Vec<&str> = placement.nodes.iter().map(|node| &*node.node).collect();
    assert_eq!(fit, ["a"], "{}", placement.sentence);
    let unfit: Vec<String> = placement.unfit.iter().map(ToString::to_string).collect();
    assert_eq!(unfit, ["b: tainted pool=h100:NoSchedule, which the pods do not tolerate"]);
}

#[test]
fn pausing_changes_no_manifest_and_a_setting_does() {
    let name = |change: &dyn Fn(&mut Value)| checked(&example(change)).config_map;
    let before = name(&|_| {});
    assert_eq!(name(&|spec| spec["suspend"] = json!(true)), before);
    assert_ne!(name(&|spec| spec["profile"] = json!("paper")), before);
    assert!(before.starts_with("obelics-") && before.len() == "obelics-".len() + 12, "{before}");
}

#[test]
fn what_cannot_be_read_or_is_wrong_is_told_in_the_status_and_hides_nothing() {
    for (change, sentence) in [
        (json!({ "storage": { "uri": "ftp://x" } }), "spec.storage.uri"),
        (json!({ "storage": { "uri": 7 } }), "cannot be read"),
    ] {
        let mut object = example(|spec| spec["storage"] = change["storage"].clone());
        object.data["status"] = json!({ "pools": [{ "generation": 1, "digest": "d" }], "workerImage": "old" });
        let Err(refusal) = validate(Kind::Build, &object, &nothing_seen()) else { panic!("{change} was taken") };
        let Refusal { stalled, message, .. } = &refusal;
        assert!(*stalled && message.contains(sentence), "{message}");
        let status = plan::refused(&object, &refusal, jiff::Timestamp::from_second(1).unwrap());
        assert_eq!(status["pools"][0]["digest"], "d");
        assert_eq!(status["observedGeneration"], 3);
        let stalled = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Stalled").unwrap();
        assert_eq!((&stalled["status"], &stalled["reason"]), (&json!("True"), &json!("InvalidSpec")));
    }
}

#[test]
fn neighbours_are_older_below_the_same_root_and_at_work() {
    let build = |name: &str, created: &str, change: &dyn Fn(&mut Value)| {
        let mut value = json!({
            "apiVersion": "realsyn.dev/v1alpha1",
            "kind": "RealSynBuild",
            "metadata": { "name": name, "namespace": "datasets", "uid": name, "creationTimestamp": created },
            "spec": { "storage": { "uri": "s3://bucket/shared" } },
            "status": { "stages": [
                { "name": "fetch", "state": "Sealed", "digest": "f" },
                { "name": "sentence-score", "state": "Running", "digest": "s" },
                { "name": "image-embed", "state": "Waiting" },
            ] },
        });
        change(&mut value);
        std::sync::Arc::new(serde_json::from_str::<Object>(&value.to_string()).unwrap())
    };
    let neighbours = |me: &Object, others: &[_]| neighbours(&me.read(Kind::Build), others);
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let me = build("me", late, &|_| {});
    let seen =
        |other| neighbours(&me, &[me.clone(), other]).into_iter().map(|n| (n.name, n.digest)).collect::<Vec<_>>();
    let set =
        |pointer: &'static str, to: Value| move |build: &mut Value| *build.pointer_mut(pointer).unwrap() = to.clone();
    let found = [("build datasets/other".to_owned(), "s".to_owned())];
    assert_eq!(seen(build("other", early, &|_| {})), found);
    assert_eq!(seen(build("other", early, &set("/spec/storage/uri", json!("s3://bucket/shared/")))), found);
    assert_eq!(seen(build("other", early, &set("/metadata/namespace", json!("team")))).len(), 1, "a bucket is one");
    for other in [
        build("other", "2026-01-03T00:00:00Z", &|_| {}),
        build("other", early, &set("/spec/storage/uri", json!("s3://bucket/elsewhere"))),
        build("other", early, &|b| b["spec"]["storage"]["endpoint"] = json!("https://elsewhere")),
        build("other", early, &|b| b["spec"]["suspend"] = json!(true)),
        build("other", early, &|b| b["metadata"]["deletionTimestamp"] = json!(late)),
        build("other", early, &|b| b["status"]["conditions"] = json!([{ "type": "Stalled", "status": "True" }])),
    ] {
        assert_eq!(seen(other), []);
    }
    // Two of one second go by UID, so that one of them runs.
    assert_eq!(seen(build("a", late, &|_| {})).len() + seen(build("z", late, &|_| {})).len(), 1);
    let claim = set("/spec/storage/uri", json!("pvc://data/shared"));
    let me = build("me", late, &claim);
    let other = build("other", early, &|b| {
        claim(b);
        b["metadata"]["namespace"] = json!("team");
    });
    assert_eq!(neighbours(&me, &[other]).len(), 0, "claims of two namespaces are two");
    assert_eq!(neighbours(&me, &[build("other", early, &claim)]).len(), 1);
}

#[test]
fn a_release_takes_the_newest_pool_that_it_asks_for_and_keeps_it() {
    let object = |data: Value| DynamicObject { types: None, metadata: Default::default(), data };
    let pool = |generation: i64| json!({ "generation": generation, "digest": format!("d{generation}"), "pairs": 1 });
    let build =
        |pools: &[i64]| object(json!({ "status": { "pools": pools.iter().map(|g| pool(*g)).collect::<Vec<_>>() } }));
    let taken = |reference: Value, pinned: Option<&str>, pools: &[i64]| {
        let mut data = json!({ "spec": { "buildRef": reference } });
        if let Some(digest) = pinned {
            data["status"] = json!({ "pool": { "generation": 1, "digest": digest } });
        }
        pool_for(&object(data), &build(pools)).map(|pool| pool.generation)
    };
    let name = json!({ "name": "b" });
    assert_eq!(taken(name.clone(), None, &[]), None);
    assert_eq!(taken(name.clone(), None, &[2, 5]), Some(5));
    let least = |generation: i64| json!({ "name": "b", "minGeneration": generation });
    assert_eq!(taken(least(5), None, &[2, 5]), Some(5));
    assert_eq!(taken(least(3), None, &[2, 5]), Some(5));
    assert_eq!(taken(least(6), None, &[2, 5]), None, "an old pool is not what was asked for");
    let exactly = |digest: &str| json!({ "name": "b", "poolDigest": digest });
    assert_eq!(taken(exactly("d2"), None, &[2, 5]), Some(2));
    assert_eq!(taken(exactly("d3"), None, &[2, 5]), None);
    // Once begun, it stays with what it has begun with, or with nothing.
    assert_eq!(taken(name.clone(), Some("d2"), &[2, 5]), Some(2));
    assert_eq!(taken(least(5), Some("d2"), &[2, 5]), Some(2));
    assert_eq!(taken(name, Some("d1"), &[2, 5]), None);
    assert_eq!(pool_for(&object(json!({})), &object(json!({}))).map(|pool| pool.generation), None);
}

#[test]
fn what_becomes_of_the_work_later_replaces_no_job() {
    let template = |change: &dyn Fn(&mut Value)| {
        checked(&example(change)).plan.template(realsyn_crds::Stage::SentenceScore, "worker:1")
    };
    let before = template(&|_| {});
    assert_eq!(template(&|spec| spec["storage"]["retain"] = json!("Delete")), before);
    assert_eq!(template(&|spec| spec["storage"]["history"] = json!(7)), before);
    assert_ne!(template(&|spec| spec["storage"]["region"] = json!("eu-west-1")), before);
    assert_ne!(template(&|spec| spec["storage"]["credentials"] = json!({ "secretName": "other" })), before);
}

#[test]
fn an_invalid_spec_that_is_to_rest_stops_what_runs() {
    let wrong = |suspend: bool| {
        example(move |spec| {
            spec["storage"]["uri"] = json!("ftp://x");
            spec["suspend"] = json!(suspend);
        })
    };
    let job = |name: &str, phase| SeenJob { name: name.into(), uid: name.into(), phase, ..SeenJob::default() };
    let jobs = [job("runs", JobPhase::Active), job("failed", JobPhase::Failed(String::new()))];
    let stopped = |object: &DynamicObject| -> Vec<String> {
        let name = |change| if let Change::Delete(name, _) = change { name } else { panic!("more than a deletion") };
        halt(object, &jobs).into_iter().map(name).collect()
    };
    assert_eq!(stopped(&wrong(true)), ["runs"]);
    assert_eq!(stopped(&wrong(false)), [""; 0]);
    let Err(refusal) = validate(Kind::Build, &wrong(true), &nothing_seen()) else { panic!("it was taken") };
    let status = plan::refused(&wrong(true), &refusal, jiff::Timestamp::UNIX_EPOCH);
    let is = |name: &str| {
        status["conditions"].as_array().unwrap().iter().any(|c| c["type"] == name && c["status"] == "True")
    };
    assert!(is("Suspended") && is("Stalled"), "{status:#}");
}

#[test]
fn objects_are_looked_at_again_at_times_of_their_own() {
    let about = std::time::Duration::from_secs(600);
    let times: Vec<_> = (0..100).map(|n| super::resync(&format!("uid-{n}"), about)).collect();
    assert!(times.iter().all(|time| (480..=720).contains(&time.as_secs())), "{times:?}");
    assert_eq!(times[0], super::resync("uid-0", about), "the same each time");
    let early = times.iter().filter(|time| time.as_secs() < 600).count();
    assert!((25..75).contains(&early), "{early} of 100 come early");
}
