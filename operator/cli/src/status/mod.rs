//! `status`: how far a build or release is, why not further, and what came of it.

mod overview;
mod render;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::TryStreamExt;
use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use realsyn_objects::kinds::{Kind, KindExt};

pub use overview::{Overview, StageLine, State};
pub use render::render;

use crate::args::{Output, StatusArgs};
use crate::cluster::Cluster;
use crate::commands::spending;
use crate::errors::Asked;
use crate::style::{Style, print};

/// How often times on a screen are brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// Empties the screen, so that the whole page can stay on it.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

/// Shows an object, once or until it is Ready.
///
/// # Errors
/// There is no such object, or it may not be read.
pub async fn status(cluster: &Cluster, args: &StatusArgs) -> Result<u8> {
    let (kind, name) = (args.named.name.kind(args.named.release), &args.named.name.name);
    let object = cluster.object(kind, name).await?;
    if args.watch {
        watch(cluster, kind, name, args.output).await?;
    } else {
        let mut overview = Overview::new(kind, &object);
        overview.spending = spending(cluster, kind, &object, &overview.stages, args).await?;
        show(&overview, args.output, Style::of_stdout())?;
    }
    Ok(0)
}

fn show(overview: &Overview, output: Option<Output>, style: Style) -> Result<()> {
    let text = match output {
        Some(Output::Json) => format!("{:#}\n", serde_json::to_value(overview)?),
        None => render(overview, &style, Timestamp::now()),
    };
    Ok(print(text.as_bytes())?)
}

/// Shows every change. On a terminal one page changes in place; elsewhere each change is a line, and the page comes last.
async fn watch(cluster: &Cluster, kind: Kind, name: &str, output: Option<Output>) -> Result<()> {
    let in_place = output.is_none() && std::io::stdout().is_terminal();
    let mut changes = pin!(watch_object(cluster.objects(kind), name).default_backoff());
    let mut tick = tokio::time::interval(TICK);
    let mut last: Option<(Overview, String)> = None;
    loop {
        tokio::select! {
            change = changes.try_next() => match change {
                Ok(Some(Some(object))) => {
                    let overview = Overview::new(kind, &object);
                    let (done, line) = (overview.state == State::Ready, line(&overview));
                    if output == Some(Output::Json) {
                        print(format!("{}\n", serde_json::to_string(&overview)?).as_bytes())?;
                    } else if !in_place && last.as_ref().is_none_or(|(_, before)| *before != line) {
                        print(format!("{line}\n").as_bytes())?;
                    }
                    if done {
                        if in_place {
                            print(CLEAR)?;
                        }
                        return if output.is_none() { show(&overview, None, Style::of_stdout()) } else { Ok(()) };
                    }
                    last = Some((overview, line));
                }
                Ok(Some(None)) => bail!("the {} {name} was deleted", kind.label()),
                Ok(None) => bail!("the watch on {} {name} ended", kind.label()),
                Err(error) => refused(cluster, kind, error)?,
            },
            _ = tick.tick() => {}
        }
        if let Some((overview, _)) = last.as_ref().filter(|_| in_place) {
            page(overview)?;
        }
    }
}

/// The page in place of the one before, without flicker: lines are overwritten, and what is left is cleared.
fn page(overview: &Overview) -> Result<()> {
    let style = Style::of_stdout().on_one_screen();
    let text = render(overview, &style, Timestamp::now());
    // A page that scrolls could not be overwritten.
    let lines = text.lines().take(style.rows.map_or(usize::MAX, |rows| rows.saturating_sub(1)));
    let text: String = lines.flat_map(|line| [line, "\u{1b}[K\n"]).collect();
    Ok(print(format!("\u{1b}[H{text}\u{1b}[J").as_bytes())?)
}

/// A line for every change: `running  sentence-score 12/64 · 31 %  sentence-score: ImagePullBackOff: …`.
fn line(overview: &Overview) -> String {
    let parts = [Some(overview.state.word()), overview.progress.as_deref(), overview.why.as_deref()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// A watch is taken up again by itself, unless a right is missing.
pub(crate) fn refused(cluster: &Cluster, kind: Kind, error: watcher::Error) -> Result<()> {
    let asked = |verb| Asked::new(verb, kind.plural(), &cluster.namespace);
    match error {
        watcher::Error::InitialListFailed(e @ kube::Error::Api(_)) => Err(asked("list").error(e)),
        watcher::Error::WatchStartFailed(e @ kube::Error::Api(_)) => Err(asked("watch").error(e)),
        _ => Ok(()),
    }
}

/// Whether the object has reached what its spec asks for.
pub fn is_ready(kind: Kind, object: &DynamicObject) -> bool {
    Overview::new(kind, object).state == State::Ready
}
