//! The Linux namespaces of a node, and the cable from the host into them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::daemon::{children, dies_with_parent, spawn};
use crate::wait::until;

/// The host's end of the cable.
const CABLE: &str = "realsyn-host";
const CABLE_INSIDE: &str = "realsyn-node";
const SOON: Duration = Duration::from_secs(20);

/// Process, mount, network, IPC and host name namespaces, held by their first process. When that dies, the kernel kills
/// every process inside and undoes every mount.
pub(crate) struct Namespaces {
    holder: Child,
    first: u32,
}

impl Namespaces {
    /// Makes them with `first` as their first process, which has to reap children and do nothing else, and lays the cable.
    pub fn create(first: &Path, host: &str) -> Result<Self> {
        let mut line = dies_with_parent();
        line.extend(
            ["unshare", "--pid", "--fork", "--mount", "--net", "--ipc", "--uts", "--mount-proc"].map(Into::into),
        );
        line.extend(["--propagation", "private", "--kill-child=KILL"].map(Into::into));
        line.push(first.into());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        let holder = spawn(command).context("starting unshare")?;
        let mut namespaces = Self { holder, first: 0 };

        let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
        until(SOON, "the node's namespaces", || {
            if let Some(status) = namespaces.holder.try_wait()? {
                bail!("unshare ended with {status}; a node needs root and a kernel that allows namespaces");
            }
            // Only when it runs the program itself are /proc and the mounts as they should be.
            let ready = children(namespaces.holder.id())
                .first()
                .copied()
                .filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name));
            namespaces.first = ready.unwrap_or(0);
            Ok(ready.is_some())
        })?;

        let inside = namespaces.first.to_string();
        ip(&["link", "add", CABLE, "type", "veth", "peer", "name", CABLE_INSIDE, "netns", &inside])?;
        ip(&["addr", "add", &format!("{host}/24"), "dev", CABLE])?;
        ip(&["link", "set", CABLE, "up"])?;
        Ok(namespaces)
    }

    /// The first process, as the host sees it.
    pub fn first(&self) -> u32 {
        self.first
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // `--kill-child`: the first process dies with `unshare`, and everything inside with the first process.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let first = Path::new("/proc").join(self.first.to_string());
        let _ = until(SOON, "the node's processes to end", || Ok(!first.exists()));
        remove_cable();
    }
}

/// Removes the cable, if there is one: the kernel removes it with the network namespace, but takes its time.
pub(crate) fn remove_cable() {
    if Path::new("/sys/class/net").join(CABLE).exists() {
        // The kernel may be faster.
        let _ = ip(&["link", "delete", CABLE]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("starting ip (Debian package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
