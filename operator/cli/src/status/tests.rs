//! Pages, held against files. `REALSYN_BLESS=1` writes them anew: read what changed.

use std::path::PathBuf;

use jiff::Timestamp;
use kube::api::DynamicObject;
use realsyn_objects::kinds::Kind;
use serde_json::{Value, json};

use super::{Overview, State, render};
use crate::commands::{Spending, ToCome};
use crate::style::Style;

const NOW: &str = "2026-03-01T12:00:00Z";

fn page(overview: &Overview, style: Style) -> String {
    render(overview, &style, NOW.parse::<Timestamp>().unwrap())
}

fn style(width: usize) -> Style {
    Style { width, ..Style::PLAIN }
}

#[track_caller]
fn golden(name: &str, page: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("REALSYN_BLESS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == expected, "{name} differs; the page is now\n{page}");
}

fn build(spec: Value, status: Value) -> DynamicObject {
    let mut full = json!({
        "source": { "format": "obelics", "uri": "s3://corpora/obelics" },
        "storage": { "uri": "s3://realsyn/obelics" },
    });
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": { "name": "obelics", "namespace": "datasets", "generation": 3 },
        "spec": full,
        "status": status,
    }))
    .unwrap()
}

fn sealed(name: &str, numbers: (u64, u64, u64), times: (&str, &str)) -> Value {
    json!({
        "name": name, "state": "Sealed", "shards": numbers.0, "shardsDone": numbers.0, "recordsIn": numbers.1,
        "recordsOut": numbers.2, "startedAt": format!("2026-03-01T{}Z", times.0), "sealedAt": format!("2026-03-01T{}Z", times.1),
    })
}

fn condition(type_: &str, status: bool, reason: &str, message: &str) -> Value {
    let status = if status { "True" } else { "False" };
    json!({
        "type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 3,
        "lastTransitionTime": "2026-03-01T09:46:00Z",
    })
}

/// The middle of a build: sealed, running, failing and waiting stages, and whatever can be said of one.
fn running() -> DynamicObject {
    let mut documents = sealed("documents", (1204, 1_204_311, 1_123_000), ("09:46:10", "09:50:20"));
    documents["dropped"] = json!({ "block-too-long": 19_311, "unreadable": 62_000 });
    documents["rejected"] = json!({ "truncated-parquet": 2, "not-utf8": 1 });
    let mut fetch = sealed("fetch", (1204, 3_400_000, 2_950_000), ("09:50:21", "11:20:21"));
    fetch.as_object_mut().unwrap().remove("startedAt");
    let mut embed = sealed("image-embed", (1204, 2_100_000, 2_100_000), ("10:10:00", "11:40:00"));
    embed["gpuSeconds"] = json!(43_200);
    embed["usefulGpuSeconds"] = json!(39_744);
    let why = "sentence-score: score: task 3 ended with 67: the language model's server did not answer for 120 s";
    let status = json!({
        "observedGeneration": 3,
        "progress": "sentence-score 12/64 +1 · 31 %",
        "workerImage": "registry.example.org/realsyn/cuda:0.1.0",
        "inventory": { "root": "ab", "files": 1204, "shards": 1204, "bytes": 4_423_816_314u64 },
        "conditions": [
            condition("Ready", false, "Progressing", why),
            condition("Reconciling", true, "Progressing", why),
            condition("Stalled", false, "Progressing", "nothing needs a person"),
            condition("Placeable", false, "NoNodeFits", "no node has a GPU with 40 GiB; node-7 has quarantined ones"),
        ],
        "stages": [
            documents, fetch, embed,
            {
                "name": "sentence-score", "state": "Running", "step": "score", "shards": 1024, "shardsDone": 400, "tasks": 64,
                "tasksDone": 12, "attempt": 2, "stragglers": ["task 17 on gpu-3 (A100-SXM4-80GB)"], "failures": 1, "retryAt": "2026-03-01T12:00:40Z", "gpuSeconds": 7_920,
                "startedAt": "2026-03-01T11:20:00Z", "placement": "NVIDIA-A100-SXM4-40GB × 8",
                "waitsFor": why.trim_start_matches("sentence-score: "),
            },
            {
                "name": "image-dedup-perceptual", "state": "Running", "step": "verify", "shards": 310, "shardsDone": 0,
                "tasks": 31, "tasksDone": 31, "attempt": 1, "startedAt": "2026-03-01T11:58:50Z",
            },
        ],
        "pools": [{ "generation": 2, "digest": "3f2a9c".repeat(10), "pairs": 1_234_567, "completedAt": "2026-02-26T08:00:00Z" }],
    });
    build(json!({ "budget": { "gpuHours": 4000 } }), status)
}

#[test]
fn a_running_build_reads_well() {
    let overview = Overview::new(Kind::Build, &running());
    assert_eq!(overview.state, State::Running);
    golden("running-80.txt", &page(&overview, style(80)));
    golden("running-120.txt", &page(&overview, style(120)));
    golden("running-colour.txt", &page(&overview, Style { colour: true, ..style(100) }));
}

