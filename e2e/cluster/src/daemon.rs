//! One long-running process: started with a log file, killed at any time, never left behind.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How much of a log an error shows.
const TAIL_LINES: usize = 15;

/// A command with its log file, running or not.
pub(crate) struct Daemon {
    command: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    pub fn new(command: Vec<OsString>, log: PathBuf) -> Self {
        Self { command, log, child: None }
    }

    /// Starts the process unless it runs.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() && self.exited().is_none() {
            return Ok(());
        }
        let log = fs::File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        self.child = Some(spawn(command).with_context(|| format!("starting {:?}", self.command))?);
        Ok(())
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Ok(None) = child.try_wait() {
            // Inside namespaces the child is `nsenter`, and the process is the child of that: it has to be gone too, with
            // its ports and locks, before another can start. `nsenter` ends when its child does.
            for inner in children(child.id()) {
                kill_pid(inner);
            }
            if children(child.id()).is_empty() {
                let _ = child.kill();
            }
        }
        let _ = child.wait();
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Whether it was started and not killed.
    pub fn started(&self) -> bool {
        self.child.is_some()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What makes a process die with the test: the kernel kills it when the thread that started it ends, see [`spawn`].
pub(crate) fn dies_with_parent() -> Vec<OsString> {
    ["setpriv", "--pdeathsig", "KILL", "--"].map(OsString::from).to_vec()
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as this process. `PR_SET_PDEATHSIG` is about the parent *thread*:
/// started from the thread of the test that came first, a cluster shared by several tests would die with that test. The
/// process gets a group of its own, so that Ctrl-C in a terminal reaches only the test, which then ends it in order.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    command.process_group(0);
    let (reply, answer) = sync_channel(1);
    SPAWNER.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

/// The ids of the processes that `pid`'s first thread started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

fn kill_pid(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        let _ = kill_process(pid, Signal::KILL);
    }
}
