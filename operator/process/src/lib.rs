//! What the processes in the cluster that never end share: they ask the API server, answer probes, and are told to end.

#![forbid(unsafe_code)]

pub mod api;
pub mod probes;

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Listens at a port on all addresses, 0 for any port.
///
/// # Errors
/// It is taken.
pub async fn listen(port: u16) -> Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        // A machine without IPv6.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.with_context(|| format!("port {port}")),
    }
}

/// Says true once the process is told to end, by SIGTERM or SIGINT.
///
/// # Errors
/// Signals cannot be caught.
pub fn told_to_end() -> Result<watch::Receiver<bool>> {
    let (tell, told) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending what was begun");
        _ = tell.send(true);
    });
    Ok(told)
}
