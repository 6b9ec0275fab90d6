//! `logs STAGE`: what the pods of a stage printed, how they ended, and where to look once they are gone.

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, LogParams};
use realsyn_crds::{Stage, StageState};
use realsyn_objects::kinds::{Kind, KindExt};
use realsyn_objects::{names, text};

use super::last_lines::LastLines;
use crate::args::LogsArgs;
use crate::cluster::Cluster;
use crate::errors::{Asked, Explained};
use crate::status::Overview;
use crate::store::{Look, Store, look, must_tell};
use crate::style::{Style, Tone, pass_on, print};

/// The annotation of an Indexed Job's pod.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Lines of a pod's log, unless somebody says how many.
const LINES: i64 = 200;

/// Whether there is such a stage at all.
pub fn check(args: &LogsArgs) -> Result<()> {
    // A look at the store is no task, and leaves nothing there.
    if args.kept || args.stage != names::ADVANCE {
        args.stage.parse::<Stage>()?;
    }
    Ok(())
}

/// Prints the logs: of the pods that are there, else what failed tasks left in the store.
pub async fn logs(cluster: &Cluster, args: &LogsArgs) -> Result<u8> {
    let (kind, name) = match (&args.release, &args.build) {
        (Some(release), _) => (Kind::Release, release),
        (None, Some(build)) => (Kind::Build, build),
        (None, None) => bail!("say of which build, with --build, or of which release, with --release"),
    };
    let object = cluster.object(kind, name).await?;
    if args.kept {
        return kept(cluster, args, kind, &object).await;
    }
    let labels = [
        (names::MANAGED_BY, names::CONTROLLER.to_owned()),
        (names::KIND, kind.label().to_owned()),
        (names::BUILD, text::label_value(name)),
        (names::STAGE, args.stage.clone()),
    ];
    let labels = labels.map(|(label, value)| format!("{label}={value}")).join(",");
    let list = cluster.api::<Pod>().list(&ListParams::default().labels(&labels)).await;
    let pods = list.explained(&Asked::new("list", "pods", &cluster.namespace))?.items;
    let mut chosen: Vec<(Option<u32>, &Pod)> = pods
        .iter()
        .map(|pod| (index(pod), pod))
        .filter(|(index, _)| args.index.is_none() || *index == args.index)
        .filter(|(_, pod)| !args.failed || matches!(look(pod), Look::Ended(end) if end.code != 0))
        .collect();
    chosen.sort_by_key(|(index, pod)| (*index, pod.creation_timestamp().map(|t| t.0)));
    if chosen.is_empty() {
        let overview = Overview::new(kind, &object);
        if pods.is_empty() && may_have_left(args, &overview) {
            eprintln!("{}; what its failed tasks said last is read in the store", gone(args, kind, name, &overview));
            let code = kept(cluster, args, kind, &object).await?;
            if code != 0 {
                eprintln!("{}", collected(args, name));
            }
            return Ok(code);
        }
        bail!("{}", nothing(args, kind, name, pods.len(), &overview));
    }
    let mut unread = 0;
    for (index, pod) in chosen {
        unread += u32::from(!show(cluster, args, index, pod).await?);
    }
    Ok(u8::from(unread > 0))
}

/// What failed tasks left in the store: `realsyn logs`, run beside it.
async fn kept(cluster: &Cluster, args: &LogsArgs, kind: Kind, object: &DynamicObject) -> Result<u8> {
    let store = match kind {
        Kind::Build => Store::of_build(cluster, object, &args.pod).await?,
        Kind::Release => Store::of_release(cluster, object, &args.pod).await?,
    };
    let mut command = vec!["logs".to_owned(), args.stage.clone()];
    if let Some(index) = args.index {
        command.extend(["--index".to_owned(), index.to_string()]);
    }
    let mut last = LastLines::new(args.tail.map_or(usize::MAX, |lines| lines as usize));
    let ended = store.run("logs", &command, &mut |text| last.take(text, &mut pass_on)).await?;
    last.end(&mut pass_on)?;
    must_tell(&ended)?;
    Ok(ended.code)
}

