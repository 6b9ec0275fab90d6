//! Waiting for a pod, passing on what it prints, and learning how it ended.

use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{AsyncReadExt, Stream, TryStreamExt};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use realsyn_objects::text::sentence;
use tokio::time::{Instant, timeout_at};

use super::look::{End, Look, look};
use crate::cluster::Cluster;
use crate::errors::{Asked, Explained};

/// What takes a pod's output.
pub type Sink<'a> = dyn FnMut(&[u8]) -> std::io::Result<()> + 'a;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The worker's exit code.
    pub code: u8,
    /// Its last words.
    pub message: String,
    /// Why what it printed could not be passed on, if so.
    pub untold: Option<String>,
}

impl Ended {
    /// How it ended, as the rest of a sentence.
    pub fn reason(&self) -> String {
        match (self.code, self.message.as_str()) {
            (0, _) => "; the command itself ended well".to_owned(),
            (code, "") => format!("; the command ended with {code}"),
            (code, message) => format!("; the command ended with {code}: {message}"),
        }
    }
}

type Changes<'a> = Pin<&'a mut (dyn Stream<Item = watcher::Result<Option<Pod>>> + Send + 'a)>;

/// Follows a pod from its creation to its end.
///
/// # Errors
/// It is stuck, does not start within `patience`, or is deleted by somebody; rights that are missing.
pub async fn follow(cluster: &Cluster, pod: &Pod, patience: Duration, sink: &mut Sink<'_>) -> Result<Ended> {
    let name = pod.name_any();
    let mut changes = pin!(watch_object(cluster.api::<Pod>(), &name).default_backoff());
    let mut changes: Changes = changes.as_mut();
    let mut ended = started(cluster, &mut changes, &name, patience).await?;
    let told = pass_on(cluster, &name, sink).await;
    while ended.is_none() {
        if let Look::Ended(end) = next(cluster, &mut changes, &name).await? {
            ended = Some(end);
        }
    }
    let End { code, message } = ended.expect("the loop ends with it");
    let untold = match told {
        Err(why) => Some(format!("what the pod {name} printed cannot be read: {why:#}")),
        Ok(0) if code != 0 => Some(format!("the pod {name} printed nothing")),
        Ok(_) => None,
    };
    Ok(Ended { code, message, untold })
}

/// Waits until the pod runs, or has ended already.
async fn started(cluster: &Cluster, changes: &mut Changes<'_>, name: &str, patience: Duration) -> Result<Option<End>> {
    let deadline = Instant::now() + patience;
    let mut told = None;
    loop {
        let Ok(seen) = timeout_at(deadline, next(cluster, changes, name)).await else {
            let why = match told {
                Some(why) => why,
                None => last_event(cluster, name).await.unwrap_or_else(|| "nothing says what it waits for".to_owned()),
            };
            bail!(
                "the pod {name} did not start within {} s: {why}. Mend that, or give it longer with --timeout",
                patience.as_secs()
            );
        };
        match seen? {
            Look::Runs => return Ok(None),
            Look::Ended(end) => return Ok(Some(end)),
            Look::Stuck(why) => bail!("the pod {name} cannot start: {why}{}", hint(&why)),
            Look::Waits(Some(why)) if told.as_ref() != Some(&why) => {
                eprintln!("the pod {name} waits: {why}");
                told = Some(why);
            }
            Look::Waits(_) => {}
        }
    }
}

fn hint(why: &str) -> &'static str {
    if why.contains("Image") { ". The image is that of the build's generation; --image takes another" } else { "" }
}

async fn next(cluster: &Cluster, changes: &mut Changes<'_>, name: &str) -> Result<Look> {
    let asked = |verb| Asked::new(verb, "pods", &cluster.namespace);
    loop {
        match changes.try_next().await {
            Ok(Some(Some(pod))) => return Ok(look(&pod)),
            Ok(Some(None)) => bail!("the pod {name} was deleted by somebody before it had ended"),
            Ok(None) => bail!("the watch on the pod {name} ended"),
            Err(watcher::Error::InitialListFailed(e @ kube::Error::Api(_))) => return Err(asked("list").error(e)),
            Err(watcher::Error::WatchStartFailed(e @ kube::Error::Api(_))) => return Err(asked("watch").error(e)),
            // The watch is taken up again, ever later.
            Err(_) => {}
        }
    }
}

/// Passes the pod's log on as it grows, to its end. Returns its length.
async fn pass_on(cluster: &Cluster, name: &str, sink: &mut Sink<'_>) -> Result<usize> {
    let whole = LogParams { follow: true, ..LogParams::default() };
    let log = cluster.api::<Pod>().log_stream(name, &whole).await;
    let mut log = pin!(log.explained(&Asked::new("get", "pods/log", &cluster.namespace))?);
    let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
    loop {
        let n = log.read(&mut buffer).await.context("the log broke off")?;
        if n == 0 {
            return Ok(passed);
        }
        sink(&buffer[..n]).context("writing what the pod prints")?;
        passed += n;
    }
}

/// The last warning about a pod: a volume that cannot be mounted is told nowhere else.
async fn last_event(cluster: &Cluster, name: &str) -> Option<String> {
    let about = ListParams::default().fields(&format!("involvedObject.name={name},involvedObject.kind=Pod"));
    let events = cluster.api::<Event>().list(&about).await.ok()?;
    let warning = events.items.into_iter().rfind(|e| e.type_.as_deref() == Some("Warning"))?;
    let (reason, message) = (warning.reason.unwrap_or_default(), warning.message.unwrap_or_default());
    Some(sentence(&format!("{reason}: {message}"), 600))
}
