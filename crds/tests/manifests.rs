//! Manifests as people write them: the examples, round trips, and mistakes.

use std::path::Path;

use realsyn_crds::{
    Manifest, Problem, Profile, Quantity, RealSynBuild, SemanticDedup, SimilarityMetric, Stage, parse_manifests,
    release_warnings, validate, validate_release, warnings,
};

const HEAD: &str = "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: { name: demo }\n";
const SPEC: &str = "spec:\n  source: { format: html, uri: pages }\n  storage: { uri: out }\n";

fn build(more: &str) -> RealSynBuild {
    match parse_manifests(&format!("{HEAD}{SPEC}{more}"), "b.yaml").expect("it parses").as_slice() {
        [Manifest::Build(build)] => (**build).clone(),
        other => panic!("not one build but {other:?}"),
    }
}

fn problems(yaml: &str) -> Vec<String> {
    parse_manifests(yaml, "b.yaml").expect_err("it is wrong").iter().map(Problem::to_string).collect()
}

/// Asserts that these lines below `spec` give one problem, with these words.
fn wrong(more: &str, words: &[&str]) {
    let found = problems(&format!("{HEAD}{SPEC}{more}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    for word in words {
        assert!(found[0].contains(word), "{} lacks {word}", found[0]);
    }
}

#[test]
fn the_examples_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the example is there");
    let both = format!("{}---\n{}", read("build.yaml"), read("release.yaml"));
    let manifests = parse_manifests(&both, "examples").unwrap_or_else(|p| panic!("{p:#?}"));
    let [Manifest::Build(build), Manifest::Release(release)] = manifests.as_slice() else { panic!("{manifests:?}") };
    assert_eq!(validate(build), []);
    assert_eq!(warnings(build), []);
    assert_eq!(validate_release(release, Some(build)), []);
    assert_eq!(release_warnings(release, Some(build)), []);
    assert_eq!(build.metadata.namespace.as_deref(), Some("datasets"));
    assert_eq!(build.spec.stages.image_embed.execution.resources["cpu"], Quantity::new("8"));
}

#[test]
fn what_is_printed_reads_back() {
    let mut build =
        build("  stages:\n    sentences: { languages: [en, \"no\"], punktCompat: \"3.10\" }\n  stopAfter: tag\n");
    build.spec = build.spec.effective();
    let manifest = Manifest::Build(Box::new(build));
    let printed = manifest.to_yaml();
    assert_eq!(parse_manifests(&printed, "printed").unwrap_or_else(|p| panic!("{p:#?}\n{printed}")), [manifest]);
    assert!(printed.contains("rowsPerCluster: 420"), "{printed}");
}

#[test]
fn profiles_fill_in_what_is_open_and_nothing_else() {
    let scaled = build("").spec.effective();
    let s = &scaled.stages;
    assert_eq!((s.sentence_cluster.rows_per_cluster, s.sentence_cluster.clusters), (Some(420), None));
    assert_eq!((s.image_cluster.rows_per_cluster, s.image_cluster.clusters), (Some(198), None));
    let r = &s.retrieve;
    assert_eq!((r.target_recall, r.probe_cells, r.probe_clusters), (Some(0.95), None, None));
    let near = |d: &SemanticDedup| (d.verify, d.max_distance, d.max_radius);
    assert_eq!(near(&s.image_dedup_semantic), (Some(true), Some(0.2), Some(0.4)));
    assert_eq!(near(&s.sentence_dedup_semantic), (Some(true), Some(0.1), Some(0.2)));
    assert_eq!(scaled.effective(), scaled);

    let paper = build("  profile: paper\n").spec.effective();
    let s = &paper.stages;
    assert_eq!((s.sentence_cluster.rows_per_cluster, s.sentence_cluster.clusters), (None, Some(2_000_000)));
    assert_eq!((s.image_cluster.rows_per_cluster, s.image_cluster.clusters), (None, Some(1_000_000)));
    let r = &s.retrieve;
    assert_eq!((r.target_recall, r.probe_cells, r.probe_clusters), (None, Some(1), Some(1)));
    assert_eq!(near(&s.image_dedup_semantic), (Some(false), Some(0.1), Some(0.2)));
    assert_eq!(paper.effective(), paper);

    for (own, distance, radius) in [
        ("verify: false", 0.1, 0.2),
        ("maxDistance: 0.05", 0.05, 0.1),
        ("maxDistance: 1.5", 1.5, 2.0),
        ("maxRadius: 0.3", 0.2, 0.3),
    ] {
        let stages = build(&format!("  stages: {{ imageDedupSemantic: {{ {own} }} }}\n")).spec.effective().stages;
        let dedup = stages.image_dedup_semantic;
        assert_eq!((dedup.max_distance, dedup.max_radius), (Some(distance), Some(radius)), "{own}");
    }

    let own = "  stages: { imageCluster: { clusters: 7 }, retrieve: { probeCells: 3, probeClusters: 2 } }\n";
    for profile in ["", "  profile: paper\n"] {
        let stages = build(&format!("{own}{profile}")).spec.effective().stages;
        assert_eq!((stages.image_cluster.rows_per_cluster, stages.image_cluster.clusters), (None, Some(7)));
        let r = &stages.retrieve;
        assert_eq!((r.target_recall, r.probe_cells, r.probe_clusters), (None, Some(3), Some(2)));
    }
}

