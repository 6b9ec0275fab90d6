//! What a release publishes: as other tools read it, as CLIP sees its texts, what it holds, and how it is taken back.

use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::read_table;
use realsyn_dataset::table_row;
use realsyn_models::ClipTokenizer;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_worker::affected::affected;
use realsyn_worker::explain::load_seals;
use realsyn_worker::run::Job;
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stages::publish::ReleaseManifest;
use realsyn_worker::stages::rows::{Gathered, Pair};
use realsyn_worker::withdraw::{WithdrawArgs, withdraw};
use serde::{Deserialize, Serialize};

use crate::fixture::{Change, MERGES, TWO, fixture};

table_row! {
    /// What a release says of a pair in words.
    #[derive(Debug, Serialize, Deserialize)]
    struct Texts {
        key: String,
        image_id: String,
        text1_id: Option<String>,
        text1: Option<String>,
        text2: Option<String>,
        text3: Option<String>,
        syn_text: String,
    }
}

fn texts(release: &ReleaseManifest) -> Vec<Texts> {
    let files = release.files.iter().filter(|f| f.name.ends_with(".parquet"));
    let bytes = files.map(|f| std::fs::read(Path::new(&release.uri).join(&f.name)).unwrap());
    bytes.flat_map(|bytes| read_table::<Texts>(bytes.into(), &Limits::default()).unwrap()).collect()
}

/// `textSurface: clipRoundtrip` writes every text as CLIP's tokenizer gives it back, and changes nothing else. What the
/// tokenizer makes of a text is held to open_clip in `realsyn-models`.
#[test]
fn texts_are_written_as_clip_sees_them() {
    let Some((f, _one)) = fixture() else { return };
    let merges = f.models.join("demo-clip").join(MERGES);
    if !merges.exists() {
        let why = "clip-merges is not among the models; run scripts/fetch-models.py";
        realsyn_skip::skipped("texts_are_written_as_clip_sees_them", why);
        return;
    }
    f.copy_of_the_reference("surface");
    let raw = f.run("surface", &Change::default(), false, &TWO).unwrap();
    let change = Change { release: "  textSurface: clipRoundtrip\n", ..Change::default() };
    let outcome = f.run("surface", &change, false, &TWO).unwrap();
    let (raw, written) = (&raw.releases[0].1, &outcome.releases[0].1);
    assert_eq!(raw.digest.to_string(), f.digest);
    assert_ne!(written.digest, raw.digest);
    assert_eq!(written.pairs, raw.pairs);

    let tokenizer = ClipTokenizer::load(&merges).unwrap();
    let (before, after) = (texts(raw), texts(written));
    assert_eq!(before.len() as u64, raw.pairs);
    let mut changed = 0;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.key, &before.image_id, &before.text1_id), (&after.key, &after.image_id, &after.text1_id));
        let synthetic = (Some(before.syn_text.as_str()), Some(after.syn_text.as_str()));
        let found = [(&before.text1, &after.text1), (&before.text2, &after.text2), (&before.text3, &after.text3)];
        for (before, after) in found.map(|(b, a)| (b.as_deref(), a.as_deref())).into_iter().chain([synthetic]) {
            assert_eq!(before.map(|text| tokenizer.roundtrip(text)).as_deref(), after);
            assert!(after.is_none_or(|text| !text.is_empty()));
            changed += usize::from(before != after);
        }
    }
    assert!(changed > after.len(), "{changed} texts changed");
    let card = std::fs::read_to_string(Path::new(&written.uri).join("README.md")).unwrap();
    assert!(card.contains("textSurface: clipRoundtrip"), "{card}");
    let tar = written.files.iter().find(|file| file.name.ends_with(".tar")).unwrap();
    let tar = std::fs::read(Path::new(&written.uri).join(&tar.name)).unwrap();
    let said = after[0].text1.as_deref().unwrap().as_bytes();
    assert!(tar.windows(said.len()).filter(|part| *part == said).count() >= 2, "in KEY.txt and as the caption");
}

