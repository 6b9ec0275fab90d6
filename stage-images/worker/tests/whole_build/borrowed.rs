//! Images without text, with the sentences of another build.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use realsyn_plan::graph::{BUILD, RELEASE, find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_worker::borrowed::Sentences;
use realsyn_worker::build::{BuildArgs, build};
use realsyn_worker::explain::{explain, load_seals};
use realsyn_worker::plan_command::{PlanArgs, plan};
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::Job;
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stage_command::{AdvanceArgs, advance};
use realsyn_worker::stages::rows::Gathered;

use crate::fixture::{Change, TWO, commits, files, fixture};

#[test]
fn images_without_text_get_the_sentences_of_another_build() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("borrowed");
    let pictures = f.folder.join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    let all = files(&f.images);
    for image in all.iter().step_by(all.len() / 10) {
        std::fs::copy(image, pictures.join(image.file_name().unwrap())).unwrap();
    }
    // Some of them in an archive, as img2dataset writes them.
    let more: Vec<&PathBuf> = all.iter().skip(all.len() / 20).step_by(all.len() / 4).collect();
    let archive = Command::new("tar").arg("-cf").arg(pictures.join("00000.tar")).args(more).output().unwrap();
    assert!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
    let text = f.manifest("borrowed-text", &Change::default());
    let own = std::fs::read_to_string(&text).unwrap();
    // The models are the same, by their hashes.
    let models = &own[own.find("  models:").unwrap()..own.find("    perplexity:").unwrap()];
    let llm = own.lines().find(|line| line.starts_with("    llm:")).unwrap();
    let manifest = format!(
        "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: pictures}}\nspec:\n  \
         source: {{format: images, uri: {}}}\n  sentencesFrom: {{build: part}}\n  storage: {{uri: unused}}\n{models}{llm}\n  \
         stages:\n    imageCluster: {{rowsPerCluster: 8}}\n    generate: {{maxNewTokens: 24}}\n\
         ---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {{name: pictures-v1}}\nspec:\n  buildRef: {{name: pictures}}\n",
        pictures.display()
    );
    let file = f.folder.join("pictures.yaml");
    std::fs::write(&file, manifest).unwrap();
    let at = |files: &[&PathBuf]| Locations {
        files: files.iter().map(|f| f.to_path_buf()).collect(),
        out: Some(f.out("borrowed")),
        models: Some(f.models.clone()),
        ..Locations::default()
    };
    let alone = Session::open(&at(&[&file])).map(drop).unwrap_err().to_string();
    assert!(alone.contains("the files hold no build `part`"), "{alone}");

    let sentences = |root: &str| -> BTreeSet<String> {
        let stage = |name: &String| name.split('/').find_map(|part| part.parse::<realsyn_crds::Stage>().ok());
        commits(root).into_iter().filter(|name| stage(name).is_some_and(|s| s.makes_sentences())).collect()
    };
    let at = at(&[&file, &text]);
    let planned =
        |at: &Locations| plan(&PlanArgs { at: at.clone(), list: false, against: Vec::new(), measured: false }).unwrap();
    let nothing_yet = planned(&Locations { out: Some(f.out("borrowed-later")), ..at.clone() });
    assert!(nothing_yet.starts_with("build pictures takes the sentences of build part, which are made first"));
    assert!(nothing_yet.contains("sentence-score") && !nothing_yet.contains("image-embed"), "{nothing_yet}");
    let planned = planned(&at);
    assert!(planned.contains("sentences are those of build part") && !planned.contains("sentence-score"), "{planned}");
    let before = sentences(&f.out("borrowed"));
    let done = build(&BuildArgs { at: at.clone(), jobs: None, list: false, no_report: false }, &Quiet, &TWO).unwrap();
    assert!(!before.is_empty());
    assert_eq!(sentences(&f.out("borrowed")), before, "no sentence was made again");
    let manifest = &done.releases[0].1;
    assert!(manifest.pairs > 4, "{} pairs", manifest.pairs);

    // The texts of its pairs are sentences of the other build, and each can be accounted for.
    let session = Session::open(&at).unwrap();
    let mut run = session.run(session.inventory(false).unwrap().0, session.manifests.releases.first()).unwrap();
    load_seals(&mut run).unwrap();
    let key = realsyn_plan::Digest([0; 32]);
    let first = Job::new(&run, find(ids::PACK), ShardSpec { number: 0, key, group: 0..1 });
    let released: Vec<Gathered> = first.partition(ids::GATHER, "rows").unwrap();
    let sentence = released[0].pair.candidates[0].sentence;
    let account = explain(&at, sentence).unwrap();
    assert!(account.contains("https://openstax.example/"), "{account}");

    // As pods see it.
    let report = advance(&AdvanceArgs { at, known: Vec::new(), pool: None, report: None }).unwrap();
    assert!(report.complete.is_some());
    assert_eq!(report.sealed.len(), BUILD.len() + RELEASE.len(), "the sentences' steps are told as sealed, too");
    let taken = Sentences::find(&session.ledger, session.manifests.sentences.as_ref().unwrap()).unwrap();
    assert_eq!(report.inventory.unwrap().sentences, Some(taken.inventory_root()));
}
