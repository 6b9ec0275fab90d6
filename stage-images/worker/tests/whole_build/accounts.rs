//! `realsyn explain`: the account of an image and of a sentence, whatever became of it.

use std::path::PathBuf;

use realsyn_dataset::formats::table::write_table;
use realsyn_e2e::Obelics;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::{Digest, Id, StepId};
use realsyn_vision::{DecodeLimits, Rgb, encode_jpeg, shrink};
use realsyn_worker::explain::{explain, load_seals};
use realsyn_worker::run::{Job, Run};
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stages::rows::{Dropped, Gathered, Pair};

use crate::fixture::{Change, Fixture, TWO, fixture};

/// A document that is put beside the others, and a sentence of it that no rule lets pass.
const PAGE: &str = "https://openstax.example/planted/page";
const SHORT: &str = "Too short.";

/// The sealed run of a build and its first release.
fn sealed(at: &Locations) -> Run {
    let session = Session::open(at).unwrap();
    let mut run = session.run(session.inventory(false).unwrap().0, session.manifests.releases.first()).unwrap();
    load_seals(&mut run).unwrap();
    run
}

fn job(run: &Run, step: StepId, number: u32) -> Job<'_> {
    Job::new(run, find(step), ShardSpec { number, key: Digest([0; 32]), group: number..number + 1 })
}

/// The first row that a step dropped for a reason like this.
fn dropped(run: &Run, step: StepId, reason: &str) -> Dropped {
    let shards = 0..run.seals[&step].shards.len() as u32;
    let mut rows = shards.flat_map(|n| job(run, step, n).table_of::<Dropped>(step, n, "dropped").unwrap());
    rows.find(|row| row.reason.contains(reason)).unwrap_or_else(|| panic!("{step} dropped nothing as {reason}"))
}

/// The documents with one more: it shows `picture` once so small that it is left out, and once a little smaller than it is.
fn with_planted(f: &Fixture, picture: &Rgb) -> (Change, [Id; 2]) {
    let (corpus, images) = (f.folder.join("planted-corpus"), f.folder.join("planted-images"));
    for folder in [&corpus, &images.join("planted")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for file in crate::fixture::files(&f.folder.join("corpus")) {
        std::fs::copy(&file, corpus.join(file.file_name().unwrap())).unwrap();
    }
    for book in std::fs::read_dir(&f.images).unwrap().map(Result::unwrap) {
        std::os::unix::fs::symlink(std::path::absolute(book.path()).unwrap(), images.join(book.file_name())).unwrap();
    }
    let short_side = picture.width().min(picture.height());
    let planted = [("tiny", 20), ("near", short_side * 9 / 10)].map(|(name, side)| {
        let bytes = encode_jpeg(&shrink(picture, side), 90);
        std::fs::write(images.join(format!("planted/{name}.jpg")), &bytes).unwrap();
        Id::of_image(&bytes)
    });
    let url = |name: &str| Some(format!("https://openstax.example/planted/{name}.jpg"));
    let row = Obelics {
        images: vec![url("tiny"), None, url("near")],
        texts: vec![None, Some(SHORT.to_owned()), None],
        metadata: "[null, null, null]".into(),
        general_metadata: format!("{{\"url\": \"{PAGE}\"}}"),
    };
    std::fs::write(corpus.join("planted.parquet"), write_table(&[row]).unwrap()).unwrap();
    let (corpus, images) = (Some(corpus), Some(images));
    // Pictures that are alike only in kind count as the same, so that some are.
    let stages = "    imageDedupSemantic: {maxDistance: 0.4, maxRadius: 0.5, verify: false}\n";
    (Change { corpus, images, stages, ..Change::default() }, planted)
}

#[test]
fn every_account_tells_the_place_the_scores_and_the_first_rule_that_dropped() {
    let Some((f, _one)) = fixture() else { return };
    // Of the undisturbed build: a released pair and what its texts are.
    let at = f.at("accounts", "reference", &Change::default());
    let run = sealed(&at);
    let released: Vec<Gathered> = job(&run, ids::PACK, 0).partition(ids::GATHER, "rows").unwrap();
    let first = released.iter().find(|g| g.place == 0).unwrap();
    let pair = &first.pair;
    let said = explain(&at, pair.image).unwrap();
    for candidate in &pair.candidates {
        assert!(said.contains(&format!("{:.4} {} {}", candidate.cosine, candidate.sentence, candidate.text)), "{said}");
    }
    for part in [
        format!("image {}\n", pair.image),
        format!("at {}: {}", pair.occurrences[0].position, pair.occurrences[0].url),
        format!("ok: {}", pair.synthetic),
        format!("cosine {:.4}", pair.cosine),
        pair.caption.clone(),
    ] {
        assert!(said.contains(&part), "{part} is not in {said}");
    }
    assert!(line(&said, "release part-v1").ends_with("released as 000000000"), "{said}");

    text2(&at, pair);
    let limited = dropped(&run, ids::ROWS, "perplexity");
    let said = explain(&at, limited.what.parse().unwrap()).unwrap();
    let score = line(&said, "sentence-score");
    assert!(score.contains("entropy ") && score.contains(" tokens"), "{said}");
    assert!(
        said.contains(&format!("DROPPED: {} (perplexity {:.4})", limited.reason, limited.value.unwrap())),
        "{said}"
    );
    assert!(said.contains("  occurs") && said.contains('\u{201c}') && !said.contains("sentence-dedup-near"), "{said}");

    let original = std::fs::read(original(f, pair)).unwrap();
    let picture = realsyn_vision::decode(&original, &DecodeLimits::default()).unwrap().rgb;
    planted(f, &picture, pair.image);
}

/// The path of a pair's picture among the mirror's files.
fn original(f: &Fixture, pair: &Pair) -> PathBuf {
    f.images.join(pair.occurrences[0].url.strip_prefix("https://openstax.example/").unwrap())
}

#[track_caller]
fn line<'a>(said: &'a str, stage: &str) -> &'a str {
    said.lines().find(|line| line.trim_start().starts_with(stage)).unwrap_or_else(|| panic!("no {stage} in {said}"))
}

