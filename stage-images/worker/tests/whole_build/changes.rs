//! What runs again: after a change, with more documents, and where something was lost. A plan says so beforehand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_dataset::formats::table::write_table;
use realsyn_e2e::Obelics;
use realsyn_worker::build::Outcome;
use realsyn_worker::plan_command::{PlanArgs, plan};

use crate::fixture::{Change, FILES, Fixture, TWO, commits, files, fixture, records, stages_of};

/// A preview, the whole, more documents and bad ones among them: each runs what is new, and in the end everything is as
/// if the good documents had been there from the beginning.
#[test]
fn a_growing_corpus_runs_only_what_is_new_and_bad_input_costs_itself() {
    let Some((f, _one)) = fixture() else { return };
    let corpus = f.folder.join("growing-corpus");
    std::fs::create_dir(&corpus).unwrap();
    let copy = |name: &str| std::fs::copy(f.folder.join("corpus").join(name), corpus.join(name)).unwrap();
    for n in 0..FILES - 1 {
        copy(&format!("part-{n}.parquet"));
    }
    let early = ["documents", "fetch", "image-decode", "sentences"];
    let change = |spec| Change { corpus: Some(corpus.clone()), spec, ..Change::default() };
    let new_commits = |out: &str, before: &BTreeSet<String>| -> Vec<usize> {
        let after = commits(out);
        early.map(|stage| after.difference(before).filter(|name| name.starts_with(&format!("{stage}/"))).count()).into()
    };

    // A disk without room: a sentence, and what was done before counts.
    let file = f.manifest("growing-full", &change("  stopAfter: sentences\n"));
    let full = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "-", env!("CARGO_BIN_EXE_realsyn"), "build", "-f"])
        .arg(&file)
        .args(["--out", &f.out("growing"), "--models"])
        .arg(&f.models)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(!full.status.success() && said.contains("File too large"), "{said}");
    assert!(said.contains("put ") && !said.contains("panicked"), "{said}");
    std::fs::remove_dir_all(f.out("growing")).unwrap();

    let run = |change: &Change, list| f.run("growing", change, list, &TWO).unwrap();
    run(&change("  preview: {shards: 1}\n  stopAfter: sentences\n"), false);
    let preview = commits(&f.out("growing"));
    assert_eq!(new_commits(&f.out("growing"), &Default::default()), [1; 4]);
    run(&change("  stopAfter: sentences\n"), false);
    assert_eq!(new_commits(&f.out("growing"), &preview), [FILES - 2; 4], "the preview is taken over");

    copy(&format!("part-{}.parquet", FILES - 1));
    let good = std::fs::read(corpus.join("part-0.parquet")).unwrap();
    std::fs::write(corpus.join("zz-cut.parquet"), &good[..good.len() / 2]).unwrap();
    let bad = |image: Option<&str>, text: Option<&str>| Obelics {
        images: vec![image.map(str::to_owned)],
        texts: vec![text.map(str::to_owned)],
        metadata: "[null]".into(),
        general_metadata: "not JSON".into(),
    };
    let rows = [
        bad(None, None),
        bad(Some("https://openstax.example/not-there.jpg"), None),
        bad(Some("https://elsewhere.example/a.jpg"), None),
        bad(Some("http://[not a url"), Some("\u{0}\u{fffd}\u{202e}")),
        Obelics { images: vec![], texts: vec![], metadata: String::new(), general_metadata: String::new() },
    ];
    std::fs::write(corpus.join("zz-strange.parquet"), write_table(&rows).unwrap()).unwrap();
    let before = commits(&f.out("growing"));
    let at = f.at("growing-plan", "growing", &change(""));
    let listed = PlanArgs { at, against: Vec::new(), list: true, measured: false };
    let plan = plan(&listed).unwrap();
    let line = |stage: &str| plan.lines().find(|l| l.starts_with(&format!("{stage} "))).unwrap().to_owned();
    assert!(line("documents").contains(&format!("{}/{}", FILES - 1, FILES + 2)), "{plan}");
    assert!(plan.contains("~ estimates"), "{plan}");

    let outcome = run(&change(""), true);
    assert_eq!(new_commits(&f.out("growing"), &before), [3; 4], "only the new shards");
    assert_eq!(outcome.releases[0].1.digest.to_string(), f.digest, "as if it had been there from the beginning");
    let rejected = commits(&f.out("growing"))
        .iter()
        .filter(|name| name.starts_with("documents/"))
        .filter(|name| std::fs::read_to_string(Path::new(&f.out("growing")).join(name)).unwrap().contains("rejected"))
        .count();
    assert_eq!(rejected, 1, "the truncated file is rejected, the strange one is read");
}

/// The lines of a plan that are not sealed: each stage and why it is to run.
fn to_run(plan: &str) -> Vec<(String, String)> {
    let lines = plan.lines().skip(1).take_while(|line| !line.contains(" source files, "));
    let lines = lines.filter(|line| !line.contains(" sealed "));
    lines.map(|line| (line.split_whitespace().next().unwrap().to_owned(), why(line))).collect()
}

/// The last column of a plan's line.
fn why(line: &str) -> String {
    line.rsplit_once("  ").unwrap().1.to_owned()
}

/// Plans a change and carries it out: what the plan says is to run is what is sealed anew, and nothing else runs.
fn planned_and_run(f: &Fixture, change: &Change) -> (Outcome, BTreeSet<String>, Vec<(String, String)>) {
    let out = f.out("changes");
    let at = f.at("changes-plan", "changes", change);
    let said = plan(&PlanArgs { at, against: Vec::new(), list: false, measured: false }).unwrap();
    let planned = to_run(&said);
    let (seals, before) = (records(&out, ".seal.json"), commits(&out));
    let outcome = f.run("changes", change, false, &TWO).unwrap();
    let sealed = stages_of(records(&out, ".seal.json").difference(&seals).cloned());
    let ran = stages_of(commits(&out).difference(&before).cloned());
    assert_eq!(planned.iter().map(|(stage, _)| stage.clone()).collect::<BTreeSet<_>>(), sealed, "{said}");
    assert!(ran.is_subset(&sealed), "{ran:?} ran, and the plan was {said}");
    (outcome, ran, planned)
}

