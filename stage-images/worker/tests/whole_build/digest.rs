//! One digest, whatever happens on the way: threads, races, kills, pods.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use realsyn_crds::Stage;
use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::placement::Ahead;
use realsyn_plan::report::Report;
use realsyn_worker::plan_command::{MEASURED, PlanArgs};
use realsyn_worker::run::{Execution, Gpus, Order};

use crate::fixture::{Change, Fixture, commits, fixture, manual};

#[test]
fn two_threads_in_reverse_order_with_every_shard_raced_give_the_same_digest() {
    let Some((f, _one)) = fixture() else { return };
    // As if two GPUs were held: what that cost is told beside what is published, and changes nothing of it.
    let gpus = Some(Arc::new(Gpus::new(2, "L4")));
    let began = std::time::Instant::now();
    assert_eq!(f.digest_of("raced", &Execution { jobs: 2, order: Order::Reverse, runs: 2, gpus }), f.digest);
    let held = 2 * began.elapsed().as_millis() as u64;

    // Another corpus with the same settings is planned by what was measured.
    let change = Change {
        spec: "  preview: {shards: 1}\n",
        stages: "    sentenceEmbed: {gpu: {count: 2}}\n",
        ..Change::default()
    };
    let at = f.at("raced-plan", "raced", &change);
    let plan = PlanArgs { at, against: Vec::new(), list: false, measured: true };
    let plan = realsyn_worker::plan_command::plan(&plan).unwrap();
    let line = plan.lines().find_map(|line| line.strip_prefix(MEASURED)).unwrap();
    let ahead: Vec<Ahead> = serde_json::from_str(line).unwrap();
    assert_eq!(ahead.iter().map(|step| step.step.as_str()).collect::<Vec<_>>(), ["sentence-embed/embed"], "{plan}");
    let spent = ahead[0].gpus["L4"];
    assert!(spent.shards > 0 && spent.records > 0 && spent.gpu_millis > 0 && spent.gpu_millis < held, "{spent:?}");
}

#[test]
fn pages_of_the_manual_raced_in_reverse_order_give_the_same_digest() {
    let Some((f, _one)) = manual() else { return };
    let raced = Execution { jobs: 2, order: Order::Reverse, runs: 2, gpus: None };
    assert_eq!(f.digest_of("raced", &raced), f.digest);
}

/// The other builds leave the models all cores; here they have one, too.
#[test]
fn on_one_thread_the_digest_is_the_same() {
    let Some((f, _one)) = manual() else { return };
    let mut one = f.process("one-thread");
    let printed = one.args(["--jobs", "1"]).env("RAYON_NUM_THREADS", "1").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains(&f.digest), "{printed}");
}

#[test]
fn two_processes_on_one_output_end_with_the_same_digest() {
    let Some((f, _one)) = manual() else { return };
    let start = || f.process("shared").stdout(Stdio::piped()).spawn().unwrap();
    let both = [start(), start()];
    for ended in both.map(|child| child.wait_with_output().unwrap()) {
        let printed = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.status.success() && printed.contains(&f.digest), "{printed}");
    }
    let again = f.process("shared").output().unwrap();
    let printed = String::from_utf8(again.stdout).unwrap();
    assert!(printed.contains("nothing to run: every step is sealed"), "{printed}");
}

#[test]
fn killed_again_and_again_it_ends_with_the_same_digest() {
    let Some((f, _one)) = fixture() else { return };
    killed(f, std::env::var("REALSYN_KILLS").map_or(10, |n| n.parse().unwrap()));
}

#[test]
fn pages_of_the_manual_killed_again_and_again_give_the_same_digest() {
    let Some((f, _one)) = manual() else { return };
    killed(f, 6);
}

