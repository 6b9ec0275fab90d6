//! A whole single-node cluster in Linux namespaces of its own.

mod cgroups;
mod config;
mod namespaces;

use std::fs::{self, File, TryLockError};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use self::cgroups::Cgroups;
use self::namespaces::Namespaces;
use crate::binaries::Binaries;
use crate::control_plane::ControlPlane;
use crate::flags::POD_RANGE;
use crate::images;
use crate::options::Options;
use crate::process::Process;
use crate::programs;
use crate::scratch;
use crate::site::{Ports, Site};
use crate::wait::until;

/// The host as pods and the node see it: an S3 server for them listens here.
pub const HOST_ADDRESS: &str = "10.99.0.1";
/// The node as the host sees it.
pub const NODE_ADDRESS: &str = "10.99.0.2";
/// The node's name.
pub const NODE_NAME: &str = "node-a";

/// Not in the temporary folder, which may be another one for another run.
const LOCK: &str = "/run/realsyn-node.lock";

pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd.sock";

/// What is run as it comes from the distribution, with the package that brings it.
const PROGRAMS: [(&str, &str); 8] = [
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("gcc", "gcc"),
    ("curl", "curl"),
];

/// A running node. Fields are dropped in this order: processes, namespaces, control groups, folder, and last the lock.
pub struct Node {
    plane: ControlPlane,
    _namespaces: Namespaces,
    _cgroups: Cgroups,
    folder: Arc<TempDir>,
    _turn: File,
}

impl Node {
    /// Starts the cluster and waits until the node is ready. There is one at a time on a machine: a second waits.
    pub fn start(options: &Options) -> Result<Self> {
        require(&options.binaries)?;
        let turn = take_turn(options)?;
        namespaces::remove_cable();
        let cgroups = Cgroups::create()?;
        let folder = Arc::new(scratch::create()?);
        let data = folder.path().to_owned();

        let pause = images::build_pause(&data)?;
        let namespaces = Namespaces::create(&pause, HOST_ADDRESS)?;
        let site = Site {
            address: NODE_ADDRESS.parse::<Ipv4Addr>()?,
            ports: Ports::USUAL,
            inside: Some(namespaces.first()),
            binaries: options.binaries.clone(),
            folder: data.clone(),
        };
        let script = [include_str!("node/inside.sh"), "inside.sh"];
        let mut prepare = site.command("sh");
        output(prepare.arg("-c").args(script).arg(&data).args([NODE_ADDRESS, HOST_ADDRESS]))?;

        let plane = ControlPlane::start_at(site, Arc::clone(&folder), options)?;
        let mut node = Self { plane, _namespaces: namespaces, _cgroups: cgroups, folder, _turn: turn };
        node.configure(options)?;
        node.run(&pause, options)?;
        Ok(node)
    }

    fn configure(&mut self, options: &Options) -> Result<()> {
        let data = self.folder.path();
        let plane = &mut self.plane;
        let scheduler = plane.component_kubeconfig("kube-scheduler", "system:kube-scheduler", None)?;
        let proxy = plane.component_kubeconfig("kube-proxy", "system:kube-proxy", None)?;
        let kubelet =
            plane.component_kubeconfig("kubelet", &format!("system:node:{NODE_NAME}"), Some("system:nodes"))?;
        let serving = plane.authority().identity("kubelet-serving", NODE_NAME, None, &[NODE_NAME, NODE_ADDRESS])?;
        let authority = plane.authority().own().certificate;

        fs::create_dir_all(data.join("cni"))?;
        fs::write(data.join("cni/10-pods.conflist"), config::cni(data).to_string())?;
        fs::write(
            data.join("containerd.toml"),
            config::containerd(data, CONTAINERD_SOCKET, &programs::require("runc", "runc")?),
        )?;
        let settings = config::kubelet(data, CONTAINERD_SOCKET, &authority, &serving);
        fs::write(data.join("kubelet.json"), settings.to_string())?;

        let file = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let in_data = |name: &str, entry: &str| file(name, &data.join(entry));
        plane.add(Process::Containerd, vec![in_data("config", "containerd.toml")], options);
        let kubelet = vec![
            in_data("config", "kubelet.json"),
            file("kubeconfig", &kubelet),
            format!("--hostname-override={NODE_NAME}"),
            format!("--node-ip={NODE_ADDRESS}"),
        ];
        plane.add(Process::Kubelet, kubelet, options);
        let scheduler = vec![
            file("kubeconfig", &scheduler),
            file("authentication-kubeconfig", &scheduler),
            file("authorization-kubeconfig", &scheduler),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            file("tls-cert-file", &data.join("certificates/loopback.crt")),
            file("tls-private-key-file", &data.join("certificates/loopback.key")),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ];
        plane.add(Process::Scheduler, scheduler, options);
        let proxy = vec![
            file("kubeconfig", &proxy),
            format!("--hostname-override={NODE_NAME}"),
            format!("--cluster-cidr={POD_RANGE}"),
            "--proxy-mode=iptables".to_owned(),
            // The size of the host's connection table is the host's.
            "--conntrack-max-per-core=0".to_owned(),
        ];
        plane.add(Process::KubeProxy, proxy, options);
        Ok(())
    }

