//! Which field reaches which digest: every field of a build is changed in turn.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use realsyn_crds::fields::{Class, class_of};
use realsyn_crds::{Kind, ReleaseSpec, Stage, release_settings};
use realsyn_plan::Digest;
use realsyn_plan::graph::stages_read;
use realsyn_plan::recipe::{Recipe, Recipes, inventory_digest};
use realsyn_plan::why::why;
use serde_json::{Value, json};

use support::{effective, full_spec};

fn release(spec: &Value, settings: &Value) -> Value {
    let release: ReleaseSpec = serde_json::from_value(settings.clone()).expect("the release can be read");
    let build = effective(spec);
    release_settings(&build, &release.effective(build.profile))
}

/// A release with every field given.
fn full_release() -> Value {
    let list = json!({ "uri": "lists/more.txt", "sha256": "6".repeat(64) });
    json!({
        "buildRef": { "name": "demo", "minGeneration": 2, "poolDigest": "0".repeat(64) },
        "similarity": { "metric": "cosine", "low": 0.1, "high": 0.9, "dropBelowQuantile": 0.1, "dropAboveQuantile": 0.1 },
        "balance": { "maxPerCluster": 20, "targetSamples": 1000 },
        "texts": 3,
        "textSurface": "raw",
        "format": "webdataset",
        "image": {},
        "samplesPerShard": 10_000,
        "destination": { "uri": "out", "endpoint": "https://s3.example", "region": "here",
            "credentials": { "secretName": "keys", "serviceAccountName": "writer" } },
        "takedowns": list,
    })
}

fn recipes(spec: &Value, settings: &Value) -> Recipes {
    let root = support::inventory(&["a", "b"], 100).root();
    Recipes::new(&effective(spec), Some(release(spec, settings)), &root)
}

/// The leaves of a spec's schema, each with its own node; lists of objects end in `[]`.
fn leaves<'a>(schema: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    if let Some(fields) = schema["properties"].as_object() {
        fields.iter().for_each(|(name, field)| leaves(field, &format!("{path}.{name}"), found));
    } else if schema.pointer("/items/properties").is_some() {
        leaves(&schema["items"], &format!("{path}[]"), found);
    } else {
        found.push((path.to_owned(), schema));
    }
}

/// Another value that the schema allows.
fn another(schema: &Value, now: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().find(|v| *v != now).expect("an enum has two values").clone();
    }
    let minimum = schema["minimum"].as_f64();
    match schema["type"].as_str() {
        Some("boolean") => json!(now != true),
        Some("integer") => match (now.as_u64(), schema["maximum"].as_u64()) {
            (Some(n), Some(most)) if n >= most => json!(n - 1),
            (Some(n), _) => json!(n + 1),
            (None, _) => json!(minimum.unwrap_or(0.0) as u64 + 3),
        },
        Some("number") => json!((now.as_f64().expect("numbers are given") + minimum.unwrap_or(0.0)) / 2.0 + 0.01),
        Some("array") => json!(["de", "en"]),
        Some("object") => json!({ "cpu": "7" }),
        Some("string") if schema["pattern"].is_string() => json!("9".repeat(64)),
        Some("string") => json!(format!("{}x", now.as_str().unwrap_or_default())),
        None => json!("7Gi"),
        Some(other) => panic!("no other value of type {other} is known"),
    }
}

/// The spec with another value at this leaf. In a list of objects the first entry changes.
fn changed(spec: &Value, path: &str, schema: &Value) -> Value {
    let mut spec = spec.clone();
    let pointer = path.split_once('.').expect("a path below the kind").1.replace("[]", ".0").replace('.', "/");
    let (parent, name) = match pointer.rsplit_once('/') {
        Some((parent, name)) => (format!("/{parent}"), name),
        None => (String::new(), pointer.as_str()),
    };
    let fields = spec.pointer_mut(&parent).unwrap_or_else(|| panic!("{path} has no parent in the spec"));
    if fields.is_null() {
        *fields = json!({});
    }
    // What is not given has the schema's default.
    let now = if fields[name].is_null() { &schema["default"] } else { &fields[name] };
    let value = another(schema, now);
    assert_ne!(fields[name], value, "{path}");
    fields[name] = value;
    spec
}

