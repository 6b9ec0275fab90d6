//! Every field of a build's spec is changed, on a real API server: to another valid value, to one that is not, and back.
//! Each change converges, or is refused by the API server or by a condition that names the field.
//!
//! The values follow from the schema. Of the fields that every stage has, one stage's are tried, another for each field.

mod support;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::future;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use realsyn_controller::kinds::Kind;
use realsyn_crds::BuildSpec;
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::{Server, Site, on_a_control_plane};
use support::values::{Field, another, collect, wrong};
use support::{examples, is, why};

/// Namespaces at work at once; each changes its share of the fields, one after the other.
const AT_ONCE: usize = 6;

#[test]
fn every_field_converges_or_is_refused_by_name() {
    on_a_control_plane("every_field_converges_or_is_refused_by_name", async |_, api| {
        let fields = fields();
        assert!(fields.len() > 100, "{} fields", fields.len());
        classes(api).await?;
        let shares = fields.chunks(fields.len().div_ceil(AT_ONCE)).enumerate();
        let done = future::try_join_all(shares.map(async |(n, share)| change(api, n, share).await));
        let told: Vec<String> = done.await?.concat();
        println!(
            "{} fields: {} valid values converged",
            fields.len(),
            told.iter().filter(|t| *t == "converged").count()
        );
        println!("{} were refused by a condition", told.iter().filter(|t| *t == "condition").count());
        println!("{} were refused by the API server", told.iter().filter(|t| *t == "server").count());
        contradictions(api).await?;
        twice(api).await
    });
}

/// Every field, also those that exclude each other.
fn everything() -> Value {
    serde_json::from_str(include_str!("../../plan/tests/support/build.json")).expect("JSON")
}

/// Two specs that between them have every field given: some exclude each other.
fn full_specs() -> [Value; 2] {
    let full = everything();
    let without = |paths: &[&str]| {
        let mut spec = full.clone();
        for path in paths {
            let (parent, name) = path.rsplit_once('/').expect("a path");
            spec.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(name).expect(path);
        }
        spec["suspend"] = json!(false);
        spec
    };
    let one = without(&[
        "/sentencesFrom",
        "/storage/credentials/serviceAccountName",
        "/preview/shards",
        "/stages/sentenceCluster/clusters",
        "/stages/imageCluster/clusters",
        "/stages/generate/endpoint",
        "/stages/generate/model",
    ]);
    let mut other = without(&[
        "/sentencesFrom",
        "/storage/credentials/secretName",
        "/preview/share",
        "/stages/sentenceCluster/rowsPerCluster",
        "/stages/imageCluster/rowsPerCluster",
    ]);
    other["stages"]["generate"]["engine"] = json!("openai");
    [one, other]
}

/// The fields that a full spec has, each kind of stage's common fields once.
fn fields() -> Vec<Field> {
    let mut found = Vec::new();
    collect(Kind::Build.spec_schema(), &mut Vec::new(), &mut found);
    // It needs another build, and excludes much: `tests/control_plane.rs` changes it.
    found.retain(|field| field.path[0] != "sentencesFrom");
    let specs = full_specs();
    for field in &found {
        let is_given = specs.iter().any(|spec| spec.pointer(&field.pointer()).is_some());
        assert!(is_given, "no spec gives {}", field.pointer());
    }
    // `stages/<any>/retry` and its like.
    let common = |f: &Field| {
        let name = f.path.get(2..).map(|p| p.join("/")).unwrap_or_default();
        let own = ["parallelism", "resources", "retry", "maxRejectedShare", "engine", "gpu"];
        (f.path[0] == "stages" && own.iter().any(|o| name.starts_with(o))).then_some(name)
    };
    let count = |f: &Field| found.iter().filter(|g| common(g) == common(f)).count();
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for (n, field) in found.iter().enumerate() {
        match common(field) {
            None => kept.push(field.clone()),
            // The first of them, the third …: another stage for each field.
            Some(name) if n % count(field).min(3) == 0 && seen.insert(name.clone()) => kept.push(field.clone()),
            Some(_) => {}
        }
    }
    kept
}

