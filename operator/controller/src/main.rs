//! The controller's process.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use realsyn_controller::context::Options;
use realsyn_controller::run::{Process, run};
use realsyn_objects::server;
use realsyn_telemetry::Format;

/// Runs RealSynBuilds and RealSynReleases as Jobs.
#[derive(Parser)]
#[command(version, about)]
struct Flags {
    /// The image of workers, for generations that begin from now on.
    #[arg(long, env = "REALSYN_WORKER_IMAGE")]
    worker_image: String,
    /// Look at this namespace alone.
    #[arg(long, env = "REALSYN_NAMESPACE")]
    namespace: Option<String>,
    /// The most pods at once in a namespace, over all its builds.
    #[arg(long, default_value_t = 3000)]
    max_pods: u32,
    /// Objects that are reconciled at once.
    #[arg(long, default_value_t = 8)]
    concurrency: u16,
    /// About how long an object of which nothing is told goes without a look, in case a watch has missed something.
    #[arg(long, default_value_t = 600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    resync: u64,
    /// The port of /livez, /readyz and /metrics.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The namespace of the Lease by which several processes agree on one that writes; by default its own.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// What this process calls itself in the Lease, where a random number follows; by default the pod's name.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Run without a Lease, as the only process.
    #[arg(long)]
    no_lease: bool,
    /// Watch nodes and their GPUs: say where stages fit, and keep devices in quarantine free of work.
    #[arg(long, conflicts_with = "namespace")]
    gpus: bool,
    /// Leave nodes in quarantine without a taint.
    #[arg(long, requires = "gpus")]
    no_taints: bool,
    /// The namespace in which the GPU agents renew their Leases: what one that is silent said last is not believed.
    #[arg(long, requires = "gpus")]
    gpu_agents_namespace: Option<String>,
    /// Ask Kueue, where it is installed, why Jobs of queues wait.
    #[arg(long)]
    kueue: bool,
    /// How logs are written. `RUST_LOG` says which.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// A file that says which, in place of `RUST_LOG`; its changes are seen within seconds.
    #[arg(long, value_name = "FILE")]
    log_filter_file: Option<PathBuf>,
    /// Where workers send their spans: a collector of OTLP over HTTP. Its own the controller sends to
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[arg(long, value_name = "URL")]
    worker_otlp_endpoint: Option<String>,
    /// The image of the language model's server beside workers of `generate` on GPUs: vLLM's.
    #[arg(long, env = "REALSYN_SERVER_IMAGE", default_value = "vllm/vllm-openai:v0.11.0")]
    server_image: String,
    /// How long that server may leave a worker without an answer, its start included; by default the model's size says.
    #[arg(long, value_name = "SECONDS")]
    server_patience: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

#[tokio::main]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let _telemetry = realsyn_telemetry::start(realsyn_telemetry::Options {
        service: "realsyn-controller",
        format: match flags.log_format {
            LogFormat::Json => Format::Json,
            LogFormat::Text => Format::Text,
        },
        filter: "info",
        filter_file: flags.log_filter_file,
        tail: None,
    });

    let config =
        kube::Config::infer().await.context("finding the API server: neither a pod's account nor a kubeconfig")?;
    let lease_namespace = flags.lease_namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = realsyn_process::api::client(config)?;
    let listener = realsyn_process::listen(flags.port).await?;
    // A container that is started anew is another process, and has its pod's name again.
    let identity = flags.identity.unwrap_or_else(|| format!("process-{}", std::process::id()));
    let identity = format!("{identity}_{:016x}", RandomState::new().hash_one(&identity));
    let lease = (!flags.no_lease).then_some((lease_namespace, identity));
    let options = Options {
        worker_image: flags.worker_image,
        namespace: flags.namespace,
        max_pods: flags.max_pods,
        concurrency: flags.concurrency.max(1),
        resync: Duration::from_secs(flags.resync),
        gpus: flags.gpus,
        taint_nodes: !flags.no_taints,
        kueue: flags.kueue,
        agents_namespace: flags.gpu_agents_namespace,
        worker_otlp_endpoint: flags.worker_otlp_endpoint.filter(|endpoint| !endpoint.is_empty()),
        server: server::Settings { image: flags.server_image, patience: flags.server_patience },
    };

    let stop = realsyn_process::told_to_end()?;
    run(client, options, Process { listener, lease }, stop).await
}