type Digests = BTreeMap<&'static str, (Digest, Digest)>;

/// Recipe and stage digests by stage.
fn digests(recipes: &Recipes) -> Digests {
    let pair = |s: Stage| Some((s.name(), (recipes.recipe(s)?.digest, recipes.stage_digest(s)?)));
    Stage::ALL.iter().copied().filter_map(pair).collect()
}

fn stages(changed: impl Fn(Stage) -> bool) -> BTreeSet<&'static str> {
    Stage::ALL.iter().copied().filter(|s| *s != Stage::Inventory && changed(*s)).map(Stage::name).collect()
}

/// The stages whose recipe a field of a build must reach: written down once more, so that a slip in the plan shows.
fn reached(path: &str) -> BTreeSet<&'static str> {
    let parts: Vec<&str> = path.split('.').collect();
    let names: &[&str] = match parts[1..] {
        ["stages", "sentenceScore", "minEntropy" | "perplexity", ..] => &["sentence-dedup-near"],
        // Cells copy rows as far as the distance, with what pairs are verified by.
        ["stages", "sentenceDedupSemantic", "enabled" | "maxDistance" | "verify"] => {
            &["sentence-cells", "sentence-dedup-semantic"]
        }
        ["stages", "imageDedupSemantic", "enabled" | "maxDistance" | "verify"] => {
            &["image-cells", "image-dedup-semantic"]
        }
        ["stages", field, ..] => return stages(|s| s.field() == field),
        ["models", "clip", _] => &["sentence-embed", "image-embed", "tag-vocab", "caption", "tag", "pair-score"],
        ["models", "perplexity", _] => &["sentence-score"],
        ["models", "captioner", _] => &["caption"],
        ["models", "tagger", _] => &["tag-vocab", "tag"],
        ["models", "llm", _] => &["generate"],
        ["source", "format"] => &["documents"],
        ["source", "imageMirrors[]", "prefix"] | ["source", "fetch", "revision"] => &["fetch"],
        ["takedowns", _] => &["release"],
        // They decide which shards there are: the inventory and its root.
        ["source", "uri" | "revision"] | ["preview", _] => &[],
        // Its effect is what it fills in, and here everything is given.
        ["profile"] => &[],
        // It says whose digests the stages that make sentences have.
        ["sentencesFrom", _] => &[],
        _ => panic!("{path} changes an output, but no one has said which"),
    };
    names.iter().copied().collect()
}

/// A stage and everything upstream of it.
fn upstream(stage: Stage) -> BTreeSet<&'static str> {
    let mut found: BTreeSet<&str> = stages_read(stage).into_iter().flat_map(upstream).collect();
    found.insert(stage.name());
    found
}

#[test]
fn every_field_of_a_build_reaches_the_digests_of_its_class_and_no_other() {
    let (spec, settings) = (full_spec(), full_release());
    let before = digests(&recipes(&spec, &settings));
    assert_eq!(before.len(), Stage::ALL.len() - 1);
    let typed = serde_json::to_value(effective(&spec)).unwrap();
    let mut found = Vec::new();
    leaves(Kind::Build.spec_schema(), "build", &mut found);
    let mut by_class: BTreeMap<Class, u32> = BTreeMap::new();
    for (path, schema) in found {
        let class = class_of(&path).expect("every leaf has a class");
        *by_class.entry(class).or_default() += 1;
        let other = changed(&spec, &path, schema);
        assert_ne!(serde_json::to_value(effective(&other)).unwrap(), typed, "{path} was not really changed");
        let after = digests(&recipes(&other, &settings));
        let recipes_now = stages(|s| before[s.name()].0 != after[s.name()].0);
        let wanted = if class == Class::Execution { BTreeSet::new() } else { reached(&path) };
        assert_eq!(recipes_now, wanted, "{} field {path}: recipes", class.name());
        let stages_now = stages(|s| before[s.name()].1 != after[s.name()].1);
        let follow = stages(|s| !upstream(s).is_disjoint(&wanted));
        assert_eq!(stages_now, follow, "{} field {path}: stages", class.name());
    }
    assert!(by_class[&Class::Execution] > 150 && by_class[&Class::Output] > 60, "{by_class:?}");
}

