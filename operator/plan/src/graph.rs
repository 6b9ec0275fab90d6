//! The stage graph: every step, how it is cut into shards, and what each shard reads.
//!
//! Steps stand in an order in which each reads only earlier ones, so walking the table once is a topological walk.

use std::fmt;

use realsyn_crds::Stage;

/// A step of a stage, written `stage/step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId {
    /// The stage it belongs to.
    pub stage: Stage,
    /// Its name within the stage.
    pub step: &'static str,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage.name(), self.step)
    }
}

/// Into how many pieces something is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// One per inventory shard: the home shards of images.
    Home,
    /// Ranges of ids: a power of two that follows from the inventory's bytes.
    Ranges,
    /// Buckets of words by their hash: a power of two that follows from the inventory's bytes, and soon ends, since a
    /// larger corpus has few words more.
    Buckets,
    /// One per shard of the named step, which may be another build's.
    Like(StepId),
    /// As many as the named step's seal counts under this name, for example `cells`.
    Counted(StepId, &'static str),
}

/// How a step is cut into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharding {
    /// A single shard, number 0.
    One,
    /// One shard per piece.
    Each(Cut),
    /// Runs of the named step's shards, cut by their bytes alone: the map side of a shuffle.
    Groups(StepId),
    /// Runs of the partitions of a shuffled role, cut by their bytes alone: where a shuffle's reader writes the next one.
    Runs(StepId, &'static str),
}

/// What one shard reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The inventory's entry of the same number.
    Source,
    /// The named step's shard of the same number.
    Shard(StepId),
    /// All shards of the named step that belong to this group.
    Group(StepId),
    /// The partition of the same number of the named role, or those of this run, from every shard of the named step.
    Partition(StepId, &'static str),
    /// Everything that the named step sealed.
    Whole(StepId),
}

impl Read {
    /// The step that is read; `None` for the source.
    pub fn step(&self) -> Option<StepId> {
        match *self {
            Self::Source => None,
            Self::Shard(s) | Self::Group(s) | Self::Partition(s, _) | Self::Whole(s) => Some(s),
        }
    }
}

/// One step: one Job, or one round of the local run.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Which step.
    pub id: StepId,
    /// Its shards.
    pub sharding: Sharding,
    /// What each shard reads.
    pub reads: &'static [Read],
    /// The shuffled roles it writes, and how each is cut.
    pub shuffles: &'static [(&'static str, Cut)],
}

const fn id(stage: Stage, step: &'static str) -> StepId {
    StepId { stage, step }
}

const fn step(
    id: StepId,
    sharding: Sharding,
    reads: &'static [Read],
    shuffles: &'static [(&'static str, Cut)],
) -> Step {
    Step { id, sharding, reads, shuffles }
}

/// Names of the steps, for those who read one.
pub mod ids {
    use super::{Stage, StepId, id};

