//! The object as typed settings, or a sentence that says what is wrong with it. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::{
    API_VERSION, BuildSpec, BuildStatus, Metadata, Pool, PoolRef, Problem, RealSynBuild, RealSynRelease, ReleaseStatus,
    Stage, StageState,
};
use realsyn_objects::manifest::{Manifests, SENTENCES, config_map, file, manifest};
use realsyn_objects::server;
use realsyn_plan::Digest;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::dereference::Seen;
use crate::kinds::Kind;
use crate::machine::State;
use crate::plan::Plan;
use crate::text::sentence;

/// An object that can be worked on.
pub struct Checked {
    /// What its spec asks for.
    pub plan: Plan,
    /// What is known of it.
    pub state: State,
    /// Whether nothing may run.
    pub suspend: bool,
    /// The build whose sentences it takes. A release takes its pool's, for ever.
    pub giver: Option<Giver>,
    /// The ConfigMap with its manifests.
    pub config_map: String,
    /// The manifests, by key.
    pub manifests: Manifests,
    /// Its status as it is, for what the state does not hold.
    pub status: Status,
}

/// The status of either kind.
pub enum Status {
    /// A build's.
    Build(Box<BuildStatus>),
    /// A release's, and the pool that it is made from.
    Release(Box<ReleaseStatus>, PoolRef),
}

/// A build whose sentences another one takes, as it was when they were made.
pub struct Giver {
    /// The hash of what the sentences are made with.
    pub hash: String,
    /// The worker image that made them: another one may have other digests for the same settings.
    pub worker_image: Option<String>,
    spec: BuildSpec,
    manifest: String,
}

/// Why an object cannot be worked on now.
pub struct Refusal {
    /// In one word.
    pub reason: &'static str,
    /// In words.
    pub message: String,
    /// Whether a person must act.
    pub stalled: bool,
}

/// Judges an object.
///
/// # Errors
/// What keeps it from being worked on.
pub fn validate(kind: Kind, object: &DynamicObject, seen: &Seen) -> Result<Checked, Refusal> {
    match kind {
        Kind::Build => build(object, seen),
        Kind::Release => release(object, seen),
    }
}

fn build(object: &DynamicObject, seen: &Seen) -> Result<Checked, Refusal> {
    let build: RealSynBuild = typed(object, Kind::Build)?;
    problems(realsyn_crds::validate(&build))?;
    if let Some(problem) = server::problem(&build.spec) {
        return Err(invalid(problem));
    }
    let status = build.status.clone().unwrap_or_default();
    let giver = match giver(&build, seen.build.as_ref()) {
        // It rests, whatever it would wait for.
        Err(refusal) if build.spec.suspend && !refusal.stalled => None,
        found => found?,
    };
    let plan = Plan::of_build(&build.spec).with_sentences_of(giver.as_ref().map(|giver| &giver.spec));
    let mut manifests = BTreeMap::from([(file(Kind::Build).to_owned(), manifest(object, Kind::Build))]);
    manifests.extend(giver.iter().map(|giver| (SENTENCES.to_owned(), giver.manifest.clone())));
    let finished = is_finished(&plan, &status, object.metadata.generation);
    let state = State::of(&status.work, finished);
    Ok(Checked {
        suspend: build.spec.suspend,
        giver,
        config_map: config_map(object, Kind::Build, &manifests),
        plan,
        state,
        manifests,
        status: Status::Build(Box::new(status)),
    })
}

/// The build whose sentences this one takes, if it takes some.
fn giver(build: &RealSynBuild, giver: Option<&DynamicObject>) -> Result<Option<Giver>, Refusal> {
    let Some(from) = &build.spec.sentences_from else { return Ok(None) };
    let name = &from.build;
    let wait = |message: String| Refusal { reason: "WaitingForSentences", message, stalled: false };
    let object = giver.ok_or_else(|| wait(format!("there is no build {name} in this namespace")))?;
    let giver: RealSynBuild = typed(object, Kind::Build)?;
    problems(realsyn_crds::validate_sentences(build, &giver))?;
    let is_valid = realsyn_crds::validate(&giver).is_empty();
    let plan = Plan::of_build(&giver.spec);
    let (status, generation) = (giver.status.unwrap_or_default(), object.metadata.generation);
    if let Some(stage) = Stage::ALL.iter().find(|stage| stage.makes_sentences() && !plan.allows(**stage)) {
        return Err(wait(format!("the build {name} ends before {stage}, as its spec.stopAfter says")));
    }
    if !is_valid || status.work.observed_generation != generation || !is_finished(&plan, &status, generation) {
        // Nothing of how far it is: each of its steps would be a write here.
        return Err(wait(format!("the build {name} is not done yet")));
    }
    let manifest = manifest(object, Kind::Build);
    let worker_image = status.work.worker_image;
    let hash = Digest::builder("giver").part(&manifest).part(worker_image.as_deref().unwrap_or_default()).finish();
    Ok(Some(Giver { hash: hash.to_string()[..16].to_owned(), worker_image, spec: giver.spec, manifest }))
}

