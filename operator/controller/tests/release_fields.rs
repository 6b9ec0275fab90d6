//! Every field of a release's spec is changed before the release has begun, on a real API server: to another valid value, to
//! one that is not, and back. What contradicts itself is refused by the API server or by a condition that names the field.

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use realsyn_controller::kinds::Kind;
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::{Server, on_a_control_plane, options};
use support::values::{Field, another, collect, wrong};
use support::{World, examples, is, until, why};

const TEAM: &str = "team";
const NAME: &str = "release";
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_release_that_has_not_begun_may_change_and_says_what_is_wrong() {
    let test = "a_release_that_has_not_begun_may_change_and_says_what_is_wrong";
    on_a_control_plane(test, async |plane, api| {
        plane.kubectl(&["create", "namespace", TEAM])?;
        let controller = api.controller(options(Some(TEAM)), &Faults::new(None, None)).await?;
        let done = story(api).await;
        controller.abort();
        done
    });
}

/// A spec with every field given, but for what excludes another.
fn full() -> Value {
    json!({
        "buildRef": { "name": "not-there", "minGeneration": 2 },
        "similarity": { "metric": "cosine", "low": 0.1, "high": 0.4 },
        "balance": { "maxPerCluster": 20, "targetSamples": 1000 },
        "texts": 3,
        "textSurface": "raw",
        "format": "webdataset",
        "image": { "size": 224, "quality": 90 },
        "samplesPerShard": 1000,
        "destination": {
            "uri": "s3://datasets/one",
            "endpoint": "https://s3.example.org",
            "region": "eu-1",
            "credentials": { "secretName": "realsyn-s3" },
        },
        "retain": "Keep",
        "takedowns": { "uri": "s3://corpora/t.txt", "sha256": "a".repeat(64) },
    })
}

/// A field, the one that has to go for it, and its value.
type Instead = (&'static str, &'static str, fn() -> Value);

/// Fields that take the place of others.
const INSTEAD: [Instead; 3] = [
    ("/buildRef/poolDigest", "/buildRef/minGeneration", || json!("d".repeat(60))),
    ("/similarity/dropBelowQuantile", "/similarity", || json!({ "dropBelowQuantile": 0.1, "dropAboveQuantile": 0.2 })),
    ("/destination/credentials/serviceAccountName", "/destination/credentials/secretName", || json!("writer")),
];

/// The full spec, or that with what takes this field's place.
fn spec_with(field: &Field) -> Result<Value> {
    let (at, mut spec) = (field.pointer(), full());
    if spec.pointer(&at).is_some() {
        return Ok(spec);
    }
    let parent = |path: &str| path.rsplit_once('/').map(|(p, n)| (p.to_owned(), n.to_owned())).unwrap_or_default();
    let swap = INSTEAD.iter().find(|(new, ..)| parent(new).0 == parent(&at).0);
    let (new, old, value) = swap.with_context(|| format!("no spec gives {at}"))?;
    let object = |spec: &mut Value, path: &str| -> Result<()> {
        ensure!(spec.pointer(path).is_some_and(Value::is_object), "{path} is no object");
        Ok(())
    };
    if value().is_object() {
        *spec.pointer_mut(old).context("what has to go")? = value();
    } else {
        let (holder, name) = parent(old);
        object(&mut spec, &holder)?;
        let fields = spec.pointer_mut(&holder).and_then(Value::as_object_mut).context("an object")?;
        fields.remove(&name);
        fields.insert(parent(new).1, value());
    }
    ensure!(spec.pointer(&at).is_some(), "no spec gives {at}");
    Ok(spec)
}