#[test]
fn what_gpus_have_cost_and_will_stands_beside_their_hours() {
    let mut overview = Overview::new(Kind::Build, &running());
    let to_come = ToCome { gpu_hours: Some(31.46), cost: Some(78.75), unknown_stages: 0 };
    overview.spending = Some(Spending { cost: Some(35.5), to_come: Some(to_come) });
    let page = page(&overview, style(80));
    assert!(
        page.contains("GPU-hours  14.2 of 4000 in the budget, 31.5 to come\ncost       35.50 so far, 78.75 to come\n"),
        "{page}"
    );
    let json = serde_json::to_value(&overview).unwrap();
    assert_eq!((&json["spending"]["cost"], &json["spending"]["toCome"]["gpuHours"]), (&json!(35.5), &json!(31.46)));
    assert_eq!(json["stages"][0]["droppedBy"]["unreadable"], 62_000);
}

#[test]
fn on_a_small_screen_quiet_stages_are_counted() {
    let overview = Overview::new(Kind::Build, &running());
    let small = Style { rows: Some(30), ..style(80) };
    golden("running-small.txt", &page(&overview, small));
    assert_eq!(page(&overview, Style { rows: Some(200), ..style(80) }), page(&overview, style(80)));
}

#[test]
fn a_stalled_build_says_who_must_act() {
    let why = "documents: extract: task 0 ended with 64: the bucket `corpora` does not exist; correct spec.source.uri";
    let status = json!({
        "observedGeneration": 3,
        "progress": "stalled · 0 %",
        "workerImage": "worker:1",
        "inventory": { "root": "ab", "files": 1, "shards": 1, "bytes": 900 },
        "conditions": [condition("Ready", false, "Stalled", why), condition("Stalled", true, "Stalled", why)],
        "stages": [{
            "name": "documents", "state": "Stalled", "shards": 1, "failures": 2, "attempt": 2,
            "retryAt": "2026-03-01T12:09:40Z", "waitsFor": why.trim_start_matches("documents: "),
        }],
    });
    let overview = Overview::new(Kind::Build, &build(json!({ "stopAfter": "sentences" }), status));
    assert_eq!(overview.state, State::Stalled);
    golden("stalled.txt", &page(&overview, style(100)));
}

#[test]
fn a_new_build_says_that_nobody_has_looked() {
    let overview = Overview::new(Kind::Build, &build(json!({ "stopAfter": "fetch" }), json!(null)));
    golden("unseen.txt", &page(&overview, style(80)));
    let older = json!({ "observedGeneration": 2, "conditions": [condition("Ready", true, "Complete", "the pool is complete")] });
    let overview = Overview::new(Kind::Build, &build(json!({}), older));
    assert_eq!(overview.state, State::Unseen, "Ready is about the spec before this one");
    assert!(page(&overview, style(80)).contains("has not looked at generation 3 yet"));
}

#[test]
fn a_published_release_says_what_and_where() {
    let mut kept = sealed("documents", (1204, 9, 9), ("09:00:00", "09:01:00"));
    kept.as_object_mut().unwrap().remove("startedAt");
    let object = json!({
        "metadata": { "name": "obelics-v1", "namespace": "datasets", "generation": 1 },
        "spec": { "buildRef": { "name": "obelics" } },
        "status": {
            "observedGeneration": 1,
            "progress": "complete · 100 %",
            "workerImage": "registry.example.org/realsyn/cuda:0.1.0",
            "inventory": { "root": "ab", "files": 1204, "shards": 1204, "bytes": 4_423_816_314u64 },
            "pool": { "generation": 3, "digest": "3f2a9c".repeat(10) },
            "digest": "9c3f2a".repeat(10),
            "pairs": 834_201, "bytes": 51_539_607_552u64,
            "uri": "s3://realsyn/obelics/releases/obelics-v1-9c3f2a9c",
            "conditions": [condition("Ready", true, "Published", "the dataset is published")],
            "stages": [kept, sealed("release", (84, 0, 0), ("10:00:00", "10:12:00"))],
        },
    });
    let overview = Overview::new(Kind::Release, &serde_json::from_value(object).unwrap());
    golden("release.txt", &page(&overview, style(80)));
}

#[test]
fn no_line_is_wider_than_the_screen() {
    let overview = Overview::new(Kind::Build, &running());
    for width in 80..200 {
        let page = page(&overview, style(width));
        let widest = page.lines().map(|l| l.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} columns on a screen of {width}:\n{page}");
    }
}

#[test]
fn a_status_of_strangers_words_prints_none_of_their_controls() {
    let mut object = running();
    let hostile = "\u{1b}[2J\u{7}evil\r\nRow";
    for pointer in
        ["/status/stages/3/waitsFor", "/status/conditions/0/message", "/status/progress", "/status/workerImage"]
    {
        *object.data.pointer_mut(pointer).unwrap() = json!(hostile);
    }
    object.data["status"]["stages"][0]["rejected"] = json!({ hostile: 3 });
    object.data["status"]["pools"][0]["digest"] = json!(hostile);
    let page = page(&Overview::new(Kind::Build, &object), style(80));
    assert!(page.contains("evil"));
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "{page:?}");
}

#[test]
fn an_unreadable_spec_or_status_hides_nothing_else() {
    let mut object = running();
    object.data["spec"] = json!({ "source": 7 });
    let overview = Overview::new(Kind::Build, &object);
    assert_eq!(overview.stages.len(), 5, "those that the status names");
    object.data["status"] = json!({ "stages": "none" });
    assert_eq!(Overview::new(Kind::Build, &object).state, State::Unseen);
}