/// Kills a build at places that are spread over its stages, the last ones in `retrieve` and in the release, and lets it end.
fn killed(f: &Fixture, kills: usize) {
    let stages: Vec<Stage> = Stage::ALL.iter().copied().filter(|s| *s != Stage::Inventory).collect();
    let place = |stage: Stage| stages.iter().position(|s| *s == stage).unwrap();
    let retrieve = place(Stage::Retrieve);
    let mut hit = BTreeSet::new();
    for kill in 0..kills {
        let target = match kills - kill {
            1 => stages.len() - 1,
            2 => retrieve,
            _ => kill * retrieve / kills,
        };
        hit.insert(stages[kill_in(f, &stages, target, kill)]);
    }
    assert!(hit.contains(&Stage::Release) && hit.iter().any(|stage| place(*stage) < retrieve / 2), "{hit:?}");
    assert!(hit.len() > kills.min(stages.len()) / 2, "the kills fell into few stages: {hit:?}");
    assert!(hit.iter().any(|stage| (retrieve..stages.len() - 1).contains(&place(*stage))), "{hit:?}");
    let ended = f.process("killed").output().unwrap();
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success() && printed.contains(&f.digest), "after {kills} kills: {printed}");
}

/// Kills a build that runs, as soon as it has committed something of the stage `target` or of a later one. Returns the
/// place of the last stage that it had come to.
fn kill_in(f: &Fixture, stages: &[Stage], target: usize, kill: usize) -> usize {
    let reached = |found: &BTreeSet<String>| {
        let place = |name: &String| stages.iter().position(|s| Some(s.name()) == name.split('/').next());
        found.iter().filter_map(place).max()
    };
    // A machine may be so busy that the build ends before it is killed: then what it ended with is made again.
    for _ in 0..5 {
        let before = commits_of(f);
        let mut child = f.process("killed").stdout(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            let new: BTreeSet<String> = commits_of(f).difference(&before).cloned().collect();
            if let Some(stage) = reached(&new).filter(|stage| *stage >= target) {
                // Between commits and within them, not always right behind one.
                std::thread::sleep(Duration::from_millis(if stage < stages.len() - 1 { 7 * kill as u64 } else { 0 }));
                child.kill().unwrap();
                if !child.wait().unwrap().success() {
                    return reached(&commits_of(f)).unwrap_or(stage);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for stage in &stages[target..] {
            _ = std::fs::remove_dir_all(std::path::Path::new(&f.out("killed")).join(stage.name()));
        }
    }
    panic!("no kill hit a build that had come to {}", stages[target].name());
}

fn commits_of(f: &Fixture) -> BTreeSet<String> {
    let out = f.out("killed");
    if std::path::Path::new(&out).exists() { commits(&out) } else { BTreeSet::new() }
}

/// What a cluster does, without the cluster: `advance`, then one process per task of every step that is ready, on S3.
#[test]
fn as_pods_on_s3_the_digest_is_the_same() {
    let Some((f, _one)) = fixture() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = realsyn_e2e::S3Server::start(folder.path()).unwrap();
    let file = f.manifest("s3", &Change::default());
    let report_file = folder.path().join("termination-log");
    let pod = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_realsyn"))
            .args(args)
            .arg("-f")
            .arg(&file)
            .args(["--out", &format!("s3://{}/builds", realsyn_e2e::S3Server::BUCKET)])
            .args(["--endpoint", &server.endpoint(), "--models"])
            .arg(&f.models)
            .arg("--report")
            .arg(&report_file)
            .env("AWS_ACCESS_KEY_ID", realsyn_e2e::S3Server::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", realsyn_e2e::S3Server::SECRET_KEY)
            .env("AWS_REGION", "us-east-1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let mut known: Vec<String> = Vec::new();
    let mut ran = Vec::new();
    let complete = loop {
        pod(&["advance", "--known", &known.join(",")]);
        let report = Report::parse(&std::fs::read(&report_file).unwrap()).unwrap();
        assert_eq!(report.stalled, None);
        known.extend(report.sealed.into_iter().map(|s| s.step));
        if let Some(complete) = report.complete {
            break complete;
        }
        assert!(report.more || !report.ready.is_empty(), "it neither goes on nor ends: {known:?}");
        for ready in report.ready {
            assert!(!known.contains(&ready.step) && !ran.contains(&ready.step), "{} runs twice", ready.step);
            let list = ready.list.to_string();
            for index in 0..ready.tasks {
                pod(&["stage", &ready.step, "--tasks", &list, "--index", &index.to_string(), "--jobs", "2"]);
            }
            ran.push(ready.step);
        }
    };
    assert_eq!(complete.digest.to_string(), f.digest);
    assert_eq!(ran.len(), BUILD.len() + RELEASE.len());
}