#[test]
fn a_release_has_its_band_from_the_profile() {
    let yaml = "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: { name: r }\nspec: { buildRef: { name: b } }\n";
    let manifests = parse_manifests(yaml, "r.yaml").unwrap();
    let [Manifest::Release(release)] = manifests.as_slice() else { panic!("{manifests:?}") };
    let spec = &release.spec;
    assert_eq!((spec.texts, spec.samples_per_shard, spec.image.size), (3, 10_000, 224));
    let scaled = spec.effective(Profile::Scaled).similarity.unwrap();
    assert_eq!((scaled.drop_below_quantile, scaled.drop_above_quantile), (Some(0.075), Some(0.075)));
    assert_eq!((scaled.low, scaled.high, scaled.metric), (None, None, SimilarityMetric::Cosine));
    let paper = spec.effective(Profile::Paper).similarity.unwrap();
    assert_eq!((paper.low, paper.high, paper.metric), (Some(0.51), Some(0.61), SimilarityMetric::HalfShifted));
    assert_eq!((paper.drop_below_quantile, paper.drop_above_quantile), (None, None));
}

#[test]
fn metadata_of_the_cluster_status_and_nulls_are_read_over() {
    let yaml = format!(
        "{}{SPEC}  stages: {{ caption: , tag: {{ threshold: null }} }}\nstatus: {{ observedGeneration: 3 }}\n",
        HEAD.replace("{ name: demo }", "{ name: demo, uid: u, labels: { a: b }, managedFields: [] }")
    );
    let manifests = parse_manifests(&yaml, "b.yaml").unwrap_or_else(|p| panic!("{p:#?}"));
    let [Manifest::Build(build)] = manifests.as_slice() else { panic!("{manifests:?}") };
    assert_eq!(build.metadata.name, "demo");
    assert_eq!(build.status.as_ref().unwrap().work.observed_generation, Some(3));
    assert_eq!(build.spec.stages.tag.threshold, None);
}

#[test]
fn unknown_fields_name_the_nearest() {
    wrong(
        "  stages: { sentences: { minWord: 3 } }\n",
        &["b.yaml, document 1", "spec.stages.sentences.minWord", "`minWords`"],
    );
    wrong("  stages: { sentence-score: {} }\n", &["spec.stages.sentence-score", "did you mean `sentenceScore`"]);
    wrong("  stages: { documents: { engine: cpu } }\n", &["spec.stages.documents.engine", "there are maxBlockBytes"]);
    wrong("  models: { clip: { sha: x, sha256: z } }\n", &["spec.models.clip.sha = \"x\"", "`sha256`"]);
    wrong("  takedowns: { uri: t, sha256: x, zzz: 1 }\n", &["spec.takedowns.zzz", "there are uri, sha256"]);
    wrong("spce: {}\n", &["spce", "`spec`"]);
}

