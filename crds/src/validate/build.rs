//! A build's settings, judged.

use serde_json::json;

use super::Judge;
use crate::{
    Cluster, Device, Engine, FetchPolicy, Format, Kind, ModelRef, Problem, Profile, Quantity, RealSynBuild,
    SemanticDedup, Stage, check, device, execution,
};

/// Everything that is wrong with a build, each with the field, its value and what would be right; empty if nothing is.
pub fn validate(build: &RealSynBuild) -> Vec<Problem> {
    let mut judge = Judge::new(Kind::Build, &build.metadata, &build.spec);
    source(&mut judge, build);
    storage(&mut judge, build);
    models(&mut judge, build);
    whole(&mut judge, build);
    stages(&mut judge, build);
    engines(&mut judge, build);
    judge.finish(Kind::Build, &build.metadata)
}

/// What is allowed, but most likely not meant.
pub fn warnings(build: &RealSynBuild) -> Vec<Problem> {
    let mut judge = Judge { problems: Vec::new() };
    let spec = &build.spec;
    if spec.profile == Profile::Paper {
        judge.wrong(
            "spec.profile",
            "paper",
            "the paper's cluster counts and band fit a corpus of its size and its CLIP model; the band 0.51–0.61 may keep \
             under 10 % of the pairs of another. `scaled` keeps the paper's ratios instead",
        );
    }
    if spec.source.image_mirrors.is_empty()
        && spec.source.fetch.policy == FetchPolicy::MirrorsOnly
        && spec.source.format != Format::Images
    {
        let message = "no image has a mirror, so each is recorded as `not-fetched`; map the URLs' prefixes to where the \
                       images lie";
        judge.problems.push(Problem::absent("spec.source.imageMirrors", message));
    }
    let (decode, retrieve) = (&spec.stages.image_decode, &spec.stages.retrieve);
    if decode.short_side != 0 && decode.short_side < 224 {
        judge.wrong(
            "spec.stages.imageDecode.shortSide",
            decode.short_side,
            "images are stored smaller than the 224 pixels of most encoders and of a release",
        );
    }
    if retrieve.target_recall.is_some() && retrieve.probe_cells.is_some() && retrieve.probe_clusters.is_some() {
        judge.wrong(
            "spec.stages.retrieve.targetRecall",
            retrieve.target_recall,
            "has no effect, because `probeCells` and `probeClusters` are both given; leave one of them out",
        );
    }
    for stage in Stage::ALL.iter().copied() {
        if let Some(Device { engine: Engine::Cpu, gpu: Some(gpu) }) = device(spec, stage) {
            let message =
                "its pods hold GPUs that `engine: cpu` does not use; write `engine: cuda`, or leave `gpu` out";
            judge.wrong(&format!("spec.stages.{}.gpu", stage.field()), json!(gpu), message);
        }
        if let Some(Device { engine: Engine::Cuda, gpu: Some(gpu) }) = device(spec, stage) {
            super::gpu::warn(&mut judge, &format!("spec.stages.{}.gpu", stage.field()), gpu);
        }
    }
    judge.finish(Kind::Build, &build.metadata)
}

fn source(judge: &mut Judge, build: &RealSynBuild) {
    let source = &build.spec.source;
    judge.uri("spec.source.uri", &source.uri, &["s3", "file", "pvc"]);
    judge.require(
        matches!(source.format, Format::Obelics | Format::Html | Format::Images),
        "spec.source.format",
        json!(source.format),
        "cannot be read yet; `obelics`, `html` and `images` can",
    );
    judge.require(
        source.fetch.policy == FetchPolicy::MirrorsOnly,
        "spec.source.fetch.policy",
        json!(source.fetch.policy),
        "images are not fetched from the network yet; map their URLs' prefixes with `spec.source.imageMirrors` and write \
         `mirrorsOnly`",
    );
    for (i, mirror) in source.image_mirrors.iter().enumerate() {
        judge.uri(&format!("spec.source.imageMirrors[{i}].uri"), &mirror.uri, &["s3", "file", "pvc"]);
        let hidden_by = source.image_mirrors[..i].iter().find(|m| mirror.prefix.starts_with(&m.prefix));
        if let Some(first) = hidden_by {
            let message =
                format!("never wins, because `{}` stands before it and fits the same URLs; move it up", first.prefix);
            judge.wrong(&format!("spec.source.imageMirrors[{i}].prefix"), mirror.prefix.as_str(), message);
        }
    }
    match &build.spec.sentences_from {
        Some(from) => {
            judge.dns_label("spec.sentencesFrom.build", &from.build);
            let message = "a build cannot take its sentences from itself; name another";
            judge.require(from.build != build.metadata.name, "spec.sentencesFrom.build", from.build.as_str(), message);
            super::sentences::without_effect(judge, build);
        }
        None => judge.require(
            source.format != Format::Images,
            "spec.source.format",
            "images",
            "images have no text; name the build whose sentences they get with `spec.sentencesFrom.build`",
        ),
    }
}

