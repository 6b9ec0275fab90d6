//! A corpus of which the rules leave no sentence, or no picture: the build ends as any other, with a release of no pair.

use realsyn_plan::graph::{BUILD, RELEASE, ids};
use realsyn_worker::run::Run;

use crate::corpus::{Handmade, TOLERANT, page};

/// Builds these pages to the end. Every step is sealed, and the release has no pair.
fn ends_empty(handmade: &Handmade) -> Run {
    handmade.manifest(TOLERANT, "", &[("none", "")]);
    let outcome = handmade.build().unwrap();
    let manifest = &outcome.releases[0].1;
    assert_eq!((manifest.pairs, manifest.files.len()), (0, 0));
    let card = std::fs::read_to_string(format!("{}/README.md", manifest.uri)).unwrap();
    assert!(card.contains("0 image-text pairs"), "{card}");
    let run = handmade.sealed(Some("none"));
    let open: Vec<_> = BUILD.iter().chain(RELEASE).filter(|step| !run.seals.contains_key(&step.id)).collect();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(handmade.build().unwrap().shards, 0, "a second run has nothing to do");
    run
}

#[test]
fn pictures_without_a_sentence_end_in_a_release_without_pairs() {
    let pages = [page(None, &["https://one.example/a.jpg"], &["https://only.example/a-link"])];
    let Some(handmade) = Handmade::new(&pages) else { return };
    handmade.photograph("a.jpg", 0);
    let run = ends_empty(&handmade);
    assert_eq!(run.seals[&ids::SENTENCE_EMBED].count("out"), 0);
    assert_eq!(run.seals[&ids::HOME].count("out"), 1);
    assert_eq!(run.seals[&ids::CANDIDATES].count("dropped.no-sentence"), 1);
}

#[test]
fn sentences_without_a_picture_end_in_a_release_without_pairs() {
    let sentences = ["A brown dog runs over the wet green field.", "Two ships leave the harbour in the evening light."];
    let pages = [page(None, &["https://one.example/gone.jpg"], &sentences)];
    let Some(handmade) = Handmade::new(&pages) else { return };
    let run = ends_empty(&handmade);
    assert_eq!(run.seals[&ids::SENTENCE_EMBED].count("out"), 2);
    assert_eq!(run.seals[&ids::HOME].count("out"), 0);
    assert_eq!(run.seals[&ids::FETCH].count("dropped.missing"), 1);
}
