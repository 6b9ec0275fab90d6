//! The spans of the binary itself, as a collector gets them, and the logs that its failed tasks leave.

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_e2e::Collector;
use realsyn_plan::report::Report;
use realsyn_plan::trace::traceparent;
use support::small_build;

const STEP: &str = "documents/extract";

/// Runs a command; returns the exit code, and what it said on standard output and on standard error.
fn realsyn(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_realsyn"));
    command.args(args).args(["-f", "build.yaml"]).current_dir(folder);
    for unset in ["RUST_LOG", "TRACEPARENT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        command.env_remove(unset);
    }
    let output = command.envs(env.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_pods_do_belongs_to_the_trace_that_they_are_given() {
    let folder = small_build();
    let collector = Collector::start();
    let parent = traceparent("0a6ba0ee-8a3d-4b07-bb8c-6e7f1f2f7b11", 3);
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()), ("TRACEPARENT", &parent)];
    for args in [&["advance"][..], &["stage", STEP]] {
        let (code, _, said) = realsyn(folder.path(), args, &env);
        assert_eq!((code, said.as_str()), (0, ""));
    }
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == parent[3..35]), "{spans:?}");
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let ([advance], [stage]) = (&named("advance")[..], &named("stage")[..]) else { panic!("{spans:?}") };
    for root in [advance, stage] {
        assert_eq!(root.parent, parent[36..52], "below the controller's span");
    }
    assert_eq!(stage.attributes["step"], STEP);
    let shards = named("shard");
    assert!(shards.iter().all(|shard| shard.parent == stage.id), "{shards:?}");
    let mut told: Vec<_> = shards
        .iter()
        .map(|shard| {
            let all = &shard.attributes;
            assert!(all["bytes"].parse::<u64>().unwrap() > 0);
            assert!(shard.time.0 < shard.time.1);
            (all["step"].clone(), all["number"].clone(), all["records"].clone())
        })
        .collect();
    told.sort();
    let expected = ["0", "1", "2", "3"].map(|number| (STEP.to_owned(), number.to_owned(), "1".to_owned()));
    assert_eq!(told, expected);
}

#[test]
fn a_collector_behind_tls_is_told_only_if_its_certificate_is_trusted() {
    let folder = small_build();
    let certificate = folder.path().join("collector.pem");
    let collector = Collector::start_with_tls(&certificate);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    let (code, _, said) = realsyn(folder.path(), &["advance"], &[endpoint]);
    assert!(code == 0 && said.contains("spans cannot be sent") && said.contains("certificate"), "{code}: {said}");
    assert!(collector.spans().is_empty());
    let trusted = ("SSL_CERT_FILE", certificate.to_str().unwrap());
    let (code, _, said) = realsyn(folder.path(), &["advance"], &[endpoint, trusted]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(collector.spans().iter().any(|span| span.name == "advance"));
}

#[test]
fn a_collector_that_is_away_changes_nothing() {
    let folder = small_build();
    let (_, report, _) = realsyn(folder.path(), &["advance"], &[]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // It takes connections, for the kernel does, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = [
        (format!("http://{closed}"), "spans cannot be sent"),
        (format!("http://{}", silent.local_addr().unwrap()), ""),
        ("grpc://collector:4317".to_owned(), "neither http:// nor https://; no traces are sent"),
        ("".to_owned(), ""),
    ];
    for (endpoint, words) in endpoints {
        let (code, out, said) = realsyn(folder.path(), &["advance"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
        assert_eq!((code, &out), (0, &report), "{said}");
        assert!(said.contains(words) && said.lines().count() <= 1, "{endpoint}: {said}");
    }
}

#[test]
fn a_failed_task_leaves_the_end_of_its_log_in_the_store() {
    let folder = small_build();
    let (_, report, _) = realsyn(folder.path(), &["advance"], &[]);
    let report = Report::parse(report.trim().as_bytes()).unwrap();
    let list = report.ready.iter().find(|ready| ready.step == STEP).unwrap().list.to_string();
    let task = ["stage", STEP, "--tasks", &list, "--index", "0"];
    // Where an equal build writes its commits, a file is in the way.
    let equal = small_build();
    realsyn(equal.path(), &["advance"], &[]);
    assert_eq!(realsyn(equal.path(), &["stage", STEP], &[]).0, 0);
    let commits = std::fs::read_dir(equal.path().join("out").join(STEP)).unwrap().map(|e| e.unwrap().file_name());
    let commits = commits.into_iter().find(|name| name != "_tasks").unwrap();
    std::fs::write(folder.path().join("out").join(STEP).join(commits), "in the way").unwrap();

    // By hand there is a terminal to read it on.
    assert_ne!(realsyn(folder.path(), &["stage", STEP], &[]).0, 0);
    let (code, _, said) = realsyn(folder.path(), &["logs", "documents"], &[]);
    assert!(code != 0 && said.contains("realsyn: documents has left no log"), "{said}");

    for _ in 0..2 {
        let (code, _, said) = realsyn(folder.path(), &task, &[]);
        assert!(code != 0 && said.lines().count() == 1, "{said}");
        let (code, told, _) = realsyn(folder.path(), &["logs", "documents"], &[]);
        assert!(code == 0 && told.starts_with("── task 0, documents/"), "{told}");
        let reason = said.trim().strip_prefix("realsyn: ").unwrap().rsplit(": ").next().unwrap();
        assert!(told.contains("documents/extract: task 0 failed: ") && told.contains(reason), "{told}\n{reason}");
        // What nobody saw, because it is not logged by itself.
        assert!(told.contains(" step step=documents/extract "), "{told}");
    }
    let (_, told, _) = realsyn(folder.path(), &["logs", "documents", "--index", "0"], &[]);
    assert_eq!(told.matches("── task 0, ").count(), 2, "a log of each attempt: {told}");
    let (code, _, said) = realsyn(folder.path(), &["logs", "documents", "--index", "7"], &[]);
    assert!(code != 0 && said.contains("task 7 of documents has left no log"), "{said}");

    // A store that does not take it changes neither the reason nor the code.
    let kept = logs_folder(&folder.path().join("out/documents")).unwrap();
    std::fs::remove_dir_all(&kept).unwrap();
    std::fs::write(&kept, "in the way").unwrap();
    let (before, _, said) = realsyn(folder.path(), &task, &[]);
    assert!(before == code && said.contains("the end of the log cannot be kept in the store"), "{before}: {said}");
}

fn logs_folder(stage: &Path) -> Option<PathBuf> {
    let inside = std::fs::read_dir(stage).unwrap().map(|entry| entry.unwrap().path().join("_logs"));
    inside.into_iter().find(|folder| folder.is_dir())
}
