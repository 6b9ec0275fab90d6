//! The S3 server as a child process of a test.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, ensure};

/// A running `s3-server`. It is killed when this is dropped, and ends by itself when the test's process dies.
#[derive(Debug)]
pub struct S3Server {
    dir: PathBuf,
    keys: bool,
    address: SocketAddr,
    child: Child,
}

impl S3Server {
    /// The one bucket there is.
    pub const BUCKET: &'static str = "bucket";
    /// Access key of a server that wants one.
    pub const ACCESS_KEY: &'static str = "test-access-key";
    /// Its secret half.
    pub const SECRET_KEY: &'static str = "test-secret-key";

    /// Serves `dir`, in which the bucket is made, to those who sign with the keys above.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::launch(dir, true, Ipv4Addr::LOCALHOST)
    }

    /// As [`start`](Self::start), on another address of this machine.
    pub fn start_on(dir: &Path, address: Ipv4Addr) -> anyhow::Result<Self> {
        Self::launch(dir, true, address)
    }

    /// Serves `dir` to anyone; requests must be unsigned.
    pub fn start_open(dir: &Path) -> anyhow::Result<Self> {
        Self::launch(dir, false, Ipv4Addr::LOCALHOST)
    }

    fn launch(dir: &Path, keys: bool, address: Ipv4Addr) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join(Self::BUCKET)).with_context(|| format!("cannot make {}", dir.display()))?;
        let (child, port) = spawn(dir, keys, (address, 0).into())?;
        Ok(Self { dir: dir.to_owned(), keys, address: (address, port).into(), child })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a client's endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Kills it at once, whatever it is doing.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Kills it and starts it again on the same port with the same objects.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.child = spawn(&self.dir, self.keys, self.address)?.0;
        Ok(())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

fn spawn(dir: &Path, keys: bool, address: SocketAddr) -> anyhow::Result<(Child, u16)> {
    let mut command = Command::new(binary("s3-server")?);
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    command.args(["--attached", "--address", &ip, "--port", &port]);
    if keys {
        command.args(["--access-key", S3Server::ACCESS_KEY, "--secret-key", S3Server::SECRET_KEY]);
    }
    let mut child = command.arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    let told = serde_json::from_str::<serde_json::Value>(&line).ok();
    let Some(port) = told.and_then(|told| told["port"].as_u64()).and_then(|port| u16::try_from(port).ok()) else {
        let status = child.wait()?;
        anyhow::bail!("s3-server did not start on {address}: {status}, {line:?}");
    };
    Ok((child, port))
}

/// A binary of this workspace. It lies above the tests' own folder; a test run of a single crate does not build it, so
/// then it is built here.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let this = std::env::current_exe()?;
    let folder = this.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("no target folder")?;
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--bin", name, "--target-dir"])
        .arg(folder.parent().context("no target folder")?)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(status.success() && path.exists(), "cargo build ended with {status}, and {} is needed", path.display());
    Ok(path)
}