#[test]
fn every_field_of_a_release_reaches_its_digest_alone_or_none() {
    let (spec, settings) = (full_spec(), full_release());
    let before = digests(&recipes(&spec, &settings));
    let mut found = Vec::new();
    leaves(Kind::Release.spec_schema(), "release", &mut found);
    for (path, schema) in found {
        let after = digests(&recipes(&spec, &changed(&settings, &path, schema)));
        let wanted: &[&str] = if class_of(&path) == Some(Class::Execution) { &[] } else { &["release"] };
        let reached = stages(|s| before[s.name()] != after[s.name()]);
        assert_eq!(reached, wanted.iter().copied().collect(), "{path}");
    }
}

#[test]
fn uri_and_revision_name_the_inventory_and_reach_nothing_else() {
    let spec = full_spec();
    let name = inventory_digest(&effective(&spec));
    for (pointer, value, changes) in [
        ("/source/uri", "elsewhere", true),
        ("/source/revision", "1", true),
        ("/source/format", "obelics", true),
        ("/source/fetch/revision", "1", false),
        ("/storage/uri", "elsewhere", false),
    ] {
        let mut other = spec.clone();
        *other.pointer_mut(pointer).unwrap() = json!(value);
        assert_eq!(inventory_digest(&effective(&other)) != name, changes, "{pointer}");
    }
}

#[test]
fn another_profile_reaches_what_it_fills_in() {
    let plain = |profile| json!({ "source": { "format": "html", "uri": "pages" }, "storage": { "uri": "out" }, "profile": profile });
    let settings = json!({ "buildRef": { "name": "demo" } });
    let (scaled, paper) =
        (digests(&recipes(&plain("scaled"), &settings)), digests(&recipes(&plain("paper"), &settings)));
    let reached = stages(|s| scaled[s.name()].0 != paper[s.name()].0);
    let of_images = ["image-cells", "image-cluster", "image-dedup-semantic"];
    let of_sentences = ["sentence-cells", "sentence-cluster", "sentence-dedup-semantic"];
    assert_eq!(reached, of_images.into_iter().chain(of_sentences).chain(["release", "retrieve"]).collect());
}

#[test]
fn order_and_repetition_in_lists_mean_nothing() {
    let (spec, settings) = (full_spec(), full_release());
    let mut other = spec.clone();
    other["stages"]["sentences"]["languages"] = json!(["en", "en"]);
    other["source"]["imageMirrors"].as_array_mut().unwrap().reverse();
    assert_eq!(digests(&recipes(&spec, &settings)), digests(&recipes(&other, &settings)));
}

/// Equal settings must give equal digests from version to version, or every finished build runs again.
#[test]
fn recipes_are_those_of_the_golden_file() {
    let (spec, settings) = (full_spec(), full_release());
    let recipes = recipes(&spec, &settings);
    let now: BTreeMap<&str, String> =
        digests(&recipes).into_iter().map(|(stage, (recipe, _))| (stage, recipe.to_string())).collect();
    let golden: BTreeMap<&str, String> =
        serde_json::from_str(include_str!("golden/recipes.json")).expect("the golden file is JSON");
    let differ: Vec<&&str> = now.keys().filter(|stage| now.get(**stage) != golden.get(**stage)).collect();
    assert!(
        now == golden,
        "the recipes of {differ:?} differ from tests/golden/recipes.json under equal settings. If what these stages write \
         has changed, raise their revisions in src/recipe.rs and put the text below into the file; if it has not, restore \
         what the recipe hashes, or every finished build runs these stages again.\n{}",
        serde_json::to_string_pretty(&now).expect("plain data")
    );
}

