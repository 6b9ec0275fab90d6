//! Each setting that can be wrong, wrong once: the problem names the field and says what to do.

use serde_json::{Value, json};

use super::{release_warnings, validate, validate_release, warnings};
use crate::{Problem, RealSynBuild, RealSynRelease, Stage};

fn build_value() -> Value {
    let model = json!({ "sha256": "0".repeat(64) });
    json!({
        "apiVersion": "realsyn.dev/v1alpha1",
        "kind": "RealSynBuild",
        "metadata": { "name": "demo" },
        "spec": {
            "source": { "format": "html", "uri": "pages", "imageMirrors": [{ "prefix": "https://a/", "uri": "images" }] },
            "storage": { "uri": "out" },
            "models": { "clip": model, "perplexity": model, "llm": model },
        },
    })
}

fn release_value() -> Value {
    json!({
        "apiVersion": "realsyn.dev/v1alpha1",
        "kind": "RealSynRelease",
        "metadata": { "name": "demo" },
        "spec": { "buildRef": { "name": "demo" } },
    })
}

/// Sets the value at a path of field names, making the objects on the way.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for name in path.split('.') {
        at = &mut at[name];
    }
    *at = value;
}

fn build_with(changes: &[(&str, Value)]) -> RealSynBuild {
    let mut value = build_value();
    changes.iter().for_each(|(path, v)| set(&mut value, path, v.clone()));
    serde_json::from_value(value).expect("the change is of the right type")
}

fn release_with(changes: &[(&str, Value)]) -> RealSynRelease {
    let mut value = release_value();
    changes.iter().for_each(|(path, v)| set(&mut value, path, v.clone()));
    serde_json::from_value(value).expect("the change is of the right type")
}

/// Asserts that there is one problem, with this path, and that its sentence holds these words.
fn one(problems: &[Problem], path: &str, words: &str) {
    let [problem] = problems else { panic!("{path}: not one problem but {problems:#?}") };
    assert_eq!(problem.path, path, "{problem}");
    assert!(problem.message.contains(words), "{problem}");
    assert!(problem.object.contains("`"), "{problem}");
}

#[test]
fn right_settings_have_no_problem() {
    assert_eq!(validate(&build_with(&[])), []);
    assert_eq!(warnings(&build_with(&[])), []);
    let (build, release) = (build_with(&[]), release_with(&[]));
    assert_eq!(validate_release(&release, Some(&build)), []);
    assert_eq!(release_warnings(&release, Some(&build)), []);
    assert_eq!(validate_release(&release, None), []);
}

