//! The contact sheet: the first pairs of the release in its own order, or of the pool in the same keyed order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_plan::ids::OrderKey;

use super::pictures::Wanted;
use super::{Reader, Top};
use crate::report::data::{PairCard, Picture, Sheet, Text};
use crate::stages::rows::{
    Candidate, Captioned, ClusteredImage, Generated, Pair, PairScore, Retrieved, Selected, TagScore, Tagged,
};

/// Pairs on the sheet.
const SHOWN: u32 = 24;
/// Short side of their pictures.
const SIDE: u32 = 260;
/// Realistic texts of a pair of the pool; a release says how many it has.
const POOL_TEXTS: usize = 3;

/// The sheet without its pictures, which are added to `wanted`.
pub fn sheet(from: &Reader, wanted: &mut Wanted) -> anyhow::Result<Sheet> {
    let sheet = if from.sealed(ids::SELECT) { released(from)? } else { pooled(from)? };
    for pair in &sheet.pairs {
        wanted.add(pair.image.parse()?, SIDE);
    }
    Ok(sheet)
}

/// Fills in the pictures that were found.
pub fn add_pictures(sheet: &mut Sheet, pictures: &HashMap<Id, Picture>) {
    for pair in &mut sheet.pairs {
        pair.picture = pair.image.parse().ok().and_then(|id: Id| pictures.get(&id).cloned());
    }
}

fn released(from: &Reader) -> anyhow::Result<Sheet> {
    let most = from.run.release.as_ref().map_or(POOL_TEXTS, |r| r.spec.texts as usize);
    let mut places: BTreeMap<u32, Vec<Selected>> = BTreeMap::new();
    for home in from.shards(ids::PAIRS) {
        // Read as the step that packs would: its partitions of the selection are cut by home shard.
        let selected: Vec<Selected> = from.job(ids::GATHER, home).partition(ids::SELECT, "selection")?;
        let first: Vec<Selected> = selected.into_iter().filter(|s| s.shard == 0 && s.place < SHOWN).collect();
        if !first.is_empty() {
            places.insert(home, first);
        }
    }
    let mut cards: BTreeMap<u32, PairCard> = BTreeMap::new();
    for (home, selected) in places {
        let place: HashMap<Id, u32> = selected.into_iter().map(|s| (s.image, s.place)).collect();
        for pair in from.job(ids::PAIRS, home).table_of::<Pair>(ids::PAIRS, home, "pairs")? {
            if let Some(place) = place.get(&pair.image) {
                cards.insert(*place, card(pair, most));
            }
        }
    }
    Ok(Sheet { pairs: cards.into_values().collect(), of: from.count(ids::SELECT, "out").unwrap_or(0), released: true })
}

fn card(pair: Pair, most: usize) -> PairCard {
    PairCard {
        image: pair.image.to_string(),
        picture: None,
        texts: texts(pair.candidates, most),
        synthetic: Some(pair.synthetic),
        cosine: Some(pair.cosine),
        caption: Some(pair.caption),
        tags: tags(pair.tags),
        cluster: Some(pair.cluster),
        alt: pair.occurrences.iter().find_map(|o| o.alt.clone()),
        page: pair.occurrences.iter().find_map(|o| o.document_url.clone()),
        occurrences: pair.occurrences.len() as u64,
    }
}

fn texts(candidates: Vec<Candidate>, most: usize) -> Vec<Text> {
    let text =
        |c: Candidate| Text { id: c.sentence.to_string(), text: c.text, cosine: Some(c.cosine), occurrences: None };
    candidates.into_iter().take(most).map(text).collect()
}

fn tags(tags: Vec<TagScore>) -> Vec<(String, f32)> {
    tags.into_iter().map(|t| (t.tag, t.score)).collect()
}

/// Images of the pool with all that is known of them so far; those with a scored text, once texts are scored.
fn pooled(from: &Reader) -> anyhow::Result<Sheet> {
    let scored = from.sealed(ids::PAIR_SCORE);
    // The smallest of the keyed order, as a release's first pairs would be.
    let mut first = Top::new(SHOWN as usize);
    let mut of = 0;
    for home in from.shards(ids::HOME) {
        let job = from.job(ids::HOME, home);
        let images: Vec<Id> = if scored {
            let scores: Vec<PairScore> = job.table_of(ids::PAIR_SCORE, home, "scores")?;
            scores.into_iter().filter(|s| s.cosine.is_some()).map(|s| s.image).collect()
        } else {
            job.table_of::<ClusteredImage>(ids::HOME, home, "images")?.into_iter().map(|r| r.image).collect()
        };
        of += images.len() as u64;
        for image in images {
            first.add(std::cmp::Reverse(image.order(OrderKey::Pack)), (image, home));
        }
    }
    let order: Vec<(Id, u32)> = first.into_items().map(|(_, item)| item).collect();
    let mut cards: HashMap<Id, PairCard> = HashMap::new();
    for home in order.iter().map(|(_, home)| *home).collect::<BTreeSet<u32>>() {
        let here: BTreeSet<Id> = order.iter().filter(|(_, h)| *h == home).map(|(id, _)| *id).collect();
        cards.extend(pool_cards(from, home, &here)?);
    }
    let pairs = order.iter().filter_map(|(id, _)| cards.remove(id)).collect();
    Ok(Sheet { pairs, of, released: false })
}

fn pool_cards(from: &Reader, home: u32, wanted: &BTreeSet<Id>) -> anyhow::Result<HashMap<Id, PairCard>> {
    let job = from.job(ids::HOME, home);
    let mut cards: HashMap<Id, PairCard> = HashMap::new();
    for row in job.table_of::<ClusteredImage>(ids::HOME, home, "images")? {
        if wanted.contains(&row.image) {
            let card = PairCard { image: row.image.to_string(), cluster: Some(row.cluster), ..PairCard::default() };
            cards.insert(row.image, card);
        }
    }
    if from.sealed(ids::CANDIDATES) {
        for row in job.table_of::<Retrieved>(ids::CANDIDATES, home, "candidates")? {
            if let Some(card) = cards.get_mut(&row.image) {
                card.texts = texts(row.candidates, POOL_TEXTS);
            }
        }
    }
    if from.sealed(ids::CAPTION) {
        for row in job.table_of::<Captioned>(ids::CAPTION, home, "captions")? {
            if let Some(card) = cards.get_mut(&row.image) {
                card.caption = Some(row.caption);
            }
        }
    }
    if from.sealed(ids::TAG) {
        for row in job.table_of::<Tagged>(ids::TAG, home, "tags")? {
            if let Some(card) = cards.get_mut(&row.image) {
                card.tags = tags(row.tags);
            }
        }
    }
    if from.sealed(ids::GENERATE) {
        for row in job.table_of::<Generated>(ids::GENERATE, home, "texts")? {
            if let Some(card) = cards.get_mut(&row.image) {
                card.synthetic = row.text;
            }
        }
    }
    if from.sealed(ids::PAIR_SCORE) {
        for row in job.table_of::<PairScore>(ids::PAIR_SCORE, home, "scores")? {
            if let Some(card) = cards.get_mut(&row.image) {
                card.cosine = row.cosine;
            }
        }
    }
    Ok(cards)
}
