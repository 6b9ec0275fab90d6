//! `explain ID`: every score of an image or sentence, where it occurs, and the first rule that dropped it.

use anyhow::Result;
use realsyn_objects::kinds::Kind;
use realsyn_plan::Id;

use crate::args::PodArgs;
use crate::cluster::Cluster;
use crate::store::{Store, must_tell};
use crate::style::pass_on;

/// Runs `realsyn explain` beside the store.
pub async fn explain(cluster: &Cluster, id: Id, build: &str, args: &PodArgs) -> Result<u8> {
    let build = cluster.object(Kind::Build, build).await?;
    let store = Store::of_build(cluster, &build, args).await?;
    let ended = store.run("explain", &["explain".to_owned(), id.to_string()], &mut pass_on).await?;
    must_tell(&ended)?;
    Ok(ended.code)
}
