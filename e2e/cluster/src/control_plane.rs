//! etcd, the API server and the controller manager, without a node.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::audit::{self, Request};
use crate::authority::{Authority, Identity};
use crate::daemon::Daemon;
use crate::flags::{self, Identities};
use crate::kubeconfig::{self, Credential};
use crate::options::Options;
use crate::process::Process;
use crate::scratch;
use crate::site::{Ports, Site};
use crate::wait::until;

/// Somebody else may take a port between the look and the start.
const ATTEMPTS: usize = 3;

/// A running control plane. Everything it started and wrote goes with it.
pub struct ControlPlane {
    daemons: BTreeMap<Process, Mutex<Daemon>>,
    site: Site,
    authority: Authority,
    authority_certificate: PathBuf,
    admin: Identity,
    etcd_client: Identity,
    kubeconfig: PathBuf,
    patience: Duration,
    // Shared with the node around it, which must have ended everything before the folder can go.
    folder: Arc<TempDir>,
}

impl ControlPlane {
    /// Starts a control plane on free ports of 127.0.0.1 and waits until it serves.
    pub fn start(options: &Options) -> Result<Self> {
        options.binaries.require_control_plane()?;
        let mut attempt = 1;
        loop {
            let folder = Arc::new(scratch::create()?);
            let site = Site {
                address: Ipv4Addr::LOCALHOST,
                ports: Ports::free()?,
                inside: None,
                binaries: options.binaries.clone(),
                folder: folder.path().to_owned(),
            };
            match Self::start_at(site, folder, options) {
                Err(error) if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") => {
                    attempt += 1
                }
                done => return done,
            }
        }
    }

    /// Starts a control plane somewhere.
    pub(crate) fn start_at(site: Site, folder: Arc<TempDir>, options: &Options) -> Result<Self> {
        let authority = Authority::create(site.folder.join("certificates"))?;
        let address = site.address.to_string();
        let loopback = ["localhost", "127.0.0.1"];
        let service =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
        let server: Vec<&str> =
            loopback.into_iter().chain(service).chain([flags::API_SERVICE, address.as_str()]).collect();
        let (token_key, token_public) = authority.tokens();
        let identities = Identities {
            authority: authority.own(),
            loopback: authority.identity("loopback", "loopback", None, &loopback)?,
            server: authority.identity("kube-apiserver", "kube-apiserver", None, &server)?,
            client: authority.identity("kube-apiserver-client", "kube-apiserver", Some("system:masters"), &[])?,
            token_key,
            token_public,
        };
        let admin = authority.identity("admin", "admin", Some("system:masters"), &[])?;
        let plane = Self {
            daemons: BTreeMap::new(),
            kubeconfig: site.folder.join("admin.kubeconfig"),
            authority_certificate: identities.authority.certificate.clone(),
            etcd_client: identities.client.clone(),
            patience: options.patience,
            site,
            authority,
            admin,
            folder,
        };
        plane.run(&identities, options)
    }

    fn run(mut self, identities: &Identities, options: &Options) -> Result<Self> {
        self.write_kubeconfig(&self.kubeconfig, &Credential::Certificate(&self.admin))?;
        let manager = self.component_kubeconfig("kube-controller-manager", "system:kube-controller-manager", None)?;
        self.add(Process::Etcd, flags::etcd(&self.site, identities), options);
        let mut server = flags::api_server(&self.site, identities);
        if options.audit {
            server.extend(audit::flags(&self.site.folder)?);
        }
        self.add(Process::ApiServer, server, options);
        self.add(Process::ControllerManager, flags::controller_manager(&self.site, identities, &manager), options);

        // Together: the API server waits for etcd by itself.
        self.launch(Process::Etcd)?;
        self.launch(Process::ApiServer)?;
        self.wait_ready(Process::ApiServer)?;
        self.start_process(Process::ControllerManager)?;
        // The last thing without which no pod can be created.
        until(self.patience, "the default service account", || {
            self.check_alive(Process::ControllerManager)?;
            Ok(self.get("/api/v1/namespaces/default/serviceaccounts/default"))
        })?;
        Ok(self)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's address, `https://…`.
    pub fn server(&self) -> String {
        self.site.api()
    }

    /// A kubeconfig for a user, by client certificate.
    pub fn kubeconfig_for_user(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        self.component_kubeconfig(&format!("user-{}", file_name(user)), user, group)
    }

    /// A kubeconfig for a service account, by a token that is good for an hour.
    pub fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, "--duration", "1h"])?;
        let path = self.site.folder.join(format!("account-{}-{}.kubeconfig", file_name(namespace), file_name(name)));
        self.write_kubeconfig(&path, &Credential::Token(token.trim()))?;
        Ok(path)
    }

    /// A certificate, and its key, for a server (a webhook, say) under these host names and addresses: paths of the
    /// certificate, the key, and the authority's certificate that verifies it.
    pub fn server_certificate(&self, names: &[&str]) -> Result<(PathBuf, PathBuf, PathBuf)> {
        let first = names.first().ok_or_else(|| anyhow!("a server certificate needs a name"))?;
        let identity = self.authority.identity(&format!("server-{}", file_name(first)), first, None, names)?;
        Ok((identity.certificate, identity.key, self.authority_certificate.clone()))
    }

    /// Runs kubectl as administrator and returns what it printed; its error is the error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    /// Runs kubectl with something to read, for `apply -f -`.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting kubectl")?;
        let mut stdin = child.stdin.take().ok_or_else(|| anyhow!("kubectl has no standard input"))?;
        // It may have ended without reading.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().context("waiting for kubectl")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("kubectl printed something that is not UTF-8")
    }

    /// Makes the API know these kinds, each of a file, and waits until it does.
    pub fn define(&self, definitions: &[impl AsRef<Path>]) -> Result<()> {
        for file in definitions {
            self.kubectl(&["create", "-f", file.as_ref().to_str().context("a path that is not UTF-8")?])?;
        }
        // kubectl does not wait for a definition that has no condition yet, but fails.
        until(Duration::from_secs(30), "the API to know the kinds", || {
            Ok(self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).is_ok())
        })
    }

    /// kubectl as administrator, for what the others cannot do (watching, say).
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.site.binaries.path("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig).arg("--cache-dir").arg(self.site.folder.join("kubectl-cache"));
        command
    }

    /// Kills a process with SIGKILL. What it stored stays.
    pub fn kill(&self, process: Process) -> Result<()> {
        self.daemon(process)?.kill();
        Ok(())
    }

    /// Starts a process that was killed, and waits until it is ready. Ports and data are those of before.
    pub fn start_process(&self, process: Process) -> Result<()> {
        self.launch(process)?;
        self.wait_ready(process)
    }

    /// Kills a process and starts it again.
    pub fn restart(&self, process: Process) -> Result<()> {
        self.kill(process)?;
        self.start_process(process)
    }

    /// Where a process logs to.
    pub fn log(&self, process: Process) -> Result<PathBuf> {
        Ok(self.daemon(process)?.log().to_owned())
    }

    /// The requests that the API server has answered so far, if it was started with [`Options::audit`].
    pub fn audit(&self) -> Result<Vec<Request>> {
        audit::read(&self.site.folder)
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Adds a process, which is then to be started.
    pub(crate) fn add(&mut self, process: Process, mut arguments: Vec<String>, options: &Options) {
        arguments.extend(options.flags.get(&process).into_iter().flatten().cloned());
        let command = self.site.daemon(self.site.binaries.path(process.name()).as_os_str(), &arguments);
        let log = self.site.folder.join(format!("{process}.log"));
        self.daemons.insert(process, Mutex::new(Daemon::new(command, log)));
    }

    /// A kubeconfig by client certificate, named after whose it is.
    pub(crate) fn component_kubeconfig(&self, file: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.authority.identity(file, user, group, &[])?;
        let path = self.site.folder.join(format!("{file}.kubeconfig"));
        self.write_kubeconfig(&path, &Credential::Certificate(&identity))?;
        Ok(path)
    }

    pub(crate) fn launch(&self, process: Process) -> Result<()> {
        self.daemon(process)?.start()
    }

    pub(crate) fn wait_ready(&self, process: Process) -> Result<()> {
        until(self.patience, &format!("{process} to be ready"), || {
            self.check_alive(process)?;
            // It never becomes ready without, and says so much later.
            if process == Process::ApiServer {
                self.check_alive(Process::Etcd)?;
            }
            Ok(self.probe(process).output().is_ok_and(|output| output.status.success()))
        })
        .with_context(|| self.tail(process))
    }

    /// Whether the API server answers a GET with success.
    pub(crate) fn get(&self, path: &str) -> bool {
        let url = format!("{}{path}", self.site.api());
        self.curl(&url, Some(&self.admin)).output().is_ok_and(|output| output.status.success())
    }

    /// A command that succeeds when the process is ready.
    fn probe(&self, process: Process) -> Command {
        let ports = self.site.ports;
        match process {
            Process::Etcd => self.curl(&format!("https://127.0.0.1:{}/health", ports.etcd), Some(&self.etcd_client)),
            Process::ApiServer => self.curl(&format!("{}/readyz", self.site.api()), Some(&self.admin)),
            Process::ControllerManager => {
                self.curl(&format!("https://127.0.0.1:{}/healthz", ports.controller_manager), None)
            }
            Process::Scheduler => self.curl("https://127.0.0.1:10259/healthz", None),
            Process::Kubelet => self.curl("http://127.0.0.1:10248/healthz", None),
            Process::KubeProxy => self.curl("http://127.0.0.1:10256/healthz", None),
            Process::Containerd => {
                let mut command = self.site.command(self.site.binaries.path("ctr"));
                command.args(["--address", crate::node::CONTAINERD_SOCKET, "version"]);
                command
            }
        }
    }

    fn curl(&self, url: &str, identity: Option<&Identity>) -> Command {
        let mut command = self.site.command("curl");
        // A proxy that the environment names has no business between a test and its cluster.
        command.args(["--silent", "--fail", "--max-time", "5", "--noproxy", "*", "--cacert"]);
        command.arg(&self.authority_certificate);
        if let Some(identity) = identity {
            command.arg("--cert").arg(&identity.certificate).arg("--key").arg(&identity.key);
        }
        command.arg(url);
        command
    }

    fn check_alive(&self, process: Process) -> Result<()> {
        let mut daemon = self.daemon(process)?;
        if !daemon.started() {
            bail!("{process} was not started");
        }
        match daemon.exited() {
            Some(status) => bail!("{process} ended with {status}; its log ends with\n{}", daemon.tail()),
            None => Ok(()),
        }
    }

    fn tail(&self, process: Process) -> String {
        let tail = self.daemon(process).map(|daemon| daemon.tail()).unwrap_or_default();
        format!("the log of {process} ends with\n{tail}")
    }

    fn daemon(&self, process: Process) -> Result<MutexGuard<'_, Daemon>> {
        let daemon = self.daemons.get(&process).ok_or_else(|| anyhow!("this cluster has no {process}"))?;
        Ok(daemon.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_kubeconfig(&self, path: &Path, who: &Credential<'_>) -> Result<()> {
        kubeconfig::write(path, &self.site.api(), &self.authority_certificate, who)
    }

    /// The folder of this run, with logs and certificates.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// User names hold colons and slashes.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}