fn text2(at: &Locations, pair: &Pair) {
    let second = &pair.candidates[1];
    let said = explain(at, second.sentence).unwrap();
    assert!(said.contains(&second.text) && said.contains("kept") && said.contains("sentence-cluster"), "{said}");
    let images: usize = line(&said, "retrieve").split_whitespace().nth(2).unwrap().parse().unwrap();
    let released = format!("text2 of {}, cosine {:.4}, released as 000000000", pair.image, second.cosine);
    assert!(images > 0, "{said}");
    assert!(said.contains(&released), "{released} is not in {said}");
}

fn planted(f: &Fixture, picture: &Rgb, of: Id) {
    let (change, [tiny, near]) = with_planted(f, picture);
    f.copy_of_the_reference("planted");
    f.run("planted", &change, false, &TWO).unwrap();
    let at = f.at("planted-accounts", "planted", &change);

    let said = explain(&at, tiny).unwrap();
    assert!(said.contains(&format!("{PAGE} at 0: https://openstax.example/planted/tiny.jpg")), "{said}");
    assert!(line(&said, "image-decode").contains("DROPPED: "), "{said}");

    let said = explain(&at, near).unwrap();
    assert!(said.contains(&format!("{PAGE} at 2: https://openstax.example/planted/near.jpg")), "{said}");
    let drop = line(&said, "image-dedup-perceptual");
    assert!(drop.ends_with(&format!("DROPPED: perceptual-duplicate of {of}")), "{said}");

    let row = dropped(&sealed(&at), ids::HOME, "semantic-duplicate");
    let said = explain(&at, row.what.parse().unwrap()).unwrap();
    let drop = line(&said, "image-dedup-semantic");
    let of = format!("of {} (cosine distance {:.4})", row.of.unwrap(), row.value.unwrap());
    assert!(drop.ends_with(&of) && said.contains("later stages: not computed"), "{said}");

    let said = explain(&at, Id::of_sentence(SHORT)).unwrap();
    assert!(said.contains(&format!("\u{201c}{SHORT}\u{201d}")), "{said}");
    assert!(line(&said, "occurs").ends_with(&format!("{PAGE} block 1 sentence 0")), "{said}");
    assert!(line(&said, "sentences").contains("DROPPED: too-few-words"), "{said}");

    let nobody = explain(&at, Id::of_sentence("Nobody ever wrote this.")).unwrap_err().to_string();
    assert!(nobody.contains("neither an image nor a sentence"), "{nobody}");
}
