//! What a user types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use realsyn_plan::Id;

use crate::target::Target;

/// How far builds and releases are, why they wait, and what to do about it.
#[derive(Parser)]
#[command(name = "kubectl realsyn", bin_name = "kubectl realsyn", version, arg_required_else_help = true)]
pub struct Flags {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the API server is, as kubectl takes it.
#[derive(Args)]
pub struct ClusterFlags {
    /// The namespace, in place of the context's
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig, in place of the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig, in place of $KUBECONFIG and ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Show how far a build or release is, and why not further
    Status(StatusArgs),
    /// Show what a build file would run on this cluster, what is sealed, and why
    Plan(PlanArgs),
    /// Tell everything about one image or sentence of a build
    Explain {
        /// Its id: 32 hexadecimal digits
        id: Id,
        /// Of which build
        #[command(flatten)]
        build: OfBuild,
        /// How the pod is run
        #[command(flatten)]
        pod: PodArgs,
    },
    /// Say which releases of the namespace hold an image, a sentence or anything of a document
    Affected {
        /// Its id: 32 hexadecimal digits
        id: Id,
        /// How the pods are run
        #[command(flatten)]
        pod: PodArgs,
    },
    /// Print the logs of a stage's pods, and how they ended
    Logs(LogsArgs),
    /// Leave out a shard that does not go through
    Reject {
        /// Which shard
        #[command(flatten)]
        shard: ShardArgs,
        /// Why, in a few words: it stands in the report and in the status
        reason: String,
        /// Of which build
        #[command(flatten)]
        build: OfBuild,
        /// How the pod is run
        #[command(flatten)]
        pod: PodArgs,
    },
    /// Run a shard again: its commit no longer counts
    Forget {
        /// Which shard
        #[command(flatten)]
        shard: ShardArgs,
        /// Of which build
        #[command(flatten)]
        build: OfBuild,
        /// How the pod is run
        #[command(flatten)]
        pod: PodArgs,
    },
    /// Remove from a build's store what no build and no release names any more
    Gc {
        /// Whose store
        #[command(flatten)]
        build: OfBuild,
        /// Show what would go and what stays; remove nothing
        #[arg(long)]
        dry_run: bool,
        /// How the pod is run
        #[command(flatten)]
        pod: PodArgs,
    },
    /// Try again at once what has failed
    Retry(Named),
    /// Stop the pods of a build; what is committed stays
    Suspend {
        /// The build
        name: Target,
    },
    /// Let a suspended build go on
    Resume {
        /// The build
        name: Target,
    },
    /// Print the version of this program and of the API that it speaks
    Version,
}

/// A build, or a release.
#[derive(Args)]
pub struct Named {
    /// A build, or release/NAME
    pub name: Target,
    /// NAME is a release
    #[arg(short, long)]
    pub release: bool,
}

/// Which build a command is about.
#[derive(Args)]
pub struct OfBuild {
    /// The build
    #[arg(short, long, value_name = "NAME")]
    pub build: String,
}

/// How to show a status.
#[derive(Args)]
pub struct StatusArgs {
    /// What to show
    #[command(flatten)]
    pub named: Named,
    /// Show it again whenever it changes, until it is Ready
    #[arg(short, long)]
    pub watch: bool,
    /// Print it for programs
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Tell GPU-hours and cost that are to come, too: a pod reads in the build's store what was measured
    #[arg(long, conflicts_with = "watch")]
    pub forecast: bool,
    /// What GPUs cost, and where they are
    #[command(flatten)]
    pub gpus: GpuArgs,
    /// How the pod of --forecast is run
    #[command(flatten)]
    pub pod: PodArgs,
}

/// Formats for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One JSON object; with --watch one a line
    Json,
}

/// What to plan.
#[derive(Args)]
pub struct PlanArgs {
    /// A file with RealSynBuild and RealSynRelease documents; may be given more than once
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Name every node that does not fit
    #[arg(long)]
    pub all: bool,
    /// What GPUs cost, and where they are
    #[command(flatten)]
    pub gpus: GpuArgs,
    /// How the pod is run
    #[command(flatten)]
    pub pod: PodArgs,
}

/// What GPUs cost, and who tells of them.
#[derive(Args)]
pub struct GpuArgs {
    /// What an hour of a GPU costs, for example A100-80GB=2.5, before what the namespace's annotation realsyn.dev/gpu-prices
    /// says; may be given more than once
    #[arg(long = "price", value_name = "PRODUCT=COST", value_parser = price)]
    pub prices: Vec<(String, f64)>,
    /// The namespace of the GPU agents, in place of that of the DaemonSet realsyn-gpu-agent
    #[arg(long, value_name = "NAMESPACE")]
    pub agents: Option<String>,
}

/// Reads a price: `A100-80GB=2.5`.
///
/// # Errors
/// A product that nobody knows, and a cost that is none.
pub fn price(text: &str) -> Result<(String, f64), String> {
    let (product, cost) = text.split_once('=').ok_or("a price is written PRODUCT=COST, for example A100-80GB=2.5")?;
    if realsyn_plan::placement::Product::parse(product).is_none() {
        return Err(format!("`{product}` names no product; products are written as in `gpu.products`"));
    }
    let cost: f64 = cost.parse().map_err(|_| format!("`{cost}` is no number"))?;
    if !(cost.is_finite() && cost >= 0.0) {
        return Err(format!("a GPU cannot cost {cost}"));
    }
    Ok((product.to_owned(), cost))
}

/// How a pod that reads the store is run.
#[derive(Args, Clone, Debug)]
pub struct PodArgs {
    /// The worker image, in place of the one that the build works with
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Seconds that the pod may take until it runs
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
}

/// A shard of a step.
#[derive(Args)]
pub struct ShardArgs {
    /// The step, as stage/step, for example documents/extract
    pub step: String,
    /// The number of the shard, as errors and statuses name it
    pub shard: u32,
}

/// Whose logs.
#[derive(Args)]
pub struct LogsArgs {
    /// The stage; `advance` for the looks at the store
    pub stage: String,
    /// The build
    #[arg(short, long, value_name = "NAME", required_unless_present = "release")]
    pub build: Option<String>,
    /// The release, in place of a build
    #[arg(short, long, value_name = "NAME", conflicts_with = "build")]
    pub release: Option<String>,
    /// Only pods that failed
    #[arg(long)]
    pub failed: bool,
    /// Only this task
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// Lines of each log, from its end; by default 200 of a pod's, and all that the store keeps
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u32>,
    /// What failed tasks left in the store, also while there are pods
    #[arg(long)]
    pub kept: bool,
    /// The pod that reads them there
    #[command(flatten)]
    pub pod: PodArgs,
}