    #[doc = "`extract`"]
    pub const DOCUMENTS: StepId = id(Stage::Documents, "extract");
    #[doc = "`fetch`"]
    pub const FETCH: StepId = id(Stage::Fetch, "fetch");
    #[doc = "`decode`"]
    pub const DECODE: StepId = id(Stage::ImageDecode, "decode");
    #[doc = "`by-id`"]
    pub const IMAGES_BY_ID: StepId = id(Stage::ImageDedupPerceptual, "by-id");
    #[doc = "`exact`"]
    pub const IMAGES_EXACT: StepId = id(Stage::ImageDedupPerceptual, "exact");
    #[doc = "`verify`"]
    pub const IMAGES_VERIFY: StepId = id(Stage::ImageDedupPerceptual, "verify");
    #[doc = "`groups`"]
    pub const IMAGES_GROUPS: StepId = id(Stage::ImageDedupPerceptual, "groups");
    #[doc = "`filter`"]
    pub const POLICY: StepId = id(Stage::ImagePolicy, "filter");
    #[doc = "`split`"]
    pub const SENTENCES: StepId = id(Stage::Sentences, "split");
    #[doc = "`by-id`"]
    pub const SENTENCES_BY_ID: StepId = id(Stage::SentenceDedupExact, "by-id");
    #[doc = "`unique`"]
    pub const UNIQUE: StepId = id(Stage::SentenceDedupExact, "unique");
    #[doc = "`count`"]
    pub const WORDS_COUNT: StepId = id(Stage::WordStats, "count");
    #[doc = "`sum`"]
    pub const WORDS_SUM: StepId = id(Stage::WordStats, "sum");
    #[doc = "`freeze`"]
    pub const WORDS_FREEZE: StepId = id(Stage::WordStats, "freeze");
    #[doc = "`score`"]
    pub const SCORE: StepId = id(Stage::SentenceScore, "score");
    #[doc = "`bands`"]
    pub const NEAR_BANDS: StepId = id(Stage::SentenceDedupNear, "bands");
    #[doc = "`verify`"]
    pub const NEAR_VERIFY: StepId = id(Stage::SentenceDedupNear, "verify");
    #[doc = "`groups`"]
    pub const NEAR_GROUPS: StepId = id(Stage::SentenceDedupNear, "groups");
    #[doc = "`rows`"]
    pub const ROWS: StepId = id(Stage::SentenceDedupNear, "rows");
    #[doc = "`embed`"]
    pub const SENTENCE_EMBED: StepId = id(Stage::SentenceEmbed, "embed");
    #[doc = "`train`"]
    pub const SENTENCE_TRAIN: StepId = id(Stage::SentenceCells, "train");
    #[doc = "`assign`"]
    pub const SENTENCE_ASSIGN: StepId = id(Stage::SentenceCells, "assign");
    #[doc = "`pairs`"]
    pub const SENTENCE_PAIRS: StepId = id(Stage::SentenceDedupSemantic, "pairs");
    #[doc = "`merge`"]
    pub const SENTENCE_MERGE: StepId = id(Stage::SentenceDedupSemantic, "merge");
    #[doc = "`cluster`"]
    pub const SENTENCE_CLUSTER: StepId = id(Stage::SentenceCluster, "cluster");
    #[doc = "`embed`"]
    pub const IMAGE_EMBED: StepId = id(Stage::ImageEmbed, "embed");
    #[doc = "`train`"]
    pub const IMAGE_TRAIN: StepId = id(Stage::ImageCells, "train");
    #[doc = "`assign`"]
    pub const IMAGE_ASSIGN: StepId = id(Stage::ImageCells, "assign");
    #[doc = "`pairs`"]
    pub const IMAGE_PAIRS: StepId = id(Stage::ImageDedupSemantic, "pairs");
    #[doc = "`merge`"]
    pub const IMAGE_MERGE: StepId = id(Stage::ImageDedupSemantic, "merge");
    #[doc = "`cluster`"]
    pub const IMAGE_CLUSTER: StepId = id(Stage::ImageCluster, "cluster");
    #[doc = "`home`"]
    pub const HOME: StepId = id(Stage::ImageCluster, "home");
    #[doc = "`exact-sample`"]
    pub const EXACT_SAMPLE: StepId = id(Stage::Retrieve, "exact-sample");
    #[doc = "`calibrate`"]
    pub const CALIBRATE: StepId = id(Stage::Retrieve, "calibrate");
    #[doc = "`route`"]
    pub const ROUTE: StepId = id(Stage::Retrieve, "route");
    #[doc = "`search`"]
    pub const SEARCH: StepId = id(Stage::Retrieve, "search");
    #[doc = "`merge`"]
    pub const CANDIDATES: StepId = id(Stage::Retrieve, "merge");
    #[doc = "`count`"]
    pub const NOUNS_COUNT: StepId = id(Stage::TagVocab, "count");
    #[doc = "`sum`"]
    pub const NOUNS_SUM: StepId = id(Stage::TagVocab, "sum");
    #[doc = "`freeze`"]
    pub const NOUNS_FREEZE: StepId = id(Stage::TagVocab, "freeze");
    #[doc = "`caption`"]
    pub const CAPTION: StepId = id(Stage::Caption, "caption");
    #[doc = "`tag`"]
    pub const TAG: StepId = id(Stage::Tag, "tag");
    #[doc = "`generate`"]
    pub const GENERATE: StepId = id(Stage::Generate, "generate");
    #[doc = "`score`"]
    pub const PAIR_SCORE: StepId = id(Stage::PairScore, "score");
    #[doc = "`takedown`"]
    pub const TAKEDOWN: StepId = id(Stage::Release, "takedown");
    #[doc = "`pairs`"]
    pub const PAIRS: StepId = id(Stage::Release, "pairs");
    #[doc = "`select`"]
    pub const SELECT: StepId = id(Stage::Release, "select");
    #[doc = "`gather`"]
    pub const GATHER: StepId = id(Stage::Release, "gather");
    #[doc = "`pack`"]
    pub const PACK: StepId = id(Stage::Release, "pack");
    #[doc = "`publish`"]
    pub const PUBLISH: StepId = id(Stage::Release, "publish");
}

