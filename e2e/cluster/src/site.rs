//! Where a cluster's processes run: on the host's loopback, or inside a node's namespaces.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

use crate::binaries::Binaries;
use crate::daemon::dies_with_parent;

/// Below the ports that the kernel gives to outgoing connections, which could otherwise take a port between the kill of
/// an API server and its restart.
const CANDIDATES: std::ops::Range<u16> = 20_000..32_000;

/// The ports of a control plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub etcd: u16,
    pub etcd_peer: u16,
    pub api: u16,
    pub controller_manager: u16,
}

impl Ports {
    /// Those that everyone knows; a node has its network to itself.
    pub const USUAL: Self = Self { etcd: 2379, etcd_peer: 2380, api: 6443, controller_manager: 10257 };

    /// Four that nobody listens on now, and that no other cluster of this process was given.
    pub fn free() -> Result<Self> {
        static GIVEN: AtomicU32 = AtomicU32::new(0);
        let count = u32::from(CANDIDATES.end - CANDIDATES.start);
        // Processes that start together look in different places first.
        let first = std::process::id().wrapping_mul(97);
        let next = || -> Result<u16> {
            for _ in 0..count {
                let step = GIVEN.fetch_add(1, Ordering::Relaxed);
                let port = CANDIDATES.start + u16::try_from(first.wrapping_add(step) % count)?;
                if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Ok(port);
                }
            }
            bail!("no free port between {} and {} on 127.0.0.1", CANDIDATES.start, CANDIDATES.end)
        };
        Ok(Self { etcd: next()?, etcd_peer: next()?, api: next()?, controller_manager: next()? })
    }
}

/// Where a cluster's processes run, and how they are reached.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Where the API server listens.
    pub address: Ipv4Addr,
    pub ports: Ports,
    /// The first process of a node's namespaces, as the host sees it.
    pub inside: Option<u32>,
    pub binaries: Binaries,
    pub folder: PathBuf,
}

impl Site {
    /// The command line of a process that lives there until it is killed or the test ends.
    pub fn daemon(&self, program: &OsStr, arguments: &[String]) -> Vec<OsString> {
        let mut line = dies_with_parent();
        if let Some(first) = self.inside {
            line.extend(enter(first));
            // `nsenter` forks to get into the process namespace, so it is the parent whose end counts.
            line.extend(dies_with_parent());
        }
        line.push(program.to_owned());
        line.extend(arguments.iter().map(OsString::from));
        line
    }

    /// A command that runs there once.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.inside {
            Some(first) => {
                let line: Vec<OsString> = enter(first).into_iter().chain([program.as_ref().to_owned()]).collect();
                let mut command = Command::new(&line[0]);
                command.args(&line[1..]);
                command
            }
            None => Command::new(program),
        };
        command.current_dir("/");
        command
    }

    /// The API server's address.
    pub fn api(&self) -> String {
        format!("https://{}:{}", self.address, self.ports.api)
    }
}

fn enter(first: u32) -> Vec<OsString> {
    let target = first.to_string();
    ["nsenter", "--target", &target, "--mount", "--net", "--ipc", "--uts", "--pid", "--"].map(OsString::from).to_vec()
}