fn storage(judge: &mut Judge, build: &RealSynBuild) {
    let storage = &build.spec.storage;
    judge.uri("spec.storage.uri", &storage.uri, &["s3", "file", "pvc"]);
    judge.http("spec.storage.endpoint", storage.endpoint.as_deref());
    judge.credentials("spec.storage.credentials", storage.credentials.as_ref());
}

fn models(judge: &mut Judge, build: &RealSynBuild) {
    let by_endpoint = build.spec.stages.generate.device.engine == Engine::Openai;
    for (role, model) in build.spec.models.roles() {
        let path = format!("spec.models.{role}");
        match model {
            Some(model) => weights(judge, &path, model),
            None if role == "captioner" || role == "tagger" || (role == "llm" && by_endpoint) => {}
            None if !build.spec.uses_model(role) => {}
            None => {
                let message = "is missing; give its `sha256`, and its `uri` unless a local run finds it by its hash";
                judge.problems.push(Problem::absent(path, message));
            }
        }
    }
}

fn weights(judge: &mut Judge, path: &str, model: &ModelRef) {
    judge.sha256(&format!("{path}.sha256"), &model.sha256);
    let Some(uri) = &model.uri else { return };
    let at = format!("{path}.uri");
    judge.uri(&at, uri, &["s3", "file", "oci", "pvc"]);
    let file = uri.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let refused = [".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".npz", ".msgpack"];
    if let Some(ending) = refused.iter().find(|e| file.ends_with(**e)) {
        let message = format!(
            "`{ending}` files are not read, since they can run code or are not known; convert the model to \
                               safetensors, ONNX or GGUF"
        );
        judge.wrong(&at, uri.as_str(), message);
    }
}

fn whole(judge: &mut Judge, build: &RealSynBuild) {
    let spec = &build.spec;
    judge.list("spec.takedowns", spec.takedowns.as_ref());
    if let Some(preview) = &spec.preview {
        judge.require(
            preview.share.is_some() != preview.shards.is_some(),
            "spec.preview",
            json!(preview),
            "give `share` or `shards`, one of the two",
        );
        let message = "would take no shard; give a share above 0, or leave `preview` out";
        judge.require(preview.share != Some(0.0), "spec.preview.share", preview.share, message);
    }
    if let Some(budget) = &spec.budget {
        quantity(judge, "spec.budget.bytes", budget.bytes.as_ref());
    }
    judge.require(
        !matches!(spec.stop_after, Some(Stage::Release)),
        "spec.stopAfter",
        json!(spec.stop_after),
        "a build ends with `pair-score`; name a stage up to that, or leave `stopAfter` out",
    );
    if let Some(queue) = &spec.queue_name {
        judge.dns_label("spec.queueName", queue);
    }
    if let Some(scheduling) = &spec.scheduling {
        super::scheduling::validate(judge, scheduling);
    }
}

fn stages(judge: &mut Judge, build: &RealSynBuild) {
    let s = &build.spec.stages;
    let policy = &s.image_policy;
    judge.list("spec.stages.imagePolicy.blockedImages", policy.blocked_images.as_ref());
    judge.list("spec.stages.imagePolicy.blockedHosts", policy.blocked_hosts.as_ref());
    for (i, set) in policy.evaluation_sets.iter().enumerate() {
        judge.list(&format!("spec.stages.imagePolicy.evaluationSets[{i}]"), Some(set));
    }
    judge.list("spec.stages.tagVocab.vocabulary", s.tag_vocab.vocabulary.as_ref());

    let (least, short) = (s.image_decode.min_side, s.image_decode.short_side);
    judge.require(
        u64::from(least).pow(2) <= s.image_decode.max_pixels,
        "spec.stages.imageDecode.minSide",
        least,
        "an image of this size has more than `maxPixels`, so that none would be kept; lower it, or raise `maxPixels`",
    );
    judge.require(
        u64::from(short).pow(2) <= s.image_decode.max_pixels,
        "spec.stages.imageDecode.shortSide",
        short,
        "an image of this size has more than `maxPixels`; lower it, or raise `maxPixels`",
    );
    judge.require(
        s.sentences.min_words <= s.sentences.max_words,
        "spec.stages.sentences.minWords",
        s.sentences.min_words,
        &format!("is above `maxWords` ({}), so that no sentence would be kept; lower it", s.sentences.max_words),
    );
    for (i, language) in s.sentences.languages.iter().enumerate() {
        let right = language.len() == 2 && language.bytes().all(|b| b.is_ascii_lowercase());
        let path = format!("spec.stages.sentences.languages[{i}]");
        judge.require(right, &path, language.as_str(), "must be a two-letter code of ISO 639-1, such as \"en\"");
    }
    let band = &s.sentence_score.perplexity;
    judge.require(
        band.min <= band.max,
        "spec.stages.sentenceScore.perplexity",
        json!(band),
        "`min` is above `max`, so that no sentence would be kept; swap them",
    );
    let effective = build.spec.effective().stages;
    semantic(judge, "spec.stages.sentenceDedupSemantic", &effective.sentence_dedup_semantic);
    semantic(judge, "spec.stages.imageDedupSemantic", &effective.image_dedup_semantic);
    clusters(judge, "spec.stages.sentenceCluster", &s.sentence_cluster);
    clusters(judge, "spec.stages.imageCluster", &s.image_cluster);
}

fn semantic(judge: &mut Judge, path: &str, dedup: &SemanticDedup) {
    judge.require(
        dedup.radius() >= dedup.distance(),
        &format!("{path}.maxRadius"),
        dedup.radius(),
        &format!(
            "is below `maxDistance` ({}), so that pairs which count as duplicates would be parted; raise it, or lower that",
            dedup.distance()
        ),
    );
}

fn clusters(judge: &mut Judge, path: &str, cluster: &Cluster) {
    if let (Some(_), Some(clusters)) = (cluster.rows_per_cluster, cluster.clusters) {
        judge.wrong(&format!("{path}.clusters"), clusters, "contradicts `rowsPerCluster`; give one of the two");
    }
}

fn engines(judge: &mut Judge, build: &RealSynBuild) {
    for stage in Stage::ALL.iter().copied().filter(|s| !matches!(s, Stage::Inventory | Stage::Release)) {
        let path = format!("spec.stages.{}", stage.field());
        for (name, asked) in &execution(&build.spec, stage).resources {
            let at = format!("{path}.resources.{name}");
            quantity(judge, &at, Some(asked));
            let known = ["cpu", "memory", "ephemeral-storage"].map(str::to_owned);
            if !known.contains(name) {
                judge.wrong(&at, asked.as_str(), check::unknown(name, known.iter()));
            }
        }
        let Some(device) = device(&build.spec, stage) else {
            continue;
        };
        if device.engine == Engine::Openai && stage != Stage::Generate {
            let message = "only `generate` can ask an endpoint; write `cpu` or `cuda`";
            judge.wrong(&format!("{path}.engine"), "openai", message);
        }
        if device.engine == Engine::Cuda && !stage.has_cuda() {
            let message = "nothing computes this stage on GPUs yet; write `cpu`";
            judge.wrong(&format!("{path}.engine"), "cuda", message);
        }
        let Some(gpu) = &device.gpu else { continue };
        quantity(judge, &format!("{path}.gpu.minMemory"), gpu.min_memory.as_ref());
        super::gpu::validate(judge, &format!("{path}.gpu"), gpu);
        if stage == Stage::Generate && device.engine == Engine::Cuda {
            super::gpu::validate_server(judge, &format!("{path}.gpu"), gpu);
        }
    }
    let generate = &build.spec.stages.generate;
    judge.http("spec.stages.generate.endpoint", generate.endpoint.as_deref());
    for (name, given) in [("endpoint", &generate.endpoint), ("model", &generate.model)] {
        let path = format!("spec.stages.generate.{name}");
        match (generate.device.engine, given) {
            (Engine::Openai, None) => {
                judge.problems.push(Problem::absent(path, "is missing; `engine: openai` needs it"))
            }
            (Engine::Cpu | Engine::Cuda, Some(given)) => {
                judge.wrong(
                    &path,
                    given.as_str(),
                    "has no effect without `engine: openai`; write that, or leave it out",
                );
            }
            _ => {}
        }
    }
}

fn quantity(judge: &mut Judge, path: &str, given: Option<&Quantity>) {
    if let Some(q) = given {
        let right = q.value().is_some_and(|v| v > 0.0);
        judge.require(right, path, q.as_str(), "must be a quantity above 0, such as \"16Gi\", \"500m\" or 4");
    }
}