use Cut::{Buckets, Counted, Home, Like, Ranges};
use Read::{Group, Partition, Shard, Source, Whole};
use Sharding::{Each, Groups, One, Runs};
use ids::*;

const SENTENCE_CELLS: Cut = Counted(SENTENCE_TRAIN, "cells");
const IMAGE_CELLS: Cut = Counted(IMAGE_TRAIN, "cells");
const RELEASE_SHARDS: Cut = Counted(SELECT, "shards");

/// The steps of a build, in order. The inventory is not among them: it is listed, not computed.
pub const BUILD: &[Step] = &[
    step(DOCUMENTS, Each(Home), &[Source], &[]),
    step(FETCH, Each(Home), &[Shard(DOCUMENTS)], &[]),
    step(DECODE, Each(Home), &[Shard(FETCH)], &[]),
    // The pictures that lie beside the rows would make a group of each shard: it is their documents' bytes that count.
    step(IMAGES_BY_ID, Groups(DOCUMENTS), &[Group(DECODE)], &[("images", Ranges)]),
    step(
        IMAGES_EXACT,
        Runs(IMAGES_BY_ID, "images"),
        &[Partition(IMAGES_BY_ID, "images")],
        &[("home", Home), ("bands", Ranges)],
    ),
    step(IMAGES_VERIFY, Each(Ranges), &[Partition(IMAGES_EXACT, "bands")], &[]),
    step(IMAGES_GROUPS, One, &[Whole(IMAGES_VERIFY)], &[("dropped", Home)]),
    step(
        POLICY,
        Each(Home),
        &[Shard(DECODE), Partition(IMAGES_EXACT, "home"), Partition(IMAGES_GROUPS, "dropped")],
        &[],
    ),
    step(SENTENCES, Each(Home), &[Shard(DOCUMENTS)], &[]),
    step(SENTENCES_BY_ID, Groups(SENTENCES), &[Group(SENTENCES)], &[("sentences", Ranges)]),
    step(UNIQUE, Each(Ranges), &[Partition(SENTENCES_BY_ID, "sentences")], &[]),
    step(WORDS_COUNT, Groups(UNIQUE), &[Group(UNIQUE)], &[("words", Buckets)]),
    step(WORDS_SUM, Each(Buckets), &[Partition(WORDS_COUNT, "words")], &[]),
    step(WORDS_FREEZE, One, &[Whole(WORDS_SUM)], &[]),
    step(SCORE, Each(Ranges), &[Shard(UNIQUE), Whole(WORDS_FREEZE)], &[]),
    step(NEAR_BANDS, Groups(UNIQUE), &[Group(UNIQUE), Group(SCORE)], &[("bands", Ranges)]),
    step(NEAR_VERIFY, Each(Ranges), &[Partition(NEAR_BANDS, "bands")], &[]),
    step(NEAR_GROUPS, One, &[Whole(NEAR_VERIFY)], &[("dropped", Ranges)]),
    step(ROWS, Each(Ranges), &[Shard(UNIQUE), Shard(SCORE), Partition(NEAR_GROUPS, "dropped")], &[]),
    step(SENTENCE_EMBED, Each(Ranges), &[Shard(ROWS)], &[]),
    step(SENTENCE_TRAIN, One, &[Whole(SENTENCE_EMBED)], &[]),
    step(
        SENTENCE_ASSIGN,
        Groups(SENTENCE_EMBED),
        &[Group(SENTENCE_EMBED), Group(ROWS), Whole(SENTENCE_TRAIN)],
        &[("rows", SENTENCE_CELLS)],
    ),
    step(SENTENCE_PAIRS, Each(SENTENCE_CELLS), &[Partition(SENTENCE_ASSIGN, "rows")], &[]),
    step(SENTENCE_MERGE, One, &[Whole(SENTENCE_PAIRS)], &[("dropped", SENTENCE_CELLS)]),
    step(
        SENTENCE_CLUSTER,
        Each(SENTENCE_CELLS),
        &[Partition(SENTENCE_ASSIGN, "rows"), Shard(SENTENCE_PAIRS), Partition(SENTENCE_MERGE, "dropped")],
        &[],
    ),
    step(IMAGE_EMBED, Each(Home), &[Shard(POLICY), Shard(DECODE)], &[]),
    step(IMAGE_TRAIN, One, &[Whole(IMAGE_EMBED)], &[]),
    step(IMAGE_ASSIGN, Groups(IMAGE_EMBED), &[Group(IMAGE_EMBED), Whole(IMAGE_TRAIN)], &[("rows", IMAGE_CELLS)]),
    step(IMAGE_PAIRS, Each(IMAGE_CELLS), &[Partition(IMAGE_ASSIGN, "rows")], &[]),
    step(IMAGE_MERGE, One, &[Whole(IMAGE_PAIRS)], &[("dropped", IMAGE_CELLS)]),
    step(
        IMAGE_CLUSTER,
        Each(IMAGE_CELLS),
        &[Partition(IMAGE_ASSIGN, "rows"), Shard(IMAGE_PAIRS), Partition(IMAGE_MERGE, "dropped")],
        &[("home", Home)],
    ),
    step(HOME, Each(Home), &[Shard(IMAGE_EMBED), Partition(IMAGE_CLUSTER, "home")], &[]),
    step(EXACT_SAMPLE, Each(SENTENCE_CELLS), &[Shard(SENTENCE_CLUSTER), Whole(HOME), Whole(SENTENCE_TRAIN)], &[]),
    step(CALIBRATE, One, &[Whole(EXACT_SAMPLE)], &[]),
    step(ROUTE, Groups(HOME), &[Group(HOME), Whole(SENTENCE_TRAIN), Whole(CALIBRATE)], &[("queries", SENTENCE_CELLS)]),
    step(
        SEARCH,
        Each(SENTENCE_CELLS),
        &[Partition(ROUTE, "queries"), Shard(SENTENCE_CLUSTER), Whole(CALIBRATE)],
        &[("home", Home)],
    ),
    step(CANDIDATES, Each(Home), &[Shard(HOME), Partition(SEARCH, "home")], &[]),
    step(NOUNS_COUNT, Groups(ROWS), &[Group(ROWS)], &[("words", Buckets)]),
    step(NOUNS_SUM, Each(Buckets), &[Partition(NOUNS_COUNT, "words")], &[]),
    step(NOUNS_FREEZE, One, &[Whole(NOUNS_SUM)], &[]),
    step(CAPTION, Each(Home), &[Shard(HOME), Shard(DECODE)], &[]),
    step(TAG, Each(Home), &[Shard(HOME), Shard(DECODE), Whole(NOUNS_FREEZE)], &[]),
    step(GENERATE, Each(Home), &[Shard(CANDIDATES), Shard(CAPTION), Shard(TAG)], &[]),
    step(PAIR_SCORE, Each(Home), &[Shard(HOME), Shard(GENERATE)], &[]),
];

