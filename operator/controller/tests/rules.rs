//! Each rule of the CRDs on a real API server: what it takes, what it refuses, and in which words. A rule that is not tried
//! here fails the test.

mod support;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use realsyn_controller::kinds::{Kind, KindExt};
use serde_json::{Value, json};
use support::examples;
use support::site::{Server, on_a_control_plane};

/// A rule of a kind: its message, and two changes of the example's spec: one that it takes, and one that it refuses.
struct Case {
    kind: Kind,
    message: &'static str,
    taken: Value,
    refused: Value,
}

/// What the rule that compares with what was before says.
const BEGUN: &str = "the release has begun and its spec cannot change; create another release instead";

fn cases() -> Vec<Case> {
    let build = |message, taken, refused| Case { kind: Kind::Build, message, taken, refused };
    let release = |message, taken, refused| Case { kind: Kind::Release, message, taken, refused };
    let credentials = "give secretName or serviceAccountName, one of the two";
    let both = json!({ "secretName": "a", "serviceAccountName": "b" });
    let clusters = "give rowsPerCluster or clusters, one of the two";
    let account = json!({ "secretName": null, "serviceAccountName": "b" });
    let in_storage = |credentials: &Value| json!({ "storage": { "credentials": credentials } });
    let there = |credentials: &Value| json!({ "destination": { "credentials": credentials } });
    let stage = |name: &str, settings: Value| json!({ "stages": { name: settings } });
    let (one, two) = (json!({ "clusters": 7 }), json!({ "clusters": 7, "rowsPerCluster": 9 }));
    let band = |band: Value| json!({ "similarity": band });
    vec![
        build(credentials, in_storage(&account), in_storage(&both)),
        build(
            "min is above max, so that no sentence would be kept; swap them",
            perplexity(30, 30),
            perplexity(200, 30),
        ),
        build(clusters, stage("sentenceCluster", one.clone()), stage("sentenceCluster", two.clone())),
        build(clusters, stage("imageCluster", one), stage("imageCluster", two)),
        build(
            "give share or shards, one of the two",
            json!({ "preview": { "share": 0.5 } }),
            json!({ "preview": { "share": 0.5, "shards": 3 } }),
        ),
        build(
            "images have no text; name the build whose sentences they get with sentencesFrom",
            json!({ "source": { "format": "images" }, "sentencesFrom": { "build": "other" } }),
            json!({ "source": { "format": "images" } }),
        ),
        release(
            "poolDigest says exactly which pool; give one of the two",
            json!({ "buildRef": { "minGeneration": 2 } }),
            json!({ "buildRef": { "minGeneration": 2, "poolDigest": "ab".repeat(32) } }),
        ),
        release(
            "give a band by low and high, or by quantiles, not both",
            band(json!({ "low": null, "high": null, "dropBelowQuantile": 0.1, "dropAboveQuantile": 0.1 })),
            band(json!({ "low": 0.1, "dropBelowQuantile": 0.1 })),
        ),
        release(
            "low is above high, so that no pair would be kept; swap them",
            band(json!({ "low": 0.1, "high": 0.2, "dropBelowQuantile": null, "dropAboveQuantile": null })),
            band(json!({ "low": 0.2, "high": 0.1, "dropBelowQuantile": null, "dropAboveQuantile": null })),
        ),
        release(credentials, there(&account), there(&both)),
    ]
}

#[test]
fn each_rule_takes_and_refuses() {
    on_a_control_plane("each_rule_takes_and_refuses", async |_, api| {
        let cases = cases();
        for Case { kind, message, taken, refused } in &cases {
            let done = create(api, *kind, taken).await;
            ensure!(done.is_ok(), "{message}: {taken} was refused: {done:?}");
            match create(api, *kind, refused).await {
                Ok(_) => bail!("{message}: {refused} was taken"),
                Err(error) => ensure!(error.to_string().contains(message), "{refused}: {error}"),
            }
        }
        begun(api).await?;
        let tried = cases.iter().map(|case| case.message.to_owned()).chain([BEGUN.to_owned()]);
        let written = rules(api).await?;
        ensure!(written.len() == cases.len() + 1, "{} rules: {written:?}", written.len());
        ensure!(written.into_iter().collect::<BTreeSet<_>>() == tried.collect(), "a rule is not tried, or not there");
        Ok(())
    });
}

/// A release whose pool is pinned keeps its spec; its labels may change, and before that its spec may.
async fn begun(api: &Server) -> Result<()> {
    let (_, release) = examples("default");
    let (name, releases) = (release.metadata.name.clone(), self::api(api, Kind::Release));
    releases.create(&PostParams::default(), &serde_json::from_value(json!(release))?).await?;
    let texts = async |n: u32| {
        let patch = Patch::Merge(json!({ "spec": { "texts": n } }));
        releases.patch(&name, &PatchParams::default(), &patch).await
    };
    texts(4).await.context("before it has begun")?;
    let pool = json!({ "status": { "pool": { "generation": 1, "digest": "ab".repeat(32) } } });
    releases.patch_status(&name, &PatchParams::default(), &Patch::Merge(pool)).await?;
    match texts(5).await {
        Ok(_) => bail!("the spec of a release that has begun was changed"),
        Err(error) => ensure!(error.to_string().contains(BEGUN), "{error}"),
    }
    texts(4).await.context("the same again")?;
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
    releases.patch(&name, &PatchParams::default(), &label).await.context("a label")?;
    Ok(())
}

/// The messages of all rules that the API server holds, as often as they stand there.
async fn rules(api: &Server) -> Result<Vec<String>> {
    fn collect(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
                found.extend(rules.into_iter().flatten().filter_map(|rule| Some(rule["message"].as_str()?.to_owned())));
                fields.values().for_each(|field| collect(field, found));
            }
            Value::Array(entries) => entries.iter().for_each(|entry| collect(entry, found)),
            _ => {}
        }
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(api.client.clone());
    let mut found = Vec::new();
    for kinds in ["realsynbuilds", "realsynreleases", "gpunodes"] {
        let definition = definitions.get(&format!("{kinds}.{}", realsyn_crds::GROUP)).await?;
        collect(&json!(definition.spec.versions), &mut found);
    }
    Ok(found)
}

fn api(api: &Server, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(api.client.clone(), "default", &kind.resource())
}

/// Whether the API server would take the example with this change of its spec.
async fn create(server: &Server, kind: Kind, change: &Value) -> Result<DynamicObject, kube::Error> {
    let (build, release) = examples("default");
    let mut object = if kind == Kind::Build { json!(build) } else { json!(release) };
    merge(&mut object["spec"], change);
    let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    let only_asked = PostParams { dry_run: true, ..PostParams::default() };
    api(server, kind).create(&only_asked, &object).await
}

/// As RFC 7396 says.
fn merge(into: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, field) in fields {
        if field.is_null() {
            _ = into.as_object_mut().and_then(|object| object.remove(name));
        } else {
            merge(&mut into[name], field);
        }
    }
}

/// Which perplexities are kept.
fn perplexity(min: u32, max: u32) -> Value {
    json!({ "stages": { "sentenceScore": { "perplexity": { "min": min, "max": max } } } })
}
