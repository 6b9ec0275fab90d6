//! `reject` and `forget`: a person's word about one shard, and then the controller is asked to go on.

use anyhow::{Context, Result, bail};
use realsyn_objects::kinds::Kind;
use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::report::step_named;

use super::change::annotate;
use crate::args::{PodArgs, ShardArgs};
use crate::cluster::Cluster;
use crate::store::Store;
use crate::style::{pass_on, print};

/// Whether there is such a step at all.
pub fn check(args: &ShardArgs) -> Result<()> {
    if step_named(&args.step).is_some() {
        return Ok(());
    }
    let stage = args.step.split('/').next().unwrap_or_default();
    let near: Vec<String> = BUILD
        .iter()
        .chain(RELEASE)
        .map(|s| s.id)
        .filter(|id| id.stage.name() == stage)
        .map(|id| id.to_string())
        .collect();
    match near.is_empty() {
        true => bail!("there is no step `{}`: write stage/step, for example documents/extract", args.step),
        false => bail!("there is no step `{}`; that stage has {}", args.step, near.join(", ")),
    }
}

/// Commits a shard as rejected.
pub async fn reject(cluster: &Cluster, shard: &ShardArgs, reason: &str, build: &str, args: &PodArgs) -> Result<u8> {
    let words = [&shard.step, &shard.shard.to_string(), &reason.to_owned()].map(Clone::clone);
    change(cluster, "reject", &words, build, args).await
}

/// Voids the commit of a shard.
pub async fn forget(cluster: &Cluster, shard: &ShardArgs, build: &str, args: &PodArgs) -> Result<u8> {
    change(cluster, "forget", &[shard.step.clone(), shard.shard.to_string()], build, args).await
}

async fn change(cluster: &Cluster, command: &str, words: &[String], name: &str, args: &PodArgs) -> Result<u8> {
    let build = cluster.object(Kind::Build, name).await?;
    let store = Store::of_build(cluster, &build, args).await?;
    let mut all = vec![command.to_owned(), "--brief".to_owned(), "--".to_owned()];
    all.extend_from_slice(words);
    let ended = store.run(command, &all, &mut pass_on).await?;
    if ended.code != 0 {
        if let Some(why) = &ended.untold {
            bail!("{why}{}", ended.reason());
        }
        return Ok(ended.code);
    }
    if let Some(why) = &ended.untold {
        eprintln!("warning: {why}{}", ended.reason());
    }
    annotate(cluster, Kind::Build, name).await.with_context(|| {
        format!("the {command} is done; only the controller was not told, and looks again by itself within ten minutes")
    })?;
    print(format!("build {name} goes on at once\n").as_bytes())?;
    Ok(0)
}