/// The steps of a release, which read a build's.
pub const RELEASE: &[Step] = &[
    step(TAKEDOWN, Each(Like(UNIQUE)), &[Shard(UNIQUE)], &[]),
    step(
        PAIRS,
        Each(Home),
        &[
            Shard(HOME),
            Partition(IMAGES_EXACT, "home"),
            Shard(POLICY),
            Shard(CANDIDATES),
            Shard(CAPTION),
            Shard(TAG),
            Shard(GENERATE),
            Shard(PAIR_SCORE),
            Whole(TAKEDOWN),
        ],
        &[],
    ),
    step(SELECT, One, &[Whole(PAIRS)], &[("selection", Home)]),
    step(
        GATHER,
        Each(Home),
        &[Shard(PAIRS), Shard(DECODE), Partition(SELECT, "selection")],
        &[("rows", RELEASE_SHARDS)],
    ),
    step(PACK, Each(RELEASE_SHARDS), &[Partition(GATHER, "rows")], &[]),
    step(PUBLISH, One, &[Whole(PACK), Whole(SELECT)], &[]),
];

/// The step with this id, from either table.
pub fn find(id: StepId) -> &'static Step {
    BUILD.iter().chain(RELEASE).find(|s| s.id == id).expect("every StepId constant stands in a table")
}

