//! The table of classes against the schemas, and what a stage's settings hold.

use serde_json::{Value, json};

use super::{CLASSES, Class, class_of, fits, release_settings, stage_settings};
use crate::{BuildSpec, Engine, Gpu, Kind, ListRef, Profile, Quantity, ReleaseSpec, Stage};

fn build() -> BuildSpec {
    serde_json::from_value(json!({ "source": { "format": "html", "uri": "pages" }, "storage": { "uri": "out" } }))
        .unwrap()
}

fn release() -> ReleaseSpec {
    serde_json::from_value(json!({ "buildRef": { "name": "b" } })).unwrap()
}

fn list(uri: &str, digit: &str) -> ListRef {
    ListRef { uri: uri.to_owned(), sha256: digit.repeat(64) }
}

/// Every field that holds a value, with its description, or that of the object that speaks for all its fields.
fn leaves(schema: &Value, path: &str, found: &mut Vec<(String, String)>) {
    let mut own = Vec::new();
    let description = schema["description"].as_str().unwrap_or_default();
    if let Some(fields) = schema["properties"].as_object() {
        fields.iter().for_each(|(name, field)| leaves(field, &format!("{path}.{name}"), &mut own));
    } else if schema.pointer("/items/properties").is_some() {
        leaves(&schema["items"], &format!("{path}[]"), &mut own);
    } else {
        own.push((path.to_owned(), description.to_owned()));
    }
    if description.starts_with('(') {
        own.iter_mut().for_each(|(_, text)| *text = description.to_owned());
    }
    found.append(&mut own);
}

fn all_leaves() -> Vec<(String, String)> {
    let mut found = Vec::new();
    leaves(Kind::Build.spec_schema(), "build", &mut found);
    leaves(Kind::Release.spec_schema(), "release", &mut found);
    found
}

#[test]
fn every_leaf_has_exactly_one_class_and_says_it() {
    let leaves = all_leaves();
    assert!(leaves.len() > 200, "{} leaves", leaves.len());
    for (path, description) in &leaves {
        let rows: Vec<_> = CLASSES.iter().filter(|(pattern, _)| fits(pattern, path)).collect();
        assert_eq!(rows.len(), 1, "{path} is fitted by {rows:?}");
        let head = format!("({}) ", rows[0].1.name());
        assert!(description.starts_with(&head), "{path}: {description}");
    }
}

#[test]
fn every_row_fits_some_leaf() {
    let leaves = all_leaves();
    for (pattern, _) in CLASSES {
        assert!(leaves.iter().any(|(path, _)| fits(pattern, path)), "{pattern} fits no field");
    }
}

#[test]
fn every_stage_has_settings_under_its_field() {
    let schema = &Kind::Build.spec_schema()["properties"]["stages"]["properties"];
    let named: Vec<&str> =
        Stage::ALL.iter().map(|s| s.field()).filter(|f| !["inventory", "release"].contains(f)).collect();
    let there: Vec<&str> = schema.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(there, named);
}

#[test]
fn settings_are_split_by_class() {
    let score = |class| stage_settings(&build().effective(), Stage::SentenceScore, class);
    assert_eq!(score(Class::Output), json!({ "engine": "cpu", "logBase": "2", "prependEos": false }));
    assert_eq!(score(Class::Selection), json!({ "minEntropy": 0.3, "perplexity": { "max": 200.0, "min": 30.0 } }));
    assert_eq!(score(Class::Execution), json!({ "maxRejectedShare": 0.001, "retry": 3 }));
    assert_eq!(stage_settings(&build(), Stage::Inventory, Class::Output), json!({}));
}

#[test]
fn settings_come_out_in_one_order() {
    let text = stage_settings(&build().effective(), Stage::ImageDecode, Class::Output).to_string();
    assert_eq!(
        text,
        r#"{"maxAspect":3.0,"maxBytes":20000000,"maxPixels":64000000,"minSide":100,"quality":90,"shortSide":336}"#
    );
}

#[test]
fn a_list_counts_by_its_hash_alone_and_sets_have_no_order() {
    let mut spec = build();
    spec.stages.image_policy.blocked_hosts = Some(list("a.txt", "a"));
    spec.stages.image_policy.evaluation_sets = vec![list("x", "2"), list("y", "1"), list("z", "1")];
    let settings = stage_settings(&spec, Stage::ImagePolicy, Class::Output);
    assert_eq!(
        settings,
        json!({
            "blockedHosts": { "sha256": "a".repeat(64) },
            "evaluationSets": [{ "sha256": "1".repeat(64) }, { "sha256": "2".repeat(64) }],
        })
    );
}

#[test]
fn execution_fields_reach_no_other_class() {
    let mut spec = build().effective();
    let before = (
        stage_settings(&spec, Stage::ImageEmbed, Class::Output),
        stage_settings(&spec, Stage::Generate, Class::Output),
    );
    let embed = &mut spec.stages.image_embed;
    embed.execution.parallelism = Some(7);
    embed.execution.retry = 9;
    embed.execution.max_rejected_share = 0.5;
    embed.execution.resources.insert("memory".to_owned(), Quantity::new("1Gi"));
    embed.device.gpu = Some(Gpu { count: 4, ..Gpu::default() });
    spec.stages.generate.endpoint = Some("http://elsewhere/v1".to_owned());
    let after = (
        stage_settings(&spec, Stage::ImageEmbed, Class::Output),
        stage_settings(&spec, Stage::Generate, Class::Output),
    );
    assert_eq!(before, after);
    assert_eq!(stage_settings(&spec, Stage::ImageEmbed, Class::Execution)["resources"], json!({ "memory": "1Gi" }));

    spec.stages.image_embed.device.engine = Engine::Cuda;
    assert_ne!(after.0, stage_settings(&spec, Stage::ImageEmbed, Class::Output));
}

#[test]
fn a_release_depends_on_its_content_alone() {
    let (mut spec, mut from) = (release().effective(Profile::Scaled), build());
    let before = release_settings(&from, &spec);
    assert_eq!(
        before["similarity"],
        json!({ "dropAboveQuantile": 0.075, "dropBelowQuantile": 0.075, "metric": "cosine" })
    );
    spec.build_ref.name = "other".to_owned();
    spec.destination.uri = Some("s3://elsewhere/x".to_owned());
    assert_eq!(before, release_settings(&from, &spec));

    spec.takedowns = Some(list("t", "3"));
    from.takedowns = Some(list("u", "4"));
    let after = release_settings(&from, &spec);
    assert_eq!(after["takedowns"], json!({ "sha256": "3".repeat(64) }));
    assert_eq!(after["buildTakedowns"], json!({ "sha256": "4".repeat(64) }));
}

#[test]
fn paths_without_a_field_have_no_class() {
    assert_eq!(class_of("build.source"), None);
    assert_eq!(class_of("build.source.uri.deeper"), None);
    assert_eq!(class_of("build.source.uri"), Some(Class::Output));
}
