//! `retry`, `suspend` and `resume`: small changes of an object, which the controller acts on.

use anyhow::{Result, bail};
use jiff::Timestamp;
use realsyn_objects::kinds::{Kind, KindExt};
use realsyn_objects::names::RETRY;
use serde_json::json;

use crate::args::Named;
use crate::cluster::Cluster;
use crate::status::is_ready;
use crate::style::print;
use crate::target::Target;

/// Asks the controller to try again at once.
pub async fn retry(cluster: &Cluster, named: &Named) -> Result<u8> {
    let (kind, name) = (named.name.kind(named.release), &named.name.name);
    let object = cluster.object(kind, name).await?;
    let (noun, namespace) = (kind.label(), &cluster.namespace);
    let ready = is_ready(kind, &object);
    if ready && kind == Kind::Release {
        say(&format!("{noun} {name} is published; there is nothing to try again\n"))?;
        return Ok(0);
    }
    annotate(cluster, kind, name).await?;
    let what = if ready { "looks at its store again" } else { "is tried again" };
    say(&format!("{noun} {name} {what}; see it with: kubectl realsyn status {noun}/{name} -n {namespace} -w\n"))?;
    Ok(0)
}

/// Sets a new value of the retry annotation.
///
/// # Errors
/// The object may not be changed.
pub async fn annotate(cluster: &Cluster, kind: Kind, name: &str) -> Result<()> {
    let token = Timestamp::now().to_string();
    cluster.patch(kind, name, json!({ "metadata": { "annotations": { RETRY: token } } })).await?;
    Ok(())
}

/// Suspends a build, or lets it go on.
pub async fn suspend(cluster: &Cluster, target: &Target, suspend: bool) -> Result<u8> {
    let name = &target.name;
    if target.kind(false) == Kind::Release {
        bail!(
            "release {name} cannot be suspended: delete it, and create it again later; what is packed by then is kept"
        );
    }
    let before = cluster.object(Kind::Build, name).await?;
    if (before.data["spec"]["suspend"] == true) == suspend {
        let already = if suspend { "is suspended already" } else { "is not suspended" };
        say(&format!("build {name} {already}\n"))?;
        return Ok(0);
    }
    cluster.patch(Kind::Build, name, json!({ "spec": { "suspend": suspend } })).await?;
    say(&match suspend {
        true => format!("build {name} is suspended: its pods are stopped, and what they have committed stays\n"),
        false => format!("build {name} goes on where it stopped\n"),
    })?;
    Ok(0)
}

fn say(text: &str) -> Result<()> {
    Ok(print(text.as_bytes())?)
}