/// The stages that a stage reads, in graph order, without itself.
pub fn stages_read(stage: Stage) -> Vec<Stage> {
    let mut stages: Vec<Stage> = BUILD
        .iter()
        .chain(RELEASE)
        .filter(|s| s.id.stage == stage)
        .flat_map(|s| s.reads)
        .filter_map(|r| r.step())
        .map(|s| s.stage)
        .filter(|s| *s != stage)
        .collect();
    stages.sort_by_key(|s| Stage::ALL.iter().position(|t| t == s));
    stages.dedup();
    stages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<&'static Step> {
        BUILD.iter().chain(RELEASE).collect()
    }

    #[test]
    fn steps_read_only_earlier_ones_and_partitions_only_shuffled_roles() {
        for (at, step) in all().iter().enumerate() {
            for read in step.reads {
                let Some(from) = read.step() else { continue };
                let place = all().iter().position(|s| s.id == from).expect("read step is in the graph");
                assert!(place < at, "{} reads {from}, which comes later", step.id);
                if let Partition(_, role) = read {
                    let shuffle = all()[place].shuffles.iter().find(|(r, _)| r == role);
                    let (_, cut) = shuffle.unwrap_or_else(|| panic!("{from} does not shuffle {role}"));
                    let alike = [Each(*cut), Runs(from, role)].contains(&step.sharding);
                    assert!(alike, "{} is cut otherwise than {from}:{role}", step.id);
                }
            }
        }
    }

    #[test]
    fn shards_of_equal_number_belong_together() {
        for step in all() {
            for read in step.reads {
                match *read {
                    Shard(from) => {
                        let alike = [find(from).sharding, Each(Like(from))].contains(&step.sharding);
                        assert!(alike, "{} reads {from}", step.id);
                    }
                    Group(from) => {
                        let Groups(cut_by) = step.sharding else { panic!("{} reads a group", step.id) };
                        assert_eq!(find(cut_by).sharding, find(from).sharding, "{} reads {from}", step.id);
                    }
                    Source | Partition(..) | Whole(_) => {}
                }
            }
        }
    }

    #[test]
    fn the_stages_that_make_sentences_can_be_taken_from_another_build() {
        let makes: Vec<Stage> = Stage::ALL.iter().copied().filter(|s| s.makes_sentences()).collect();
        for step in BUILD.iter().filter(|s| makes.contains(&s.id.stage)) {
            let others = step.reads.iter().filter_map(Read::step).filter(|from| !makes.contains(&from.stage));
            assert_eq!(others.filter(|from| *from != DOCUMENTS).count(), 0, "{} reads no image", step.id);
        }
        for step in all().into_iter().filter(|s| !makes.contains(&s.id.stage)) {
            let reads_sentences = step.reads.iter().filter_map(Read::step).any(|from| makes.contains(&from.stage));
            let by_inventory = |cut: &Cut| [Ranges, Buckets].contains(cut);
            // Its own inventory says nothing of ranges of another build's sentences.
            let cut_by_inventory = matches!(step.sharding, Each(cut) if by_inventory(&cut))
                || step.shuffles.iter().any(|(_, cut)| by_inventory(cut));
            assert!(!(reads_sentences && cut_by_inventory), "{}", step.id);
            assert!(!step.reads.contains(&Source) || step.id == DOCUMENTS);
        }
    }

    #[test]
    fn every_stage_but_the_inventory_has_a_step() {
        for stage in Stage::ALL.iter().filter(|s| **s != Stage::Inventory) {
            assert!(all().iter().any(|s| s.id.stage == *stage), "{} has no step", stage.name());
        }
    }
}
