//! `plan -f build.yaml`: where its stages fit on this cluster, and what it would run there, what is sealed already, and why.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::{
    Manifest, parse_manifests, release_warnings, take_giver, validate, validate_release, validate_sentences, warnings,
};
use realsyn_objects::kinds::{Kind, KindExt};
use realsyn_objects::manifest::{self, Manifests};
use realsyn_objects::plan::Plan;
use serde_json::{Value, json};

use super::forecast::{Forecast, Measured, SWITCH};
use super::placement::Places;
use super::prices::prices;
use crate::args::{PlanArgs, PodArgs};
use crate::cluster::Cluster;
use crate::store::{Store, giver, must_tell, worker_image};
use crate::style::{Style, pass_on, print};

/// The documents of the files.
struct Files {
    build: DynamicObject,
    releases: Vec<DynamicObject>,
    sentences: Option<DynamicObject>,
    plan: Plan,
}

/// Says where stages fit, which needs no store, and then runs `realsyn plan` beside the store, with the files' settings and
/// the credentials that they name.
pub async fn plan(cluster: &Cluster, args: &PlanArgs) -> Result<u8> {
    let Files { mut build, releases, sentences, plan } = read(args, &cluster.namespace)?;
    let width = Style::of_stdout().width;
    let places = Places::of(cluster, &plan, args.gpus.agents.as_deref()).await;
    let table = places.table(args.all, width);
    if !table.is_empty() {
        print(format!("{table}\n").as_bytes())?;
    }
    let name = build.name_any();
    let there = cluster.list(Kind::Build).await?;
    let image = image(&args.pod, &name, &there)?;
    // With the UID of the build that is there the pod goes with it.
    build.metadata.uid = there.iter().find(|b| b.name_any() == name).and_then(ResourceExt::uid);
    let mut manifests =
        Manifests::from([(manifest::file(Kind::Build).to_owned(), manifest::manifest(&build, Kind::Build))]);
    for (n, release) in releases.iter().enumerate() {
        manifests.insert(format!("release-{n}.yaml"), manifest::manifest(release, Kind::Release));
    }
    let there = if sentences.is_none() { giver(cluster, &build).await } else { None };
    if let Some(sentences) = sentences.or(there) {
        manifests.insert(manifest::SENTENCES.to_owned(), manifest::manifest(&sentences, Kind::Build));
    }
    let patience = Duration::from_secs(args.pod.timeout);
    let store = Store {
        cluster,
        kind: Kind::Build,
        object: &build,
        plan,
        manifests,
        config_map: None,
        image,
        patience,
        switch: Some(SWITCH),
    };
    let mut measured = Measured::default();
    let mut sink = |text: &[u8]| measured.take(text, &mut pass_on);
    let ended = store.run("plan", &["plan".to_owned()], &mut sink).await?;
    measured.end(&mut pass_on)?;
    must_tell(&ended)?;
    if ended.code == 0 {
        let forecast = Forecast::new(measured.ahead().as_deref(), &prices(cluster, &args.gpus.prices).await);
        print(places.expected(&forecast, width).as_bytes())?;
    }
    Ok(ended.code)
}

/// The worker image: as asked for, as the build has it, or as the newest of its neighbours has it.
fn image(args: &PodArgs, name: &str, there: &[DynamicObject]) -> Result<String> {
    let own = || there.iter().find(|b| b.name_any() == name).and_then(worker_image);
    let neighbours = || {
        let seen = there.iter().filter(|b| worker_image(b).is_some());
        seen.max_by_key(|b| b.creation_timestamp().map(|t| t.0)).and_then(worker_image)
    };
    args.image.clone().or_else(own).or_else(neighbours).context(
        "no build of this namespace says which worker image the operator uses: give it with --image, or apply the build",
    )
}

fn read(args: &PlanArgs, namespace: &str) -> Result<Files> {
    let (mut builds, mut releases, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for file in &args.files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {name}"))?;
        match parse_manifests(&text, &name) {
            Ok(all) => all.into_iter().for_each(|m| match m {
                Manifest::Build(build) => builds.push(*build),
                Manifest::Release(release) => releases.push(*release),
            }),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    let sentences = take_giver(&mut builds);
    if let (Some(build), Some(giver)) = (builds.first(), &sentences) {
        problems.extend(validate_sentences(build, giver).iter().map(ToString::to_string));
        releases.retain(|release| release.spec.build_ref.name != giver.metadata.name);
    }
    if let Some(build) = builds.first() {
        problems.extend(validate(build).iter().map(ToString::to_string));
        warnings(build).iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
    for release in &releases {
        problems.extend(validate_release(release, builds.first()).iter().map(ToString::to_string));
        release_warnings(release, builds.first()).iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
    if !problems.is_empty() {
        bail!("the files cannot be planned:\n  {}", problems.join("\n  "));
    }
    let [build] = <[_; 1]>::try_from(builds).map_err(|found: Vec<_>| {
        anyhow::anyhow!("exactly one RealSynBuild is needed in the files, found {}", found.len())
    })?;
    let elsewhere = build.metadata.namespace.as_deref().filter(|n| *n != namespace);
    if let Some(other) = elsewhere {
        bail!("the build is of the namespace {other}, and this looks at {namespace}: add -n {other}");
    }
    let plan = Plan::of_build(&build.spec);
    let object = |kind, name: &str, spec| object(kind, name, namespace, spec);
    Ok(Files {
        plan: match releases.first() {
            Some(release) => Plan::of_release(&build.spec, &release.spec),
            None => plan,
        },
        sentences: sentences.map(|b| object(Kind::Build, &b.metadata.name, json!(b.spec))),
        build: object(Kind::Build, &build.metadata.name, json!(build.spec)),
        releases: releases.iter().map(|r| object(Kind::Release, &r.metadata.name, json!(r.spec))).collect(),
    })
}

fn object(kind: Kind, name: &str, namespace: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, &kind.resource()).within(namespace).data(json!({ "spec": spec }))
}