fn reason<'a>(planned: &'a [(String, String)], stage: &str) -> &'a str {
    &planned.iter().find(|(name, _)| name == stage).unwrap_or_else(|| panic!("{stage} is not to run")).1
}

#[test]
fn only_what_a_change_touches_runs_again() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("changes");
    let (again, _, planned) = planned_and_run(f, &Change::default());
    assert_eq!((again.shards, planned), (0, Vec::new()), "a second run has nothing to do");
    assert_eq!(again.releases[0].1.digest.to_string(), f.digest);
    assert!(again.report.is_some());

    let execution = Change { stages: "    sentenceScore: {parallelism: 7, retry: 9}\n", ..Change::default() };
    let (outcome, _, planned) = planned_and_run(f, &execution);
    assert_eq!((outcome.shards, planned), (0, Vec::new()), "execution fields change nothing");

    let band = Change { release: "  similarity: {low: 0.0, high: 0.9}\n", ..Change::default() };
    let (outcome, ran, planned) = planned_and_run(f, &band);
    assert_eq!(Vec::from_iter(ran), ["release"], "a band re-runs the release alone");
    assert_ne!(outcome.releases[0].1.digest.to_string(), f.digest);
    let why = reason(&planned, "release");
    assert!(why.contains("`release.similarity.high`") && why.ends_with("changed"), "{why}");

    let limit = Change { stages: "    sentenceScore: {perplexity: {min: 30, max: 150}}\n", ..Change::default() };
    let (_, ran, planned) = planned_and_run(f, &limit);
    assert!(!ran.contains("sentence-score"), "a limit scores nothing again: {ran:?}");
    assert!(ran.contains("sentence-dedup-near"));
    assert!(!ran.iter().any(|s| s.starts_with("image-")), "images do not depend on it: {ran:?}");
    assert!(reason(&planned, "sentence-dedup-near").contains("`stages.sentenceScore.perplexity.max`"), "{planned:?}");
    assert_eq!(reason(&planned, "sentence-embed"), "follows from sentence-dedup-near");

    let probes = Change { stages: "    retrieve: {probeCells: 1, probeClusters: 1}\n", ..Change::default() };
    let (_, ran, _) = planned_and_run(f, &probes);
    let allowed = ["retrieve", "generate", "pair-score", "release"];
    assert!(ran.iter().all(|s| allowed.contains(&s.as_str())), "retrieval and what follows: {ran:?}");
    assert!(ran.contains("retrieve"));
}

#[test]
fn a_plan_compares_with_another_file_and_shows_every_release() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("against");
    let second = "---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {name: part-v2}\nspec: {buildRef: {name: part}}\n";
    let probes = Change { stages: "    retrieve: {probeCells: 1}\n", release: second, ..Change::default() };
    let said = |against: Vec<PathBuf>| {
        let at = f.at("against-plan", "against", &probes);
        plan(&PlanArgs { at, against, list: false, measured: false }).unwrap()
    };
    let why = |plan: &str, name: &str| {
        let line = plan.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{plan}"));
        self::why(line)
    };
    // With what was last used here, which knows of one release.
    let plan = said(Vec::new());
    assert_eq!(why(&plan, "retrieve"), "`stages.retrieve.probeCells` changed", "{plan}");
    assert_eq!(why(&plan, "release part-v1"), "follows from retrieve", "{plan}");
    assert_eq!(why(&plan, "release part-v2"), "not part of the earlier plan", "{plan}");
    // With a file that differs in something else, and has another band.
    let other = Change {
        stages: "    retrieve: {probeCells: 1}\n    tag: {maxTags: 3}\n",
        release: "  similarity: {low: 0.1}\n",
        ..Change::default()
    };
    let plan = said(vec![f.manifest("against-other", &other)]);
    // Tags are sealed as these files want them; what they lead to is not.
    assert_eq!(why(&plan, "generate"), "follows from tag", "{plan}");
    assert!(!why(&plan, "retrieve").contains("changed"), "the files say the same of it: {plan}");
    assert!(why(&plan, "release part-v1").contains("`release.similarity.low`"), "{plan}");
}

#[test]
fn an_object_that_vanished_or_was_damaged_is_made_again() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("healed");
    let scores = files(&PathBuf::from(f.out("healed")).join("pair-score"));
    let mut removed = 0;
    for table in scores.iter().filter(|f| f.extension().is_some_and(|e| e == "parquet")) {
        std::fs::remove_file(table).unwrap();
        removed += 1;
    }
    assert!(removed > 0);
    for shuffled in files(&PathBuf::from(f.out("healed")).join("image-dedup-perceptual/exact")) {
        if shuffled.to_str().unwrap().ends_with(".home.parts") {
            let mut bytes = std::fs::read(&shuffled).unwrap();
            bytes[9] ^= 1;
            std::fs::write(&shuffled, bytes).unwrap();
            removed += 1;
        }
    }
    assert!(removed > 1);
    // Another band makes the release read the scores, and where the images are at home, again.
    let band = Change { release: "  similarity: {low: -1.0, high: 1.0}\n", ..Change::default() };
    let outcome = f.run("healed", &band, false, &TWO).unwrap();
    assert!(outcome.releases[0].1.pairs > 0);
}