/// With `retain: Delete` what a release published goes with it, and what it held of the store is free; the build stays.
#[test]
fn a_release_is_taken_back() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("taken-back");
    let change = Change { release: "  retain: Delete\n", ..Change::default() };
    let place = PathBuf::from(&f.run("taken-back", &change, false, &TWO).unwrap().releases[0].1.uri);
    let left = || std::fs::read_dir(&place).unwrap().count();
    let published = left();
    assert!(published > 3, "shards, a manifest and a card");
    let at = Locations {
        files: vec![f.manifest("taken-back", &change)],
        out: Some(f.out("taken-back")),
        ..Locations::default()
    };
    let take_back = || withdraw(&WithdrawArgs { at: at.clone(), age: 0, report: None }).unwrap();
    // Somebody else's files beside it, and a release that took its place.
    std::fs::write(place.join("notes.txt"), "mine").unwrap();
    let manifest = std::fs::read_to_string(place.join("manifest.json")).unwrap();
    std::fs::write(place.join("manifest.json"), manifest.replace(&f.digest, &"0".repeat(64))).unwrap();
    let said = take_back();
    assert!(said.contains("left alone") && left() == published + 1, "{said}");
    std::fs::write(place.join("manifest.json"), &manifest).unwrap();

    let again = f.run("taken-back", &change, false, &TWO).unwrap();
    assert_eq!(again.releases[0].1.digest.to_string(), f.digest);
    // Killed right after the first removals.
    for name in ["README.md", "manifest.json"] {
        std::fs::remove_file(place.join(name)).unwrap();
    }
    let said = take_back();
    assert!(said.contains(&format!("removed {n} of {n} files", n = published - 2)), "{said}");
    assert!(said.contains("gave up its reference"), "{said}");
    assert_eq!(left(), 1, "what is not the release's stays");
    assert!(take_back().contains("has published nothing"), "its records are gone");
    let built = f.run("taken-back", &change, false, &TWO).unwrap();
    assert_eq!(
        built.releases[0].1.digest.to_string(),
        f.digest,
        "the build is whole, and the release can be made again"
    );
}

/// Where a release goes is in no digest; so what is sealed of it says nothing of another place.
#[test]
fn the_same_content_is_published_wherever_it_is_asked_for() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("places");
    for place in ["first", "second"] {
        let folder = f.folder.join(format!("place-{place}"));
        let release = format!("  destination: {{uri: {}}}\n", folder.display());
        let change = Change { release: release.leak(), ..Change::default() };
        let outcome = f.run("places", &change, false, &TWO).unwrap();
        assert_eq!(outcome.releases[0].1.digest.to_string(), f.digest, "{place}");
        assert_eq!(outcome.shards, 1, "more than the publication ran for the {place} place");
        assert!(folder.join("manifest.json").is_file() && folder.join("README.md").is_file(), "{place}");
        assert_eq!(f.run("places", &change, false, &TWO).unwrap().shards, 0, "{place}");
    }
}

/// An image, a text and a document of a released pair are found in the release, and nothing else is.
#[test]
fn a_release_knows_what_it_holds() {
    let Some((f, _one)) = fixture() else { return };
    let at = Locations {
        files: vec![f.manifest("affected", &Change::default())],
        out: Some(f.out("reference")),
        models: Some(f.models.clone()),
        ..Locations::default()
    };
    let session = Session::open(&at).unwrap();
    let (inventory, _) = session.inventory(false).unwrap();
    let mut run = session.run(inventory, session.manifests.releases.first()).unwrap();
    load_seals(&mut run).unwrap();
    let key = realsyn_plan::Digest([0; 32]);
    let (pack, home) = (find(ids::PACK), find(ids::GATHER));
    let shard = |step, number| Job::new(&run, step, ShardSpec { number, key, group: number..number + 1 });
    let released: Vec<Gathered> = shard(pack, 0).partition(ids::GATHER, "rows").unwrap();
    let pair = &released[0].pair;
    let of_home: Vec<Pair> = shard(home, pair.home).shard(ids::PAIRS, "pairs").unwrap();
    assert!(of_home.contains(pair));

    let said = |id| affected(&at, id).unwrap();
    let image = said(pair.image);
    assert!(image.starts_with("part-v1: HOLDS it as the image of 1 pair, in shards 00000 (digest "), "{image}");
    assert!(image.contains(&f.digest[..8]), "{image} is not of {}", f.digest);
    assert!(said(pair.candidates[0].sentence).contains("HOLDS it as a text of "));
    let document = said(pair.occurrences[0].document);
    assert!(document.contains("from the document of "), "{document}");
    assert!(said(realsyn_plan::Id::of_document(Some("https://nowhere.example/"), "", 0)).contains("does not hold it"));
}

#[test]
fn foreign_tools_read_the_release() {
    let Some((f, _one)) = fixture() else { return };
    let Some(python) = std::env::var_os("REALSYN_PYTHON") else {
        realsyn_skip::skipped("foreign_tools_read_the_release", "REALSYN_PYTHON names no interpreter");
        return;
    };
    let outcome = f.run("reference", &Change::default(), false, &TWO).unwrap();
    let manifest = &outcome.releases[0].1;
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign.py"))
        .args([&manifest.uri, &f.out("reference"), &manifest.pairs.to_string()])
        .env("HF_HOME", f.folder.join("hf"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(&format!("{} pairs agree", manifest.pairs)), "{printed}");
}