async fn story(api: &Server) -> Result<()> {
    let (build, release) = examples(TEAM);
    let world = World::new(api.client.clone(), TEAM, &build, &release, &[]);
    let api = world.api(Kind::Release);
    let object = |spec: &Value| json!({ "apiVersion": "realsyn.dev/v1alpha1", "kind": "RealSynRelease", "metadata": { "name": NAME }, "spec": spec });
    api.create(&PostParams::default(), &serde_json::from_value(object(&full()))?).await.context("the full spec")?;

    let mut fields = Vec::new();
    collect(Kind::Release.spec_schema(), &mut Vec::new(), &mut fields);
    ensure!(fields.len() > 20, "{} fields", fields.len());
    for field in &fields {
        let (at, spec) = (field.pointer(), spec_with(field)?);
        let now = spec.pointer(&at).context("a field of the spec")?;
        let with = |value: Value| {
            let mut spec = spec.clone();
            *spec.pointer_mut(&at).expect("a field of the spec") = value;
            spec
        };
        let valid = with(another(field, now));
        settle(&world, Kind::Release, NAME, &valid, field.last())
            .await
            .with_context(|| format!("{at}: another value"))?;
        let refused = settle(&world, Kind::Release, NAME, &with(wrong(field)), field.last()).await;
        ensure!(refused.with_context(|| at.clone())? != "waits", "{at} may be {}", wrong(field));
        let back =
            settle(&world, Kind::Release, NAME, &spec, field.last()).await.with_context(|| format!("{at}: back"))?;
        ensure!(back == "waits", "{at}: the old value is no longer right");
    }

    for (at, value, named) in [
        ("/buildRef/poolDigest", json!("d"), "poolDigest"),
        ("/similarity/low", json!(0.5), "low"),
        ("/similarity/dropBelowQuantile", json!(0.1), "band"),
        ("/similarity", json!({ "dropBelowQuantile": 0.6, "dropAboveQuantile": 0.5 }), "quantiles"),
        ("/similarity", json!({ "metric": "halfShifted", "low": -0.5, "high": 0.9 }), "halfShifted"),
        ("/destination/credentials/serviceAccountName", json!("writer"), "serviceAccountName"),
    ] {
        let spec = beside(full(), at, value)?;
        let refused = settle(&world, Kind::Release, NAME, &spec, named).await.with_context(|| at.to_owned())?;
        ensure!(refused != "waits", "{at} contradicts nothing");
    }

    // Applying the same file a second time changes nothing.
    settle(&world, Kind::Release, NAME, &full(), "spec").await?;
    let (how, file) = (PatchParams::apply("a person").force(), object(&full()));
    let first = api.patch(NAME, &how, &Patch::Apply(&file)).await?;
    let second = api.patch(NAME, &how, &Patch::Apply(&file)).await?;
    ensure!(first.metadata.resource_version == second.metadata.resource_version, "the second apply changed something");
    ensure!(first.metadata.generation == second.metadata.generation, "the second apply is a new generation");
    Ok(())
}

/// The spec with one more field.
fn beside(mut spec: Value, at: &str, value: Value) -> Result<Value> {
    let (holder, name) = at.rsplit_once('/').context("a path")?;
    let fields = spec.pointer_mut(holder).and_then(Value::as_object_mut).context("an object")?;
    fields.insert(name.to_owned(), value);
    Ok(spec)
}

/// What became of a change: `waits` for the build, which is not there, or refused by the `server` or a `condition`.
async fn settle(world: &World, kind: Kind, name: &str, spec: &Value, named: &str) -> Result<&'static str> {
    let api = world.api(kind);
    let mut object: DynamicObject = api.get(name).await?;
    object.data["spec"] = spec.clone();
    let generation = match api.replace(name, &PostParams::default(), &object).await {
        Ok(changed) => changed.metadata.generation,
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => {
            return Box::pin(settle(world, kind, name, spec, named)).await;
        }
        Err(kube::Error::Api(refusal)) => {
            ensure!(refusal.message.contains(named), "refused without `{named}`: {}", refusal.message);
            return Ok("server");
        }
        Err(error) => return Err(error.into()),
    };
    until(PATIENCE, "the status of that spec", async || {
        Ok(api.get(name).await?.data["status"]["observedGeneration"].as_i64() == generation)
    })
    .await?;
    let status = &api.get(name).await?.data["status"];
    if !is(status, "Stalled") {
        ensure!(why(status, "Reconciling").contains("there is no build"), "{status:#}");
        return Ok("waits");
    }
    ensure!(why(status, "Stalled").contains(named), "the condition does not name `{named}`: {status:#}");
    Ok("condition")
}
