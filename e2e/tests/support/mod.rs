//! What the tests on a real node share.

// Each test uses its part of it.
#![allow(dead_code)]

pub mod others;
pub mod story;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_cluster::{NODE_NAME, Node, images, missing_for_node, skip};
use realsyn_e2e::{S3Server, binary};

/// The image of workers.
const BASE: &str = "realsyn.dev/base:test";
pub const WORKER: &str = "realsyn.dev/worker:test";
/// The namespace of builds.
pub const NAMESPACE: &str = "team";

/// The most megabytes of the controller's image, unpacked.
const CONTROLLER: f64 = 40.0;

/// The repository.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The models and the OpenStax sample, unless the test must be skipped.
pub fn inputs(test: &str) -> Option<(PathBuf, PathBuf)> {
    let or = |name: &str, path: &str| std::env::var_os(name).map_or_else(|| workspace().join(path), PathBuf::from);
    let (models, openstax) = (or("REALSYN_MODELS", ".cache/models"), or("REALSYN_OPENSTAX", "../shared/data/openstax"));
    let absent = [models.join("demo-clip"), openstax.join("astronomy.parquet")].into_iter().find(|p| !p.exists());
    let absent = absent.map(|p| format!("{} is not there", p.display()));
    if skip(test, missing_for_node()) || skip(test, images::missing()) || skip(test, absent) {
        return None;
    }
    Some((models, openstax))
}

/// A folder that pods, which run as nobody in particular, can get into.
pub fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A read-only claim named `name` on a folder of this machine.
pub fn volume(name: &str, path: &Path) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadOnlyMany]
  storageClassName: none
  hostPath: {{path: {path}}}
  claimRef: {{name: {name}, namespace: {NAMESPACE}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  accessModes: [ReadOnlyMany]
  storageClassName: none
  volumeName: {name}
  resources: {{requests: {{storage: 1Gi}}}}
---
",
        path = path.display()
    )
}

/// The namespace of builds, restricted, with the store's credentials.
pub fn tenant() -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: s3, namespace: {NAMESPACE}}}
stringData: {{AWS_ACCESS_KEY_ID: {access}, AWS_SECRET_ACCESS_KEY: {secret}}}
---
",
        access = S3Server::ACCESS_KEY,
        secret = S3Server::SECRET_KEY,
    )
}

/// The kubelet of tests does not measure scratch space, so the scheduler has to be told that there is some.
pub fn give_scratch_space(node: &Node) {
    let scratch = r#"{"status":{"capacity":{"ephemeral-storage":"20Gi"},"allocatable":{"ephemeral-storage":"20Gi"}}}"#;
    node.kubectl(&["patch", "node", NODE_NAME, "--subresource=status", "--type=merge", "-p", scratch]).unwrap();
}

/// Builds images from the repository's Dockerfiles and makes them known to the node: Dockerfile, binary, name. `driver` is the
/// folder of a `libcuda.so.1`, which a container's runtime would add where there is a real one.
pub fn import_images(node: &Node, folder: &Path, driver: Option<&Path>, wanted: &[(&str, &str, &str)]) {
    let base = folder.join("base.tar");
    images::base_image(BASE, &base).unwrap();
    let builder = images::Builder::new(&folder.join("store")).unwrap();
    builder.load(&base).unwrap();
    if let Some(driver) = driver {
        let dockerfile = folder.join("driver.Dockerfile");
        std::fs::write(&dockerfile, format!("FROM {BASE}\nCOPY libcuda.so.1 /usr/lib/x86_64-linux-gnu/\n")).unwrap();
        builder.build(driver, &dockerfile, &[], BASE, &folder.join("driver.tar")).unwrap();
    }
    for (dockerfile, program, name) in wanted {
        let context = folder.join(format!("context-{program}"));
        std::fs::create_dir_all(&context).unwrap();
        let mut strip = Command::new("strip");
        strip.arg("--strip-debug").arg("-o").arg(context.join(program)).arg(binary(program).unwrap());
        assert!(strip.status().unwrap().success(), "strip {program}");
        let dockerfile = workspace().join("stage-images/containers").join(dockerfile);
        let archive = folder.join(format!("{program}.tar"));
        builder.build(&context, &dockerfile, &[&format!("BASE={BASE}")], name, &archive).unwrap();
        let megabytes = std::fs::metadata(&archive).unwrap().len() as f64 / 1e6;
        eprintln!("{name}: {megabytes:.1} MB");
        assert!(*program != "realsyn-controller" || megabytes <= CONTROLLER, "the controller's image is small");
        node.import_image(&archive).unwrap();
    }
}

/// The processes that work on a task of this step, or of any, in whatever pod: there is one node at a time on a machine.
pub fn workers(step: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let works = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(&format!("\0stage\0{step}")) && line.contains("\0/dev/termination-log\0")
    };
    ids.filter(works).collect()
}

/// Whether a process that stands still has a SIGTERM waiting, or is gone.
pub fn asked_to_end(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    pending.is_none_or(|set| u64::from_str_radix(set.trim(), 16).is_ok_and(|set| set >> (15 - 1) & 1 == 1))
}

/// Sends a signal to a process, which may have ended.
pub fn signal(pid: u32, name: &str) {
    _ = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
}
