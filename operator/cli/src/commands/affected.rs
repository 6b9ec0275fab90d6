//! `affected ID`: which releases of the namespace hold an image, a sentence or anything of a document. Each is asked with
//! the settings that it was made with, and the credentials that it names.

use std::pin::pin;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_objects::kinds::Kind;
use realsyn_plan::Id;

use crate::args::PodArgs;
use crate::cluster::Cluster;
use crate::store::{Store, must_tell};
use crate::style::{pass_on, print};

/// Releases that are asked at once.
const AT_ONCE: usize = 4;

/// Runs `realsyn affected` for every release that has begun.
pub async fn affected(cluster: &Cluster, id: Id, args: &PodArgs) -> Result<u8> {
    let releases = cluster.list(Kind::Release).await?;
    if releases.is_empty() {
        print(format!("the namespace {} has no release\n", cluster.namespace).as_bytes())?;
        return Ok(0);
    }
    let answers = stream::iter(&releases).map(|release| async move {
        let name = release.name_any();
        ask(cluster, release, id, args).await.with_context(|| format!("release {name} could not be asked"))
    });
    let mut answers = pin!(answers.buffered(AT_ONCE));
    let mut failed = 0;
    // To the end, whatever fails: a question that is dropped would leave its pod behind.
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(said) => pass_on(&said)?,
            Err(error) => {
                eprintln!("error: {error:#}");
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(0),
        n => bail!("{n} of {} releases gave no answer, and may hold it", releases.len()),
    }
}

async fn ask(cluster: &Cluster, release: &DynamicObject, id: Id, args: &PodArgs) -> Result<Vec<u8>> {
    let name = release.name_any();
    if release.data["status"]["manifest"].is_null() {
        return Ok(format!("{name}: not begun yet, so it holds nothing\n").into_bytes());
    }
    let store = Store::of_release(cluster, release, args).await?;
    let mut said = Vec::new();
    let mut keep = |bytes: &[u8]| {
        said.extend_from_slice(bytes);
        Ok(())
    };
    let ended = store.run("affected", &["affected".to_owned(), id.to_string()], &mut keep).await?;
    must_tell(&ended)?;
    if ended.code != 0 {
        bail!("the pod ended with {}: {}", ended.code, String::from_utf8_lossy(&said).trim());
    }
    Ok(said)
}
