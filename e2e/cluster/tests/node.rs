//! A whole node: needs root, the binaries and the packages; skips with a sentence otherwise.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use realsyn_cluster::{HOST_ADDRESS, Node, Options, Process, images, missing_for_node, skip, until};

const SOON: Duration = Duration::from_secs(30);
/// One node at a time: what a test finds on the machine afterwards must not be the next one's.
static TURN: Mutex<()> = Mutex::new(());
const IMAGE: &str = "realsyn.dev/base:test";

/// Index 0 asks the host for a page, says so in its log and its termination message, and succeeds; index 1 always fails.
fn indexed_job(port: u16) -> String {
    format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{ name: indexed }}
spec:
  completionMode: Indexed
  completions: 2
  parallelism: 2
  backoffLimitPerIndex: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: worker
        image: {IMAGE}
        imagePullPolicy: Never
        command: [sh, -ec]
        args:
        - |
          test $JOB_COMPLETION_INDEX = 0
          wget -q -O /tmp/page http://{HOST_ADDRESS}:{port}/
          echo "the host says $(cat /tmp/page)"
          printf 'index %s' $JOB_COMPLETION_INDEX > /dev/termination-log
"#
    )
}

const LONG_POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: long }
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: sleeper
    image: realsyn.dev/base:test
    imagePullPolicy: Never
    command: [sleep, "600"]
"#;

/// A server for one request, on the host's side of the cable.
fn answer_once(listener: TcpListener) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    })
}

#[test]
fn an_indexed_job_runs_and_pods_outlive_kubelet_and_containerd() {
    if skip("an_indexed_job_runs_and_pods_outlive_kubelet_and_containerd", missing_for_node()) {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let archives = tempfile::tempdir().unwrap();
    let archive = archives.path().join("base.tar");
    images::base_image(IMAGE, &archive).unwrap();
    let node = Node::start(&Options::default()).unwrap();
    node.import_image(&archive).unwrap();
    node.apply(LONG_POD).unwrap();

    let listener = TcpListener::bind((HOST_ADDRESS, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = answer_once(listener);
    node.apply(&indexed_job(port)).unwrap();
    node.kubectl(&["wait", "--for=condition=Failed", "job/indexed", "--timeout=60s"]).unwrap();
    server.join().unwrap();

    let job = |field: &str| node.kubectl(&["get", "job", "indexed", "-o", &format!("jsonpath={{.status.{field}}}")]);
    assert_eq!(job("completedIndexes").unwrap(), "0");
    assert_eq!(job("failedIndexes").unwrap(), "1");
    let first = ["-l", "batch.kubernetes.io/job-completion-index=0"];
    let logs = node.kubectl(&[&["logs"], &first[..]].concat()).unwrap();
    assert_eq!(logs, "the host says hello\n");
    let message = "jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}";
    assert_eq!(node.kubectl(&[&["get", "pods", "-o", message], &first[..]].concat()).unwrap(), "index 0");
    assert!(contains_file_with(&node.pod_logs(), "the host says hello"));

    node.kubectl(&["wait", "--for=condition=Ready", "pod/long", "--timeout=60s"]).unwrap();
    node.kill(Process::Kubelet).unwrap();
    node.restart(Process::Containerd).unwrap();
    node.start_process(Process::Kubelet).unwrap();
    // Answered by the kubelet, as soon as it knows its pods again, from the container that was there before.
    let comm = ["exec", "long", "--", "cat", "/proc/1/comm"];
    until(SOON, "the container to answer", || Ok(node.kubectl(&comm).is_ok_and(|name| name == "sleep\n"))).unwrap();
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    assert_eq!(node.kubectl(&["get", "pod", "long", "-o", restarts]).unwrap(), "0");
}

#[test]
fn a_node_starts_right_after_one_was_killed_and_leaves_nothing_behind() {
    if skip("a_node_starts_right_after_one_was_killed_and_leaves_nothing_behind", missing_for_node()) {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = || {
        let names = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
        names.map(|name| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap())
    };
    let before = settings();
    let mut killed = Command::new(env!("CARGO_BIN_EXE_cluster")).arg("up").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(killed.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("export KUBECONFIG="), "{line}");
    let kubeconfig = line.trim().trim_start_matches("export KUBECONFIG=");
    let folder = Path::new(kubeconfig).parent().unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    until(SOON, "the killed node's processes to end", || Ok(mentions(folder) == 0)).unwrap();

    let node = Node::start(&Options::default()).unwrap();
    assert!(!folder.exists(), "the killed run's folder was not removed");
    assert!(node.exec(&["hostname"]).unwrap().starts_with("node-a"));
    let folder = node.control_plane().folder().to_owned();
    assert!(mentions(&folder) >= 7, "the test cannot see the processes that it looks for");
    // The kubelet changes settings of the kernel; the machine's own stay.
    assert_eq!(settings(), before);
    drop(node);

    assert_eq!(mentions(&folder), 0);
    assert!(!folder.exists());
    assert!(!Path::new("/sys/class/net/realsyn-host").exists());
    let groups = Command::new("find").args(["/sys/fs/cgroup", "-name", "realsyn-e2e"]).output().unwrap();
    assert_eq!(String::from_utf8(groups.stdout).unwrap(), "");
    assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(folder.to_str().unwrap()));
}

/// How many processes have the folder in their command line.
fn mentions(folder: &Path) -> usize {
    let output = Command::new("pgrep").arg("-f").arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().count()
}

fn contains_file_with(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { contains_file_with(&path, text) } else { fs::read_to_string(path).unwrap().contains(text) }
    })
}