/// Whether a build is done with this generation, its status being of it.
fn is_finished(plan: &Plan, status: &BuildStatus, generation: Option<i64>) -> bool {
    let is_pool = status.pools.last().is_some_and(|pool| Some(pool.generation) == generation);
    let sealed = |stage| status.work.stages.iter().any(|s| s.name == stage && s.state == StageState::Sealed);
    let advance = status.work.advance.clone().unwrap_or_default();
    let is_idle = !advance.due && !advance.running && status.work.inventory.is_some();
    is_idle && (is_pool || plan.stops_early()) && plan.required().all(sealed)
}

fn release(object: &DynamicObject, seen: &Seen) -> Result<Checked, Refusal> {
    let release: RealSynRelease = typed(object, Kind::Release)?;
    problems(realsyn_crds::validate_release(&release, None))?;
    let status = release.status.clone().unwrap_or_default();
    let wait = |message: String| Refusal { reason: "WaitingForPool", message, stalled: false };
    let name = &release.spec.build_ref.name;
    let pool = match (&status.pool, &seen.build) {
        (Some(pinned), _) => pinned.clone(),
        (None, None) => return Err(wait(format!("there is no build {name} in this namespace"))),
        (None, Some(build)) => match pool_for(object, build) {
            Some(pool) => PoolRef { generation: pool.generation, digest: pool.digest },
            None => return Err(wait(format!("the build {name} has no pool yet that this release asks for"))),
        },
    };
    let gone = || Refusal {
        reason: "ManifestGone",
        message: format!("the settings that pool {} was made with are gone; the ConfigMap was deleted", pool.digest),
        stalled: true,
    };
    let text = seen.pinned.as_ref().and_then(|m| m.get(file(Kind::Build))).ok_or_else(gone)?;
    let build: RealSynBuild = serde_json::from_str(text).map_err(|_| gone())?;
    problems(realsyn_crds::validate_release(&release, Some(&build)))?;
    let sentences = seen.pinned.as_ref().and_then(|m| m.get(SENTENCES));
    let giver: Option<RealSynBuild> =
        sentences.map(|text| serde_json::from_str(text)).transpose().map_err(|_| gone())?;
    let mut manifests = BTreeMap::from([
        (file(Kind::Build).to_owned(), text.clone()),
        (file(Kind::Release).to_owned(), manifest(object, Kind::Release)),
    ]);
    manifests.extend(sentences.map(|text| (SENTENCES.to_owned(), text.clone())));
    let state = State::of(&status.work, status.digest.is_some());
    Ok(Checked {
        plan: Plan::of_release(&build.spec, &release.spec).with_sentences_of(giver.as_ref().map(|b| &b.spec)),
        state,
        suspend: false,
        giver: None,
        config_map: config_map(object, Kind::Release, &manifests),
        manifests,
        status: Status::Release(Box::new(status), pool),
    })
}

/// The pool of a build that a release asks for: the newest that fits, or the very one that it has pinned.
pub fn pool_for(release: &DynamicObject, build: &DynamicObject) -> Option<Pool> {
    let pools: Vec<Pool> = serde_json::from_value(build.data["status"]["pools"].clone()).ok()?;
    let reference = &release.data["spec"]["buildRef"];
    let digest = release.data["status"]["pool"]["digest"].as_str().or(reference["poolDigest"].as_str());
    let least = reference["minGeneration"].as_i64().unwrap_or_default();
    pools.into_iter().rev().find(|p| match digest {
        Some(digest) => p.digest == digest,
        None => p.generation >= least,
    })
}

fn typed<T: DeserializeOwned>(object: &DynamicObject, kind: Kind) -> Result<T, Refusal> {
    let metadata = Metadata { name: object.name_any(), namespace: object.namespace(), uid: object.uid() };
    let value = json!({
        "apiVersion": API_VERSION,
        "kind": kind.name(),
        "metadata": metadata,
        "spec": object.data["spec"],
        "status": object.data.get("status").filter(|s| s.is_object()),
    });
    serde_json::from_value(value).map_err(|e| invalid(format!("the object cannot be read: {e}")))
}

fn problems(problems: Vec<Problem>) -> Result<(), Refusal> {
    if problems.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(invalid(all.join("; ")))
}

fn invalid(message: String) -> Refusal {
    Refusal { reason: "InvalidSpec", message: sentence(&message, 600), stalled: true }
}
