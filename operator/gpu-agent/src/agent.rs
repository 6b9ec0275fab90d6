//! The loop: orders a look or the XIDs, asks kubelet, and hands on the status that follows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use realsyn_crds::GpuNodeStatus;
use realsyn_process::probes::Probes;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::facts::Facts;
use crate::kubelet;
use crate::metrics::Metrics;
use crate::node::{Node, Rules};
use crate::probes::Health;
use crate::reader::{self, Answer, Order, Reader};
use crate::writer::{Writer, now};
use crate::xid;

/// XIDs are asked for, and the driver's silence is judged, so often.
const BEAT: Duration = Duration::from_secs(1);
/// A request that is under way when the process ends.
const ENDING: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How the agent looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the driver's library and the kernel's tree are.
    pub reader: reader::Options,
    /// Kubelet's socket.
    pub podresources: PathBuf,
    /// How often the driver is looked at and kubelet asked.
    pub every: Duration,
    /// A call that takes longer is reported.
    pub deadline: Duration,
    /// A call that takes longer ends the process.
    pub give_up: Duration,
    /// How the node is judged.
    pub rules: Rules,
}

/// What the loop shares with the rest of the process.
pub struct Shared {
    /// For `/livez` and `/readyz`.
    pub health: Arc<Health>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
}

impl Probes for Shared {
    fn wedged(&self) -> Option<String> {
        self.health.wedged()
    }

    fn unready(&self) -> Option<String> {
        self.health.unready()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }
}

/// Runs until told to stop, or until a call into the driver has hung for too long.
pub async fn run(
    options: Options,
    mut writer: Writer,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let previous = tokio::select! {
        previous = previous(&mut writer, &shared.health) => previous,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    let reader = Reader::start(options.reader.clone()).context("starting a thread for NVML")?;
    let node = Node::new(options.rules, previous, booted());
    let next_look = Instant::now();
    let mut agent = Agent { options, shared, reader, node, kubelet: None, stuck: None, next_look };
    let (statuses, latest) = watch::channel(GpuNodeStatus::default());
    // The first look comes before the first write: what nobody has seen is not reported.
    let mut writer = Some(writer);
    let mut writing = None;
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        let news = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            _ = beat.tick() => agent.beat(),
            answer = agent.reader.answer() => agent.answer(answer).await,
        };
        match news {
            Ok(false) => continue,
            Ok(true) => {
                let new = agent.node.status();
                statuses.send_if_modified(|old| {
                    *old != new && {
                        *old = new;
                        true
                    }
                });
            }
            Err(error) => break Err(error),
        }
        if let Some(writer) = writer.take() {
            writing = Some(tokio::spawn(writer.run(latest.clone(), stop.clone())));
        }
    };
    drop(statuses);
    if let Some(writing) = writing {
        // A request that is under way may end; one that does not is left.
        _ = tokio::time::timeout(ENDING, writing).await;
    }
    outcome
}

/// One look, for people.
pub async fn once(options: Options) -> Result<(Facts, GpuNodeStatus)> {
    let mut reader = Reader::start(options.reader.clone()).context("starting a thread for NVML")?;
    let mut node = Node::new(options.rules, None, None);
    reader.order(Order::Look);
    let answer = tokio::time::timeout(options.give_up, reader.answer()).await;
    let Ok(answer) = answer else {
        let call = reader.progress().map_or("the thread for NVML", |(call, _)| call);
        bail!("{call} has not returned for {} s", options.give_up.as_secs());
    };
    let Some(Answer::Looked(facts)) = answer else { bail!("the thread for NVML has died") };
    node.look(&facts, now());
    match kubelet::held(&options.podresources).await {
        Ok(ids) => node.allocated(Some(ids), now()),
        Err(error) => tracing::info!(%error, "allocation is not known"),
    }
    Ok((*facts, node.status()))
}

struct Agent {
    options: Options,
    shared: Arc<Shared>,
    reader: Reader,
    node: Node,
    // Whether kubelet answered last time, so that only changes are logged.
    kubelet: Option<bool>,
    // The call that hangs.
    stuck: Option<Instant>,
    next_look: Instant,
}

impl Agent {
    /// A beat: what is due is ordered, and a call that hangs is noticed. True if there is news.
    fn beat(&mut self) -> Result<bool> {
        self.shared.health.beat();
        let look = Instant::now() >= self.next_look;
        self.reader.order(if look { Order::Look } else { Order::Events });
        let Some((call, begun)) = self.reader.progress() else { return Ok(false) };
        let hung = begun.elapsed();
        if hung > self.options.give_up {
            bail!("{call} has not returned for {} s; only another process can use the driver", hung.as_secs());
        }
        let begun = Instant::from_std(begun);
        if hung <= self.options.deadline || self.stuck == Some(begun) {
            return Ok(false);
        }
        tracing::error!(call, seconds = hung.as_secs(), "a call into the driver does not return");
        self.stuck = Some(begun);
        let since = SignedDuration::try_from(hung).map_or_else(|_| now(), |hung| now() - hung);
        self.node.stuck(call, since, now());
        // A driver that nobody could look at yet is also a finding.
        self.shared.health.looked();
        Ok(true)
    }

    /// What the thread answered. True if there is news.
    async fn answer(&mut self, answer: Option<Answer>) -> Result<bool> {
        match answer {
            Some(Answer::Looked(facts)) => {
                self.next_look = Instant::now() + self.options.every;
                for failure in &facts.failures {
                    tracing::debug!(call = failure.call, device = failure.device, error = failure.error, "NVML");
                }
                self.node.look(&facts, now());
                self.ask_kubelet().await;
                self.shared.metrics.looked(&facts, &self.node.status());
                self.shared.health.looked();
                Ok(true)
            }
            Some(Answer::Xids(xids)) => {
                for &(index, number) in &xids {
                    self.xid(index, number);
                }
                Ok(!xids.is_empty())
            }
            None => bail!("the thread for NVML has died"),
        }
    }

    fn xid(&mut self, index: u32, number: u64) {
        let (uuid, product) = self.node.label(index).unwrap_or_default();
        let about = xid::entry(number).map_or("not in the catalogue", |entry| entry.about);
        tracing::warn!(xid = number, device = uuid, class = ?xid::class(number), "{about}");
        self.shared.metrics.xid(uuid, product, number);
        self.node.xid(index, number, now());
    }

    async fn ask_kubelet(&mut self) {
        let answer = kubelet::held(&self.options.podresources).await;
        match &answer {
            Ok(_) if self.kubelet != Some(true) => tracing::info!("kubelet tells which devices are held"),
            Err(error) if self.kubelet != Some(false) => tracing::warn!(%error, "allocation is not known"),
            _ => {}
        }
        if answer.is_err() {
            self.shared.metrics.kubelet_errors.inc();
        }
        self.kubelet = Some(answer.is_ok());
        self.node.allocated(answer.ok(), now());
    }
}

/// What an earlier agent wrote, as soon as the API server answers.
async fn previous(writer: &mut Writer, health: &Health) -> Option<GpuNodeStatus> {
    let mut retry = FIRST_RETRY;
    loop {
        health.beat();
        match writer.previous().await {
            Ok(previous) => return previous,
            Err(error) => {
                tracing::warn!(%error, "will be tried again in {} s", retry.as_secs());
                health.wrote(Err(error.to_string()));
            }
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// When the machine started.
fn booted() -> Option<Timestamp> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}
