//! `gc`: what nothing names any more goes, in two runs a day apart.

use anyhow::Result;
use realsyn_objects::kinds::Kind;

use crate::args::PodArgs;
use crate::cluster::Cluster;
use crate::store::{Store, must_tell};
use crate::style::pass_on;

/// Cleans up the store of a build.
pub async fn gc(cluster: &Cluster, name: &str, dry_run: bool, args: &PodArgs) -> Result<u8> {
    let build = cluster.object(Kind::Build, name).await?;
    let store = Store::of_build(cluster, &build, args).await?;
    let mut words = vec!["gc".to_owned()];
    if dry_run {
        words.push("--dry-run".to_owned());
    }
    let ended = store.run("gc", &words, &mut pass_on).await?;
    must_tell(&ended)?;
    Ok(ended.code)
}