#[test]
fn a_recipe_read_back_is_the_same() {
    let recipes = recipes(&full_spec(), &full_release());
    let text = serde_json::to_string(&recipes).unwrap();
    assert_eq!(serde_json::from_str::<Recipes>(&text).unwrap(), recipes);
}

/// The plan's sentences before and after a change of the full build.
fn why_after(change: impl Fn(&mut Value)) -> impl Fn(Stage) -> Option<String> {
    let (spec, settings) = (full_spec(), full_release());
    let mut other = spec.clone();
    change(&mut other);
    let (old, new) = (recipes(&spec, &settings), recipes(&other, &settings));
    move |stage| why(stage, &old, &new)
}

#[test]
fn why_names_the_field_or_the_stage_that_it_follows_from() {
    let why = why_after(|s| s["models"]["perplexity"]["sha256"] = json!("f".repeat(64)));
    assert_eq!(why(Stage::SentenceScore).as_deref(), Some("`models.perplexity.sha256` changed"));
    assert_eq!(why(Stage::SentenceDedupNear).as_deref(), Some("follows from sentence-score"));
    assert_eq!(why(Stage::Release).as_deref(), Some("follows from sentence-score"));
    assert_eq!(why(Stage::WordStats), None);
    assert_eq!(why(Stage::ImageEmbed), None);

    let why = why_after(|s| s["stages"]["sentenceScore"]["perplexity"]["max"] = json!(250.0));
    assert_eq!(why(Stage::SentenceScore), None, "a limit scores no sentence again");
    let reason = why(Stage::SentenceDedupNear);
    assert_eq!(reason.as_deref(), Some("`stages.sentenceScore.perplexity.max` changed"));

    let why = why_after(|s| {
        s["stages"]["retrieve"]["probeCells"] = json!(5);
        s["stages"]["caption"]["engine"] = json!("cuda");
    });
    assert_eq!(why(Stage::Retrieve).as_deref(), Some("`stages.retrieve.probeCells` changed"));
    assert_eq!(why(Stage::Generate).as_deref(), Some("follows from caption, retrieve"));
    assert_eq!(why(Stage::ImageCluster), None);

    assert_eq!(why_after(|s| s["stages"]["retrieve"]["parallelism"] = json!(9))(Stage::Retrieve), None);
}

#[test]
fn why_tells_a_corpus_and_a_new_stage_from_a_setting() {
    let spec = effective(&full_spec());
    let settings = Some(release(&full_spec(), &full_release()));
    let (small, grown) = (support::inventory(&["a"], 100).root(), support::inventory(&["a", "b"], 100).root());
    let old = Recipes::new(&spec, settings.clone(), &small);
    let new = Recipes::new(&spec, settings, &grown);
    for stage in [Stage::Documents, Stage::Generate, Stage::Release] {
        assert_eq!(why(stage, &old, &new).as_deref(), Some("the corpus changed"));
    }
    let without = Recipes::new(&spec, None, &grown);
    assert_eq!(why(Stage::Release, &without, &new).as_deref(), Some("not part of the earlier plan"));
    assert_eq!(why(Stage::PairScore, &without, &new), None);
}

#[test]
fn what_a_recipe_holds_is_flat_and_named() {
    let recipe = Recipe::of_stage(&effective(&full_spec()), Stage::ImagePolicy);
    let names: Vec<&str> = recipe.fields.keys().map(String::as_str).collect();
    let wanted = ["blockedHosts.sha256", "blockedImages.sha256", "evaluationSets"];
    assert_eq!(names, wanted.map(|n| format!("stages.imagePolicy.{n}")));
}
