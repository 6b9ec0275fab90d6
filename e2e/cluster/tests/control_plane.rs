//! The control plane on its own: no root, no node.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use realsyn_cluster::{ControlPlane, Options, Process, missing_for_control_plane, skip, until};

#[test]
fn objects_outlive_a_killed_api_server_and_a_killed_etcd() {
    if skip("objects_outlive_a_killed_api_server_and_a_killed_etcd", missing_for_control_plane()) {
        return;
    }
    // A cluster that several tests share outlives the thread of the test that started it.
    let plane = std::thread::spawn(|| ControlPlane::start(&Options::default()).unwrap()).join().unwrap();
    plane.kubectl(&["create", "configmap", "kept", "--from-literal=answer=42"]).unwrap();

    plane.kill(Process::ApiServer).unwrap();
    let refused = plane.kubectl(&["get", "configmaps"]).unwrap_err().to_string();
    assert!(refused.contains("refused"), "{refused}");
    plane.start_process(Process::ApiServer).unwrap();
    plane.restart(Process::Etcd).unwrap();

    let answer = ["get", "configmap", "kept", "-o", "jsonpath={.data.answer}"];
    assert_eq!(plane.kubectl(&answer).unwrap(), "42");
}

#[test]
fn a_job_gets_pods_and_rights_are_checked() {
    if skip("a_job_gets_pods_and_rights_are_checked", missing_for_control_plane()) {
        return;
    }
    let plane = ControlPlane::start(&Options::default()).unwrap();
    assert!(plane.kubectl(&["version"]).unwrap().contains("Server Version: v1."), "the version stamp is missing");

    plane.kubectl(&["create", "job", "one", "--image=none"]).unwrap();
    // No kubelet runs the pod, but the controller manager makes it.
    plane.kubectl(&["wait", "--for=create", "pod", "-l", "job-name=one", "--timeout=30s"]).unwrap();

    plane.kubectl(&["create", "serviceaccount", "robot"]).unwrap();
    let user = plane.kubeconfig_for_user("system:someone", Some("people")).unwrap();
    let robot = plane.kubeconfig_for_service_account("default", "robot").unwrap();
    for (kubeconfig, name) in [(user, "system:someone"), (robot, "system:serviceaccount:default:robot")] {
        let mut command = plane.kubectl_command();
        let output = command.env("KUBECONFIG", kubeconfig).args(["get", "secrets"]).output().unwrap();
        let refusal = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(refusal.contains("Forbidden") && refusal.contains(name), "{refusal}");
    }
}

#[test]
fn a_stranger_is_refused_and_a_client_can_verify_the_server() {
    if skip("a_stranger_is_refused_and_a_client_can_verify_the_server", missing_for_control_plane()) {
        return;
    }
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let secrets = format!("{}/api/v1/secrets", plane.server());
    let curl = |arguments: &[&str]| {
        let output =
            Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(arguments).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    // 60: the certificate is not one of an authority that the machine knows.
    assert_eq!(curl(&[&secrets]).0, Some(60));
    let (_, _, authority) = plane.server_certificate(&["127.0.0.1"]).unwrap();
    // Verified, but nobody in particular.
    assert_eq!(curl(&["--cacert", authority.to_str().unwrap(), &secrets]), (Some(0), "403".to_owned()));
}

#[test]
fn nothing_is_left_behind() {
    if skip("nothing_is_left_behind", missing_for_control_plane()) {
        return;
    }
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let folder = plane.folder().to_owned();
    assert_eq!(mentions(&folder), 3, "the test cannot see the processes that it looks for");
    drop(plane);
    assert_eq!(mentions(&folder), 0);
    assert!(!folder.exists());
}

#[test]
fn a_killed_run_takes_its_processes_along_and_the_next_run_removes_its_folder() {
    let name = "a_killed_run_takes_its_processes_along_and_the_next_run_removes_its_folder";
    if skip(name, missing_for_control_plane()) {
        return;
    }
    let mut run = Command::new(env!("CARGO_BIN_EXE_cluster"));
    let mut run = run.args(["up", "--control-plane-only"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let kubeconfig = line.trim().strip_prefix("export KUBECONFIG=").unwrap();
    let folder = Path::new(kubeconfig).parent().unwrap();
    assert_eq!(mentions(folder), 3);

    run.kill().unwrap();
    run.wait().unwrap();
    until(Duration::from_secs(20), "the processes to end", || Ok(mentions(folder) == 0)).unwrap();
    let _next = ControlPlane::start(&Options::default()).unwrap();
    assert!(!folder.exists());
}

/// How many processes have the folder in their command line.
fn mentions(folder: &Path) -> usize {
    let output = Command::new("pgrep").arg("-f").arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().count()
}