    fn run(&self, pause: &Path, options: &Options) -> Result<()> {
        self.plane.launch(Process::Scheduler)?;
        self.plane.start_process(Process::Containerd)?;
        let archive = self.folder.path().join("pause.tar");
        images::pause_image(pause, &archive)?;
        self.import_image(&archive)?;
        self.plane.launch(Process::Kubelet)?;
        for process in [Process::Scheduler, Process::Kubelet] {
            self.plane.wait_ready(process)?;
        }
        // It looks its node up once and goes on without if there is none yet.
        let node = format!("/api/v1/nodes/{NODE_NAME}");
        until(options.patience, "the node to register", || Ok(self.plane.get(&node)))?;
        self.plane.start_process(Process::KubeProxy)?;
        let patience = format!("--timeout={}s", options.patience.as_secs());
        self.plane.kubectl(&["wait", "--for=condition=Ready", &format!("node/{NODE_NAME}"), &patience])?;
        Ok(())
    }

    /// The control plane, for what [`Node`] does not offer itself.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The administrator's kubeconfig; the host can use it.
    pub fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }

    /// Runs kubectl as administrator and returns what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.plane.kubectl(arguments)
    }

    /// Creates or changes what `manifest` says.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.plane.kubectl_with_input(&["apply", "-f", "-"], manifest)
    }

    /// Makes an image archive (docker or OCI) known to the node. Pods use it with `imagePullPolicy: Never` or
    /// `IfNotPresent`; there is no registry.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        let mut command = self.images("import");
        output(command.arg("--digests=false").arg(archive))
            .with_context(|| format!("importing {}", archive.display()))?;
        Ok(())
    }

    /// Gives an image that the node knows another name besides.
    pub fn name_image(&self, image: &str, name: &str) -> Result<()> {
        output(self.images("tag").args([image, name])).with_context(|| format!("naming {image} {name}"))?;
        Ok(())
    }

    fn images(&self, command: &str) -> Command {
        let mut ctr = self.plane.site().command(self.plane.site().binaries.path("ctr"));
        ctr.args(["--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", command]);
        ctr
    }

    /// Runs a program inside the node's namespaces and returns what it printed.
    pub fn exec(&self, line: &[&str]) -> Result<String> {
        let (program, arguments) = line.split_first().context("nothing to run")?;
        output(self.plane.site().command(program).args(arguments))
    }

    /// Kills a process with SIGKILL. Pods go on.
    pub fn kill(&self, process: Process) -> Result<()> {
        self.plane.kill(process)
    }

    /// Starts a process that was killed, and waits until it is ready.
    pub fn start_process(&self, process: Process) -> Result<()> {
        self.plane.start_process(process)
    }

    /// Kills a process and starts it again.
    pub fn restart(&self, process: Process) -> Result<()> {
        self.plane.restart(process)
    }

    /// The kubelet's folder as the host sees it. A test's device plugin serves and registers in `device-plugins` in there.
    pub fn kubelet_folder(&self) -> PathBuf {
        self.folder.path().join("kubelet")
    }

    /// Where the kubelet puts containers' logs, `<namespace>_<pod>_<uid>/<container>/<n>.log`; the host can read them.
    pub fn pod_logs(&self) -> PathBuf {
        self.folder.path().join("pod-logs")
    }
}

/// Fails with a sentence unless a node can be started on this machine.
pub(crate) fn require(binaries: &Binaries) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a node needs root, for namespaces and control groups");
    }
    binaries.require_node()?;
    for (program, package) in PROGRAMS {
        programs::require(program, package)?;
    }
    if !Path::new("/usr/lib/cni/bridge").exists() {
        bail!(
            "/usr/lib/cni/bridge is missing; install the package containernetworking-plugins (e2e/cluster/install-packages.sh does)"
        );
    }
    Ok(())
}

/// Waits until no other node runs on this machine: address, cable and control groups exist once.
fn take_turn(options: &Options) -> Result<File> {
    let path = Path::new(LOCK);
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    until(options.turn, "another cluster on this machine to end", || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    })?;
    Ok(file)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
