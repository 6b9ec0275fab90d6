//! `affected ID`: which releases of the namespace hold an image, a sentence or anything of a document. Each is asked with
//! the settings that it was made with, and the credentials that it names.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::{RealSynBuild, RealSynRelease};
use realsyn_objects::kinds::Kind;
use realsyn_objects::manifest;
use realsyn_objects::plan::Plan;
use realsyn_plan::Id;

use crate::args::PodArgs;
use crate::cluster::Cluster;
use crate::errors::{Asked, Explained};
use crate::store::{Store, must_tell, worker_image};
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
    let Some(config_map) = release.data["status"]["manifest"].as_str() else {
        return Ok(format!("{name}: not begun yet, so it holds nothing\n").into_bytes());
    };
    let found = cluster.api::<ConfigMap>().get_opt(config_map).await;
    let found = found.explained(&Asked::new("get", "configmaps", &cluster.namespace))?;
    let manifests = found.and_then(|map| map.data).with_context(|| {
        format!("the settings that it was made with are gone (ConfigMap {config_map}); its manifest.json is at its uri")
    })?;
    let text = |kind| manifests.get(manifest::file(kind)).map_or("", String::as_str);
    let build: RealSynBuild = serde_json::from_str(text(Kind::Build)).context("the build that it was made from")?;
    let spec: RealSynRelease = serde_json::from_str(text(Kind::Release)).context("its settings")?;
    let image = args.image.clone().or_else(|| worker_image(release)).context("it has no worker image; give --image")?;
    let store = Store {
        cluster,
        kind: Kind::Release,
        object: release,
        plan: Plan::of_release(&build.spec, &spec.spec),
        config_map: Some(config_map.to_owned()),
        manifests,
        image,
        patience: Duration::from_secs(args.timeout),
        switch: None,
    };
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
