//! The agent's process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use realsyn_gpu_agent::agent::{self, Options, Shared};
use realsyn_gpu_agent::facts::Facts;
use realsyn_gpu_agent::metrics::Metrics;
use realsyn_gpu_agent::node::Rules;
use realsyn_gpu_agent::probes::Health;
use realsyn_gpu_agent::reader;
use realsyn_gpu_agent::writer::Writer;
use realsyn_process::probes::serve;
use tracing_subscriber::EnvFilter;

/// Watches the GPUs of one node and reports them as its GpuNode.
#[derive(Parser)]
#[command(version, about)]
struct Flags {
    /// The node.
    #[arg(long, env = "NODE_NAME", required_unless_present = "once")]
    node_name: Option<String>,
    /// The namespace of the node's Lease; by default its own.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// The driver's library.
    #[arg(long, env = "REALSYN_NVML", default_value = "libnvidia-ml.so.1")]
    nvml: PathBuf,
    /// The kernel's tree of devices.
    #[arg(long, default_value = "/sys")]
    sysfs: PathBuf,
    /// Kubelet's socket that tells which devices are held.
    #[arg(long, default_value = "/var/lib/kubelet/pod-resources/kubelet.sock")]
    podresources: PathBuf,
    /// Seconds between two looks at the driver and at kubelet. XIDs are seen within a second.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Seconds for which a fault must not be seen until a device is healthy again.
    #[arg(long, default_value_t = 600)]
    clean: u32,
    /// Seconds for which an allocation must last until it is reported.
    #[arg(long, default_value_t = 30)]
    hold: u32,
    /// Seconds after which a call into the driver counts as hanging. Without the driver's persistence mode the first call may
    /// take as long as the devices need to start.
    #[arg(long, default_value_t = 45)]
    nvml_deadline: u32,
    /// Seconds after which a call that hangs ends the process.
    #[arg(long, default_value_t = 300)]
    nvml_give_up: u32,
    /// The port of /livez, /readyz and /metrics.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Look once, print the status as YAML, and exit. Needs no cluster.
    #[arg(long)]
    once: bool,
    /// How logs are written. `RUST_LOG` says which.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

// One thread: the agent hardly does anything, and threads cost memory.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match flags.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    let options = options(&flags);
    match flags.node_name {
        Some(node) if !flags.once => watch_node(options, &node, flags.lease_namespace, flags.port).await,
        _ => print_once(options).await,
    }
}

fn options(flags: &Flags) -> Options {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Options {
        reader: reader::Options { library: flags.nvml.clone(), sysfs: flags.sysfs.clone() },
        podresources: flags.podresources.clone(),
        every: seconds(flags.every),
        deadline: seconds(flags.nvml_deadline),
        give_up: seconds(flags.nvml_give_up),
        rules: Rules {
            clean: SignedDuration::from_secs(flags.clean.into()),
            hold: SignedDuration::from_secs(flags.hold.into()),
        },
    }
}

async fn watch_node(options: Options, node: &str, namespace: Option<String>, port: u16) -> Result<()> {
    let config =
        kube::Config::infer().await.context("finding the API server: neither a pod's account nor a kubeconfig")?;
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = realsyn_process::api::client(config)?;
    let listener = realsyn_process::listen(port).await?;
    let shared = Arc::new(Shared { health: Arc::new(Health::default()), metrics: Arc::new(Metrics::default()) });
    let writer = Writer::new(client, node, &namespace, shared.health.clone(), shared.metrics.clone());
    tokio::spawn(serve(listener, shared.clone()));

    let stop = realsyn_process::told_to_end()?;
    agent::run(options, writer, shared, stop).await
}

async fn print_once(options: Options) -> Result<()> {
    let (facts, status) = agent::once(options).await?;
    println!("{}", serde_saphyr::to_string(&status).context("writing the status as YAML")?.trim_end());
    print_readings(&facts);
    Ok(())
}

/// What goes to the metrics otherwise, as comments, so that what is printed stays YAML.
fn print_readings(facts: &Facts) {
    for device in facts.devices.iter().flatten() {
        let (name, pci) = (device.name.as_deref().unwrap_or("?"), device.pci.as_deref().unwrap_or("?"));
        println!("# {name} at {pci}: {:?} {:?}", device.readings, device.faults);
    }
    for failure in &facts.failures {
        println!("# {} of device {:?}: {}", failure.call, failure.device, failure.error);
    }
}