#[test]
fn wrong_builds() {
    let list = |uri: &str, sha: &str| json!({ "uri": uri, "sha256": sha });
    let (good, model) = ("0".repeat(64), |uri: &str| json!({ "uri": uri, "sha256": "0".repeat(64) }));
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("metadata.name", json!("Demo"), "metadata.name", "lower-case"),
        ("metadata.name", json!("a".repeat(64)), "metadata.name", "1 to 63"),
        ("spec.source.format", json!("mmc4"), "spec.source.format", "cannot be read yet"),
        ("spec.source.format", json!("images"), "spec.source.format", "sentencesFrom"),
        ("spec.source.uri", json!("ftp://host/x"), "spec.source.uri", "`s3://`, `file://`"),
        ("spec.source.uri", json!("file://x"), "spec.source.uri", "three slashes"),
        ("spec.source.uri", json!("s3:///x"), "spec.source.uri", "bucket"),
        ("spec.source.uri", json!("s3:x"), "spec.source.uri", "not a path"),
        ("spec.source.uri", json!(" pages"), "spec.source.uri", "white space"),
        ("spec.source.uri", json!(""), "spec.source.uri", "empty"),
        ("spec.source.fetch.policy", json!("network"), "spec.source.fetch.policy", "mirrorsOnly"),
        (
            "spec.source.imageMirrors",
            json!([{ "prefix": "https://a/", "uri": "x" }, { "prefix": "https://a/b/", "uri": "y" }]),
            "spec.source.imageMirrors[1].prefix",
            "move it up",
        ),
        ("spec.sentencesFrom", json!({ "build": "demo" }), "spec.sentencesFrom.build", "itself"),
        ("spec.storage.uri", json!("gs://x"), "spec.storage.uri", "`pvc://`"),
        ("spec.storage.endpoint", json!("minio:9000"), "spec.storage.endpoint", "https://"),
        ("spec.storage.credentials", json!({}), "spec.storage.credentials", "one of the two"),
        ("spec.storage.history", json!(0), "spec.storage.history", "from 1 to 16"),
        ("spec.models.clip.sha256", json!("ABC"), "spec.models.clip.sha256", "64 lower-case hex"),
        ("spec.models.clip", Value::Null, "spec.models.clip", "missing"),
        ("spec.models.tagger", model("s3://m/ram.pth"), "spec.models.tagger.uri", "safetensors, ONNX or GGUF"),
        ("spec.takedowns", list("t.txt", "x"), "spec.takedowns.sha256", "64 lower-case hex"),
        ("spec.preview", json!({ "share": 0.1, "shards": 2 }), "spec.preview", "one of the two"),
        ("spec.preview", json!({ "share": 0.0 }), "spec.preview.share", "no shard"),
        ("spec.preview", json!({ "share": 1.5 }), "spec.preview.share", "from 0 to 1"),
        ("spec.budget", json!({ "bytes": "much" }), "spec.budget.bytes", "quantity"),
        ("spec.stopAfter", json!("release"), "spec.stopAfter", "pair-score"),
        ("spec.queueName", json!("a b"), "spec.queueName", "lower-case"),
        (
            "spec.scheduling",
            json!({ "priorityClassName": "system-node-critical" }),
            "spec.scheduling.priorityClassName",
            "the cluster's own",
        ),
        ("spec.scheduling", json!({ "runtimeClassName": "NVIDIA" }), "spec.scheduling.runtimeClassName", "lower-case"),
        ("spec.scheduling", json!({ "schedulerName": "-" }), "spec.scheduling.schedulerName", "either end"),
        (
            "spec.scheduling",
            json!({ "tolerations": [{ "key": "team" }, { "key": "a b", "operator": "Exists" }] }),
            "spec.scheduling.tolerations[1].key",
            "no taint's key",
        ),
        (
            "spec.scheduling",
            json!({ "tolerations": [{ "key": "realsyn.dev/gpu-quarantine", "operator": "Exists" }] }),
            "spec.scheduling.tolerations[0].key",
            "lift the quarantine",
        ),
        (
            "spec.scheduling",
            json!({ "tolerations": [{ "key": "team", "operator": "Exists", "value": "vision" }] }),
            "spec.scheduling.tolerations[0].value",
            "`operator: Exists`",
        ),
        ("spec.stages.imageDecode.quality", json!(101), "spec.stages.imageDecode.quality", "from 1 to 100"),
        ("spec.stages.imageDecode.maxAspect", json!(0.5), "spec.stages.imageDecode.maxAspect", "from 1 to"),
        ("spec.stages.imageDecode.maxPixels", json!(100_000), "spec.stages.imageDecode.shortSide", "maxPixels"),
        ("spec.stages.imageDecode.minSide", json!(9000), "spec.stages.imageDecode.minSide", "none would be kept"),
        (
            "spec.stages.imagePolicy.evaluationSets",
            json!([list("a", &good), list("b", "1")]),
            "spec.stages.imagePolicy.evaluationSets[1].sha256",
            "64 lower-case hex",
        ),
        ("spec.stages.sentences.minWords", json!(82), "spec.stages.sentences.minWords", "`maxWords` (81)"),
        ("spec.stages.sentences.languages", json!(["english"]), "spec.stages.sentences.languages[0]", "two-letter"),
        ("spec.stages.sentenceScore.perplexity.min", json!(300.0), "spec.stages.sentenceScore.perplexity", "swap them"),
        (
            "spec.stages.sentenceDedupNear.threshold",
            json!(0.2),
            "spec.stages.sentenceDedupNear.threshold",
            "from 0.5 to 1",
        ),
        (
            "spec.stages.imageDedupSemantic.maxRadius",
            json!(0.15),
            "spec.stages.imageDedupSemantic.maxRadius",
            "`maxDistance` (0.2)",
        ),
        (
            "spec.stages.sentenceDedupSemantic",
            json!({ "maxDistance": 0.3, "maxRadius": 0.2 }),
            "spec.stages.sentenceDedupSemantic.maxRadius",
            "`maxDistance` (0.3)",
        ),
        (
            "spec.stages.imageCluster",
            json!({ "rowsPerCluster": 10, "clusters": 10 }),
            "spec.stages.imageCluster.clusters",
            "one of the two",
        ),
        ("spec.stages.retrieve.targetRecall", json!(1.1), "spec.stages.retrieve.targetRecall", "from 0 to 1"),
        ("spec.stages.tag.engine", json!("openai"), "spec.stages.tag.engine", "only `generate`"),
        ("spec.stages.tag.resources", json!({ "memroy": 1 }), "spec.stages.tag.resources.memroy", "`memory`"),
        ("spec.stages.tag.resources", json!({ "cpu": "0" }), "spec.stages.tag.resources.cpu", "above 0"),
        ("spec.stages.generate.endpoint", json!("https://h/v1"), "spec.stages.generate.endpoint", "engine: openai"),
        (
            "spec.stages.generate",
            json!({ "engine": "openai", "endpoint": "https://h/v1" }),
            "spec.stages.generate.model",
            "needs it",
        ),
        (
            "spec.stages.retrieve",
            json!({ "engine": "cuda", "gpu": { "nvlink": true, "mig": "1g.10gb" } }),
            "spec.stages.retrieve.gpu.nvlink",
            "no NVLink",
        ),
        ("spec.stages.imageEmbed.engine", json!("cuda"), "spec.stages.imageEmbed.engine", "write `cpu`"),
        (
            "spec.stages.generate",
            json!({ "engine": "cuda", "gpu": { "sharing": "shared" } }),
            "spec.stages.generate.gpu.sharing",
            "nine tenths",
        ),
    ];
    for (path, value, wrong, words) in cases {
        one(&validate(&build_with(&[(path, value)])), wrong, words);
    }
}