/// What became of a change.
async fn settle(site: &Site, name: &str, spec: &Value, named: &str) -> Result<String> {
    let api = site.world.api(Kind::Build);
    if let Ok(read) = serde_json::from_value::<BuildSpec>(spec.clone()) {
        site.world.has(&read, &[]);
    }
    // The whole spec is replaced: what a merge leaves in place would hide what is missing.
    let mut object: DynamicObject = api.get(name).await?;
    object.data["spec"] = spec.clone();
    let generation = match api.replace(name, &Default::default(), &object).await {
        Ok(changed) => changed.metadata.generation,
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => {
            return Box::pin(settle(site, name, spec, named)).await;
        }
        Err(kube::Error::Api(refusal)) => {
            ensure!(refusal.message.contains(named), "refused without `{named}`: {}", refusal.message);
            return Ok("server".to_owned());
        }
        Err(error) => return Err(error.into()),
    };
    let suspended = spec["suspend"] == true;
    site.until(|| async {
        let status = &api.get(name).await?.data["status"];
        let settled = is(status, "Ready") || is(status, "Stalled") || (suspended && is(status, "Suspended"));
        Ok(status["observedGeneration"].as_i64() == generation && settled)
    })
    .await?;
    let status = &api.get(name).await?.data["status"];
    if !is(status, "Stalled") {
        return Ok("converged".to_owned());
    }
    let said = why(status, "Stalled");
    ensure!(said.contains(named), "the condition does not name `{named}`: {said}");
    Ok("condition".to_owned())
}

/// The classes that builds name: a pod whose class is not there is never made.
async fn classes(api: &Server) -> Result<()> {
    let (priorities, runtimes) = (Api::all(api.client.clone()), Api::all(api.client.clone()));
    for (priority, runtime) in [("batch", "nvidia"), ("batch2", "nvidia2")] {
        let class: PriorityClass = serde_json::from_value(json!({ "metadata": { "name": priority }, "value": 7 }))?;
        priorities.create(&PostParams::default(), &class).await?;
        let class: RuntimeClass =
            serde_json::from_value(json!({ "metadata": { "name": runtime }, "handler": "runc" }))?;
        runtimes.create(&PostParams::default(), &class).await?;
    }
    Ok(())
}

async fn change(api: &Server, n: usize, fields: &[Field]) -> Result<Vec<String>> {
    let (mut build, release) = examples(&format!("fields-{n}"));
    let specs = full_specs();
    for spec in &specs {
        build.spec = serde_json::from_value(spec.clone()).context("the full spec")?;
        let problems = realsyn_crds::validate(&build);
        ensure!(problems.is_empty(), "the full spec: {problems:?}");
    }
    let name = build.metadata.name.clone();
    let site = Site::open(api, (build, release), &[], Faults::new(None, None)).await?;
    // A pod whose account is not there is never made.
    let accounts: Api<ServiceAccount> = Api::namespaced(api.client.clone(), &site.world.namespace);
    for account in ["reader", "reader2"] {
        let object = serde_json::from_value(json!({ "metadata": { "name": account } }))?;
        accounts.create(&PostParams::default(), &object).await?;
    }
    let mut told = Vec::new();
    for field in fields {
        let at = field.pointer();
        let full = specs.iter().find(|spec| spec.pointer(&at).is_some()).expect("one of them gives it");
        let with = |value: Value| {
            let mut spec = full.clone();
            *spec.pointer_mut(&at).expect("a field of the full spec") = value;
            spec
        };
        let now = full.pointer(&at).expect("a field of the full spec");
        let valid = settle(&site, &name, &with(another(field, now)), field.last()).await;
        told.push(valid.with_context(|| format!("{at}: another value, {}", another(field, now)))?);
        let refused = settle(&site, &name, &with(wrong(field)), field.last()).await;
        let refused = refused.with_context(|| format!("{at}: {}", wrong(field)))?;
        ensure!(refused != "converged", "{at} may be {}", wrong(field));
        told.push(refused);
        let back = settle(&site, &name, full, field.last()).await.with_context(|| format!("{at}: back"))?;
        ensure!(back == "converged", "{at}: the old value is no longer right");
    }
    Ok(told)
}

