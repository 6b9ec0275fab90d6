//! The server as a process, with the command line of vLLM, as far as the operator uses it.

#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use realsyn_chat::ChatServer;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
enum Command {
    /// Serves a model until it is ended.
    Serve(Serve),
}

#[derive(Parser)]
struct Serve {
    /// The model's folder.
    model: PathBuf,
    #[arg(long)]
    served_model_name: String,
    #[arg(long)]
    host: IpAddr,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    dtype: String,
    #[arg(long)]
    load_format: String,
    #[arg(long)]
    max_model_len: u32,
    #[arg(long)]
    tensor_parallel_size: u32,
    #[arg(long)]
    gpu_memory_utilization: f32,
    #[arg(long)]
    seed: u32,
    #[arg(long)]
    enable_prefix_caching: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Command::Serve(asked) = Command::parse();
    eprintln!(
        "{} in {} ({}) over {} GPUs, {} tokens, {} of the memory, prefixes cached: {}, seed {}",
        asked.model.display(),
        asked.dtype,
        asked.load_format,
        asked.tensor_parallel_size,
        asked.max_model_len,
        asked.gpu_memory_utilization,
        asked.enable_prefix_caching,
        asked.seed,
    );
    let server = ChatServer::start((asked.host, asked.port).into(), &asked.model, &asked.served_model_name)?;
    eprintln!("serves {} at {}", asked.served_model_name, server.address());
    // The first process of a container gets no default for it.
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}