/// Whether tasks of the stage may have failed, and left in the store what they said last.
fn may_have_left(args: &LogsArgs, overview: &Overview) -> bool {
    let line = overview.stages.iter().find(|s| s.name.name() == args.stage);
    line.is_some_and(|s| s.state != StageState::Waiting || s.attempt > 0)
}

fn index(pod: &Pod) -> Option<u32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

/// One pod: what it is, how it ended, what it printed. Tells whether the log could be read.
async fn show(cluster: &Cluster, args: &LogsArgs, index: Option<u32>, pod: &Pod) -> Result<bool> {
    let style = Style::of_stdout();
    let name = pod.name_any();
    let task = index.map_or_else(String::new, |i| format!("task {i}, "));
    let step = pod.labels().get(names::STEP).map_or_else(String::new, |step| format!("step {step}, "));
    let (tone, state) = match look(pod) {
        Look::Waits(why) => (Tone::Slow, why.map_or_else(|| "is starting".to_owned(), |why| format!("waits: {why}"))),
        Look::Stuck(why) => (Tone::Bad, format!("cannot start: {why}")),
        Look::Runs => (Tone::Busy, "runs".to_owned()),
        Look::Ended(end) if end.code == 0 => (Tone::Good, "ended well".to_owned()),
        Look::Ended(end) => (Tone::Bad, format!("failed with {}: {}", end.code, end.message)),
    };
    let head = style.paint(Tone::Strong, &format!("── {task}{step}pod {name}"));
    print(format!("{head}\n{}\n", style.paint(tone, &state)).as_bytes())?;
    if matches!(look(pod), Look::Waits(_) | Look::Stuck(_)) {
        return Ok(true);
    }
    let tail = LogParams { tail_lines: Some(args.tail.map_or(LINES, i64::from)), ..LogParams::default() };
    match cluster.api::<Pod>().logs(&name, &tail).await {
        Ok(log) => {
            pass_on(log.as_bytes())?;
            Ok(true)
        }
        Err(error) => {
            let error = Asked::new("get", "pods/log", &cluster.namespace).error(error);
            eprintln!("the log of pod {name} cannot be read: {error:#}");
            Ok(false)
        }
    }
}

/// Why there is nothing to print, and where to look.
fn nothing(args: &LogsArgs, kind: Kind, name: &str, pods: usize, overview: &Overview) -> String {
    let stage = &args.stage;
    if pods > 0 {
        let which = args.index.map_or_else(String::new, |n| format!(" of task {n}"));
        let failed = if args.failed { " that failed" } else { "" };
        return format!(
            "none of the {pods} pods of {stage} is a pod{which}{failed}: leave out --failed and --index to see all, or add \
             --kept for what earlier attempts left in the store"
        );
    }
    format!("{}. {}", gone(args, kind, name, overview), collected(args, name))
}

/// Why there is no pod.
fn gone(args: &LogsArgs, kind: Kind, name: &str, overview: &Overview) -> String {
    let (stage, noun) = (&args.stage, kind.label());
    let line = overview.stages.iter().find(|s| s.name.name() == *stage);
    let state = match line.map(|s| s.state) {
        Some(StageState::Sealed) => "is sealed, and its Jobs are deleted then",
        Some(StageState::Running | StageState::Stalled) => "has no pod at the moment",
        Some(StageState::Waiting) => "has not begun",
        None if *stage == names::ADVANCE => "has no look under way; its Jobs go once their report is read",
        None => "is no part of it",
    };
    let why = line.and_then(|s| s.waits_for.as_deref());
    let why = why.map_or_else(String::new, |why| format!(" (its status says: {why})"));
    format!("{stage} of {noun} {name} {state}{why}")
}

/// Where logs of pods are that are gone.
fn collected(args: &LogsArgs, name: &str) -> String {
    format!(
        "Logs of pods that are gone are where your cluster collects logs, under the labels {}={} and {}={}",
        names::BUILD,
        text::label_value(name),
        names::STAGE,
        args.stage
    )
}