/// Values that are right by themselves and contradict others of the full spec, and what a refusal names.
fn contradicting() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/source/format", json!("images"), "sentencesFrom"),
        ("/source/imageMirrors/1/prefix", json!("https://a.example/b/"), "imageMirrors"),
        ("/storage/credentials/serviceAccountName", json!("reader"), "serviceAccountName"),
        ("/stages/imageDecode/minSide", json!(9000), "minSide"),
        ("/stages/imageDecode/shortSide", json!(9000), "shortSide"),
        ("/stages/sentences/minWords", json!(82), "minWords"),
        ("/stages/sentenceScore/perplexity/min", json!(201.0), "perplexity"),
        ("/stages/sentenceScore/gpu/count", json!(2), "count"),
        ("/stages/sentenceScore/gpu/nvlink", json!(true), "nvlink"),
        ("/stages/sentenceScore/gpu/sharing", json!("shared"), "sharing"),
        ("/stages/sentenceScore/gpu/minMemory", json!("40Gi"), "minMemory"),
        ("/stages/sentenceEmbed/engine", json!("openai"), "engine"),
        ("/stages/sentenceDedupSemantic/maxRadius", json!(0.05), "maxRadius"),
        ("/stages/imageDedupSemantic/maxRadius", json!(0.05), "maxRadius"),
        ("/stages/sentenceCluster/clusters", json!(64), "clusters"),
        ("/stages/imageCluster/clusters", json!(32), "clusters"),
        ("/stages/generate/engine", json!("openai"), "endpoint"),
        ("/stages/generate/endpoint", json!("http://127.0.0.1:8000/v1"), "endpoint"),
        ("/sentencesFrom", json!({ "build": "obelics" }), "sentencesFrom"),
        ("/stopAfter", json!("release"), "stopAfter"),
        ("/preview/shards", json!(3), "shards"),
        ("/scheduling/tolerations/0/operator", json!("Exists"), "value"),
    ]
}

/// What contradicts itself is refused by name, and taken once it does not.
async fn contradictions(api: &Server) -> Result<()> {
    let [full, _] = full_specs();
    let (mut build, release) = examples("contradictions");
    build.spec = serde_json::from_value(full.clone())?;
    let site = Site::open(api, (build, release), &[], Faults::new(None, None)).await?;
    for (at, value, named) in contradicting() {
        let (holder, name) = at.rsplit_once('/').context("a path")?;
        let mut spec = full.clone();
        let fields = spec.pointer_mut(holder).and_then(Value::as_object_mut).context("an object")?;
        fields.insert(name.to_owned(), value);
        let refused = settle(&site, "obelics", &spec, named).await.with_context(|| at.to_owned())?;
        ensure!(refused != "converged", "{at} contradicts nothing");
        let back = settle(&site, "obelics", &full, named).await.with_context(|| format!("{at}: back"))?;
        ensure!(back == "converged", "{at}: what contradicts nothing is refused");
    }
    Ok(())
}

/// Applying the same file a second time changes nothing.
async fn twice(api: &Server) -> Result<()> {
    let (build, release) = examples("twice");
    let file = json!({ "apiVersion": "realsyn.dev/v1alpha1", "kind": "RealSynBuild", "metadata": { "name": "obelics" },
                       "spec": build.spec });
    let site = Site::open(api, (build, release), &[], Faults::new(None, None)).await?;
    site.end().await?;
    let (api, how) = (site.world.api(Kind::Build), PatchParams::apply("a person").force());
    let first = api.patch("obelics", &how, &Patch::Apply(&file)).await?;
    let second = api.patch("obelics", &how, &Patch::Apply(&file)).await?;
    ensure!(first.metadata.resource_version == second.metadata.resource_version, "the second apply changed something");
    ensure!(first.metadata.generation == second.metadata.generation, "the second apply is a new generation");
    Ok(())
}
