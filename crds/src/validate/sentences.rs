//! A build that takes its sentences from another one.

use serde_json::json;

use super::Judge;
use crate::{Class, Kind, Problem, RealSynBuild, Stage, Stages, stage_settings};

/// The settings of stages that do not run in a build that takes its sentences from another: they would say nothing.
pub(super) fn without_effect(judge: &mut Judge, build: &RealSynBuild) {
    let plain = crate::BuildSpec { stages: Stages::default(), ..build.spec.clone() };
    for stage in Stage::ALL.iter().copied().filter(|stage| !build.spec.runs(*stage)) {
        let given = |class| stage_settings(&build.spec, stage, class) != stage_settings(&plain, stage, class);
        if given(Class::Output) || given(Class::Selection) {
            let message =
                "the sentences are another build's, and so are the settings that they are made with; leave it out";
            judge.wrong(&format!("spec.stages.{}", stage.field()), json!("given"), message);
        }
    }
}

/// Takes the build out of `builds` whose sentences another of them takes.
pub fn take_giver(builds: &mut Vec<RealSynBuild>) -> Option<RealSynBuild> {
    let from = builds.iter().find_map(|build| build.spec.sentences_from.as_ref())?.build.clone();
    let at = builds.iter().position(|build| build.metadata.name == from)?;
    // One that names itself is no giver.
    (builds.len() > 1).then(|| builds.remove(at))
}

/// What keeps a build from taking the sentences of `giver`. Both are right by themselves.
pub fn validate_sentences(build: &RealSynBuild, giver: &RealSynBuild) -> Vec<Problem> {
    let mut judge = Judge { problems: Vec::new() };
    let path = "spec.sentencesFrom.build";
    let name = giver.metadata.name.as_str();
    if let Some(from) = &giver.spec.sentences_from {
        judge.wrong(path, name, format!("takes its sentences from `{}` itself; name that one", from.build));
    }
    let (own, other) = (&build.spec.storage, &giver.spec.storage);
    if own.uri != other.uri || own.endpoint != other.endpoint {
        let message = format!(
            "keeps its data at `{}` and this build at `{}`; give both the same spec.storage.uri and endpoint",
            other.uri, own.uri
        );
        judge.wrong(path, name, message);
    }
    let models = |build: &RealSynBuild| {
        let models = &build.spec.models;
        let of = |model: &Option<crate::ModelRef>| model.as_ref().map(|m| (m.sha256.clone(), m.dtype));
        [("clip", of(&models.clip)), ("tagger", of(&models.tagger))]
    };
    for ((role, own), (_, other)) in models(build).into_iter().zip(models(giver)) {
        if own != other {
            let message =
                format!("differs from that of build `{name}`: its sentences and these images must meet in one space");
            judge.wrong(&format!("spec.models.{role}"), json!(own.map(|(sha256, _)| sha256)), message);
        }
    }
    judge.finish(Kind::Build, &build.metadata)
}
