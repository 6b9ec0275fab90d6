//! The controller as its own process, and what the kernel says of it.

use std::fmt::{self, Display};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// What the kernel says of a process's memory, in MiB.
pub struct Memory {
    pub resident: f64,
    /// What of it is not the program's file.
    pub own: f64,
    /// The most that was ever resident.
    pub peak: f64,
}

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} MiB, {:.0} of them its own, peak {:.0}", self.resident, self.own, self.peak)
    }
}

/// A running controller. It ends with this.
pub struct Binary {
    child: Child,
    port: u16,
    /// From its start until it was ready.
    pub started_in: Duration,
}

impl Binary {
    /// Starts it, without a Lease and for all namespaces, and waits until its caches are filled.
    pub async fn start(kubeconfig: &Path) -> Result<Self> {
        Self::start_with(kubeconfig, &[]).await
    }

    /// The same with more flags.
    pub async fn start_with(kubeconfig: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_in(kubeconfig, flags, &[]).await
    }

    /// The same in this environment.
    pub async fn start_in(kubeconfig: &Path, flags: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_realsyn-controller"))
            .args(["--worker-image", "registry.example.org/realsyn/worker:1", "--no-lease"])
            .args(["--port", &port.to_string(), "--log-format", "text"])
            .args(flags)
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_LOG", "warn")
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting the controller")?;
        let mut binary = Self { child, port, started_in: Duration::ZERO };
        while !binary.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            ensure!(began.elapsed() < Duration::from_secs(300), "the controller does not become ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        binary.started_in = began.elapsed();
        Ok(binary)
    }

    async fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let text = self.get("/metrics").await?;
        Ok(text.lines().filter(|l| l.starts_with(name)).filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Waits until it has reconciled so often, and then reconciles no more.
    pub async fn settle(&self, reconciles: u64) -> Result<()> {
        let began = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now = self.metric("realsyn_controller_reconciles_total").await?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if now >= reconciles && since.elapsed() > Duration::from_secs(2) {
                return Ok(());
            }
            ensure!(began.elapsed() < Duration::from_secs(300), "{now} reconciles of {reconciles}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// In MiB.
    pub fn memory(&self) -> Result<Memory> {
        let id = self.child.id().context("the controller has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).with_context(|| format!("no {name}"))?;
            let kilobytes: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
            Ok::<_, anyhow::Error>(kilobytes / 1024.0)
        };
        Ok(Memory { resident: field("VmRSS:")?, own: field("RssAnon:")?, peak: field("VmHWM:")? })
    }

    /// Ends it.
    pub async fn end(mut self) -> Result<()> {
        self.child.kill().await.context("ending the controller")
    }
}
