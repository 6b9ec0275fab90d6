//! `cluster up`: a cluster for a person to play with, until Ctrl-C.

use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use realsyn_cluster::{ControlPlane, HOST_ADDRESS, Node, Options};

#[derive(Parser)]
#[command(about = "A real Kubernetes for end-to-end tests")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts a cluster, prints where its kubeconfig is, and ends it at Ctrl-C.
    Up {
        /// Without a node: no root needed, and no pod runs.
        #[arg(long)]
        control_plane_only: bool,
        /// Image archives that the node gets.
        #[arg(long = "image", conflicts_with = "control_plane_only")]
        images: Vec<std::path::PathBuf>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Command::Up { control_plane_only, images } = Arguments::parse().command;
    let began = Instant::now();
    let options = Options::default();
    if control_plane_only {
        let plane = ControlPlane::start(&options)?;
        announce(&plane, began);
        until_told_to_end().await
    } else {
        let node = Node::start(&options)?;
        images.iter().try_for_each(|archive| node.import_image(archive))?;
        announce(node.control_plane(), began);
        println!("pods reach this machine at {HOST_ADDRESS}");
        until_told_to_end().await
    }
}

fn announce(plane: &ControlPlane, began: Instant) {
    eprintln!(
        "ready after {:.1} s; logs are in {}; Ctrl-C ends it",
        began.elapsed().as_secs_f32(),
        plane.folder().display()
    );
    println!("export KUBECONFIG={}", plane.kubeconfig().display());
}

async fn until_told_to_end() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}