#[test]
fn wrong_types_name_value_and_what_would_be_right() {
    wrong("  suspend: \"yes\"\n", &["spec.suspend = \"yes\"", "`true` or `false`", "not a text"]);
    wrong("  stages: { sentences: { minWords: \"3\" } }\n", &["a whole number, not a text; write 3 without quotes"]);
    wrong("  stages: { sentences: { minWords: 2.5 } }\n", &["minWords = 2.5", "a whole number"]);
    wrong("  stages: { sentences: { languages: en } }\n", &["languages = \"en\"", "a list, not a text"]);
    wrong("  stages: { sentences: { languages: [1] } }\n", &["languages[0] = 1", "write \"1\" in quotes"]);
    wrong("  stages: { sentences: { languages: [no] } }\n", &["languages[0] = false", "write the text in quotes"]);
    wrong("  stages: { sentences: [] }\n", &["spec.stages.sentences", "fields, not a list"]);
    wrong("  stages: { sentenceScore: { logBase: 2 } }\n", &["logBase = 2", "\"2\", \"e\", in quotes"]);
    wrong(
        "  stages: { tag: { engine: gpu } }\n",
        &["engine = \"gpu\"", "\"cpu\", \"cuda\", \"openai\"", "did you mean"],
    );
    wrong("  stages: { tag: { resources: { cpu: 0.5 } } }\n", &["resources.cpu = 0.5", "a quantity"]);
    wrong("  stages: { imageDecode: { minSide: -1 } }\n", &["minSide", "-1"]);
    wrong("  stages: { imageDecode: { quality: 300 } }\n", &["quality", "300"]);
}

#[test]
fn missing_fields_say_what_they_are() {
    let yaml = format!("{HEAD}spec:\n  source: {{ format: html }}\n");
    let found = problems(&yaml);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().any(|p| p.contains("spec.source.uri: is missing") && p.contains("s3://")), "{found:#?}");
    assert!(found.iter().any(|p| p.contains("spec.storage: is missing")), "{found:#?}");
    assert!(problems(HEAD)[0].contains("spec: is missing"));
    assert!(problems(&format!("{}{SPEC}", HEAD.replace("name: demo", "")))[0].contains("metadata.name"));
}

#[test]
fn other_objects_are_refused_by_name() {
    let other = |kind: &str| problems(&format!("{}{SPEC}", HEAD.replace("RealSynBuild", kind))).join("\n");
    assert!(other("Deployment").contains("kind = \"Deployment\": is not a kind that this program reads; it reads"));
    assert!(other("RealsynBuild").contains("did you mean `RealSynBuild`?"));
    let version = problems(&format!("{}{SPEC}", HEAD.replace("v1alpha1", "v2"))).join("\n");
    assert!(
        version.contains("apiVersion = \"realsyn.dev/v2\"") && version.contains("`realsyn.dev/v1alpha1`"),
        "{version}"
    );
    assert!(problems("- 1\n")[0].contains("not a Kubernetes object"));
}

#[test]
fn broken_yaml_says_where() {
    let found = problems("apiVersion: x\nkind: [\n");
    assert!(found[0].contains("b.yaml") && found[0].contains("line"), "{found:#?}");
    assert!(problems("a: 1\na: 2\n")[0].contains("line 2"));
    assert!(problems("")[0].contains("holds no document"));
    assert!(problems("---\n---\n")[0].contains("holds no document"));
}

#[test]
fn problems_of_several_documents_come_together() {
    let found = problems(&format!("{HEAD}{SPEC}  a: 1\n---\n{HEAD}{SPEC}  b: 1\n"));
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("b.yaml, document 1: spec.a") && found[1].starts_with("b.yaml, document 2: spec.b"));
}

#[test]
fn stages_are_known_by_name() {
    assert_eq!(Stage::ALL.len(), 26);
    assert!(Stage::ALL.is_sorted());
    for stage in Stage::ALL {
        assert_eq!(stage.name().parse(), Ok(*stage));
        let camel: String = stage.name().split('-').enumerate().fold(String::new(), |camel, (i, word)| {
            camel + &if i == 0 { word.to_owned() } else { word[..1].to_uppercase() + &word[1..] }
        });
        assert_eq!(stage.field(), camel);
    }
    let unknown = "sentense-score".parse::<Stage>().unwrap_err();
    assert_eq!(unknown.nearest, Stage::SentenceScore);
}

#[test]
fn quantities_have_a_value() {
    let value = |q: &str| Quantity::new(q).value();
    assert_eq!(value("500m"), Some(0.5));
    assert_eq!(value("16Gi"), Some(16.0 * 1024.0 * 1024.0 * 1024.0));
    assert_eq!(value("4"), Some(4.0));
    for wrong in ["", "Gi", "4gb", "-1", "1.2.3"] {
        assert_eq!(value(wrong), None, "{wrong}");
    }
}