#[test]
fn gpus_that_no_cluster_has() {
    let retrieve = |gpu: Value| build_with(&[("spec.stages.retrieve", json!({ "engine": "cuda", "gpu": gpu }))]);
    for (gpu, wrong, words) in [
        (json!({ "products": ["A100", ""] }), "products[1]", "is no product"),
        (json!({ "products": ["fast"] }), "products[0]", "is no product"),
        (json!({ "products": ["A100\n"] }), "products[0]", "is no product"),
        (json!({ "products": ["A100", "H100", "A100"] }), "products[2]", "already"),
        (json!({ "sharing": "shared", "count": 2 }), "count", "same GPU"),
        (json!({ "mig": "3g" }), "mig", "no MIG profile"),
        (json!({ "mig": "8g.80gb" }), "mig", "no MIG profile"),
        (json!({ "mig": "3g.40gb", "count": 2 }), "count", "one MIG instance"),
        (json!({ "mig": "3g.40gb", "sharing": "shared" }), "sharing", "leave one"),
        (json!({ "mig": "1g.10gb", "minMemory": "12Gi" }), "minMemory", "`1g.10gb`"),
        (json!({ "minMemory": "much" }), "minMemory", "must be a quantity"),
    ] {
        one(&validate(&retrieve(gpu)), &format!("spec.stages.retrieve.gpu.{wrong}"), words);
    }
    for right in [
        json!({ "products": ["A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "Tesla T4"], "minMemory": "40Gi" }),
        json!({ "mig": "1g.10gb", "minMemory": "10Gi" }),
        json!({ "mig": "1g.10gb+me" }),
        json!({ "mig": "1g.10gb.me" }),
        json!({ "mig": "1c.3g.40gb" }),
        json!({ "count": 4, "nvlink": true }),
    ] {
        assert_eq!((validate(&retrieve(right.clone())), warnings(&retrieve(right)).len()), (Vec::new(), 0));
    }
    one(&warnings(&retrieve(json!({ "nvlink": true }))), "spec.stages.retrieve.gpu.nvlink", "`count` is 1");
}

#[test]
fn engines_that_compute_a_stage_are_right() {
    for stage in Stage::ALL.iter().filter(|stage| stage.has_cuda()) {
        let path = format!("spec.stages.{}.engine", stage.field());
        assert_eq!(validate(&build_with(&[(&path, json!("cuda"))])), [], "{path}");
    }
    let shared = json!({ "engine": "cpu", "gpu": { "sharing": "shared" } });
    assert_eq!(validate(&build_with(&[("spec.stages.generate", shared)])), []);
}

#[test]
fn what_pods_tell_the_scheduler_is_right() {
    let scheduling = json!({
        "priorityClassName": "batch.low",
        "runtimeClassName": "nvidia",
        "schedulerName": "volcano",
        "tolerations": [
            { "key": "example.com/gpu-pool", "value": "a100", "effect": "NoSchedule" },
            { "key": "team", "operator": "Exists" },
        ],
    });
    assert_eq!(validate(&build_with(&[("spec.scheduling", scheduling)])), []);
}

#[test]
fn an_endpoint_stands_in_for_the_llm() {
    let generate = json!({ "engine": "openai", "endpoint": "https://h/v1", "model": "m" });
    assert_eq!(validate(&build_with(&[("spec.models.llm", Value::Null), ("spec.stages.generate", generate)])), []);
    one(&validate(&build_with(&[("spec.models.llm", Value::Null)])), "spec.models.llm", "missing");
}

#[test]
fn a_build_that_stops_early_needs_the_models_up_to_there() {
    let without = |role: &str, last: &str| {
        let gone = (format!("spec.models.{role}"), Value::Null);
        validate(&build_with(&[(&gone.0, gone.1), ("spec.stopAfter", json!(last))]))
    };
    assert_eq!(without("clip", "sentence-score"), []);
    assert_eq!(without("perplexity", "word-stats"), []);
    assert_eq!(without("llm", "tag"), []);
    one(&without("clip", "sentence-embed"), "spec.models.clip", "missing");
    one(&without("perplexity", "sentence-score"), "spec.models.perplexity", "missing");
    one(&without("llm", "generate"), "spec.models.llm", "missing");
}

#[test]
fn all_problems_come_at_once() {
    let changes = [("metadata.name", json!("-")), ("spec.source.uri", json!("")), ("spec.storage.uri", json!("x://y"))];
    assert_eq!(validate(&build_with(&changes)).len(), 3);
}

#[test]
fn build_warnings() {
    one(&warnings(&build_with(&[("spec.profile", json!("paper"))])), "spec.profile", "10 %");
    one(&warnings(&build_with(&[("spec.source.imageMirrors", json!([]))])), "spec.source.imageMirrors", "not-fetched");
    let small = build_with(&[("spec.stages.imageDecode.shortSide", json!(128))]);
    one(&warnings(&small), "spec.stages.imageDecode.shortSide", "224");
    let all = json!({ "targetRecall": 0.9, "probeCells": 1, "probeClusters": 1 });
    one(&warnings(&build_with(&[("spec.stages.retrieve", all)])), "spec.stages.retrieve.targetRecall", "no effect");
}

#[test]
fn wrong_releases() {
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("metadata.name", json!("a_b"), "metadata.name", "lower-case"),
        ("spec.buildRef.name", json!("other"), "spec.buildRef.name", "`demo`"),
        (
            "spec.buildRef",
            json!({ "name": "demo", "minGeneration": 2, "poolDigest": "x" }),
            "spec.buildRef.poolDigest",
            "one of the two",
        ),
        ("spec.similarity", json!({}), "spec.similarity", "leave `similarity` out"),
        ("spec.similarity", json!({ "low": 0.1, "dropAboveQuantile": 0.1 }), "spec.similarity", "not both"),
        ("spec.similarity", json!({ "low": 0.6, "high": 0.5 }), "spec.similarity.low", "swap them"),
        (
            "spec.similarity",
            json!({ "dropBelowQuantile": 0.5, "dropAboveQuantile": 0.5 }),
            "spec.similarity",
            "drop every pair",
        ),
        ("spec.similarity", json!({ "metric": "halfShifted", "low": -0.5 }), "spec.similarity.low", "0 to 1"),
        ("spec.similarity", json!({ "low": 1.5 }), "spec.similarity.low", "from -1 to 1"),
        ("spec.balance.maxPerCluster", json!(0), "spec.balance.maxPerCluster", "at least 1"),
        ("spec.texts", json!(11), "spec.texts", "1 to 10"),
        ("spec.image.quality", json!(0), "spec.image.quality", "from 1 to 100"),
        ("spec.samplesPerShard", json!(0), "spec.samplesPerShard", "from 1"),
        ("spec.destination", json!({ "uri": "ftp://x/y" }), "spec.destination.uri", "`s3://`"),
        (
            "spec.destination",
            json!({ "uri": "x", "credentials": {} }),
            "spec.destination.credentials",
            "one of the two",
        ),
        ("spec.takedowns", json!({ "uri": "t", "sha256": "1" }), "spec.takedowns.sha256", "64 lower-case hex"),
    ];
    let build = build_with(&[("spec.stages.retrieve.candidates", json!(20))]);
    for (path, value, wrong, words) in cases {
        one(&validate_release(&release_with(&[(path, value)]), Some(&build)), wrong, words);
    }
}

#[test]
fn a_release_takes_no_more_than_its_build_keeps() {
    let build = build_with(&[("spec.stages.retrieve.candidates", json!(2))]);
    one(&validate_release(&release_with(&[]), Some(&build)), "spec.texts", "`spec.stages.retrieve.candidates`");
    let large = release_with(&[("spec.image.size", json!(512))]);
    one(&release_warnings(&large, Some(&build)), "spec.image.size", "336");
}
