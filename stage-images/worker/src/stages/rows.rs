//! The tables that steps write and read. Field names are column names; docs/tables.md is made of what is said here.

use realsyn_dataset::formats::table::FieldRef;
use realsyn_dataset::formats::{Blob, Row};
use realsyn_dataset::table_row;
use realsyn_plan::Id;
use serde::{Deserialize, Serialize};

/// A table with what its documentation says, for the reference.
pub struct Table {
    /// Its name here.
    pub name: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Its columns.
    pub columns: Vec<FieldRef>,
    /// What each column is.
    pub abouts: Vec<&'static str>,
}

macro_rules! rows {
    ($($(#[doc = $about:literal])* $name:ident { $($(#[doc = $what:literal])* $field:ident: $type:ty),* $(,)? })*) => {
        $(table_row! {
            $(#[doc = $about])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $name { $($(#[doc = $what])* pub $field: $type),* }
        })*

        /// All of these tables.
        pub fn tables() -> Vec<Table> {
            vec![$(Table {
                name: stringify!($name),
                about: concat!($($about),*),
                columns: $name::fields(),
                abouts: vec![$(concat!($($what),*)),*],
            }),*]
        }
    };
}

rows! {
    /// `documents/extract:documents`: one document.
    Document {
        /// Its id.
        document: Id,
        /// Its URL, if it has one.
        url: Option<String>,
        /// Source file.
        file: String,
        /// Row, or place within the file.
        row: u64,
        /// Licence that the document states.
        licence: Option<String>,
    }
    /// `documents/extract:blocks`: one text block of a document.
    Block {
        /// Its document.
        document: Id,
        /// The document's URL.
        url: Option<String>,
        /// Place among the document's blocks and images.
        position: u32,
        /// Its text.
        text: String,
    }
    /// `documents/extract:images`: one reference to an image.
    ImageRef {
        /// Its document.
        document: Id,
        /// The document's URL.
        document_url: Option<String>,
        /// Place among the document's blocks and images.
        position: u32,
        /// The image's URL.
        url: String,
        /// Alternative text.
        alt: Option<String>,
        /// Licence that the document states.
        licence: Option<String>,
    }
    /// A document, image or sentence that a step left out, and why. `of` is what it duplicates.
    Dropped {
        /// What was dropped: an id, a URL, or `file#row`.
        what: String,
        /// The rule; see [reasons](data-contract.md#reasons).
        reason: String,
        /// What it duplicates.
        of: Option<Id>,
        /// The value that decided, where there is one: a score, or a cosine distance.
        value: Option<f64>,
    }
    /// `fetch/fetch:results`: what became of one reference.
    Fetched {
        /// The reference.
        document: Id,
        /// The document's URL.
        document_url: Option<String>,
        /// Place among the document's blocks and images.
        position: u32,
        /// The image's URL.
        url: String,
        /// Alternative text.
        alt: Option<String>,
        /// Licence that the document states.
        licence: Option<String>,
        /// `fetched`, `not-fetched` (no mirror has its prefix), `missing` (the mirror lacks it) or `too-many-bytes`.
        status: String,
        /// The image's id, if there are bytes.
        image: Option<Id>,
    }
    /// One place where an image occurs.
    Occurrence {
        /// The document.
        document: Id,
        /// Its URL.
        document_url: Option<String>,
        /// Place among the document's blocks and images.
        position: u32,
        /// The image's URL there.
        url: String,
        /// Alternative text there.
        alt: Option<String>,
        /// Licence that the document states.
        licence: Option<String>,
    }
    /// `image-decode/decode:images`: one decoded image of a shard.
    Decoded {
        /// Its id.
        image: Id,
        /// `jpeg`, `png`, `webp` or `gif`.
        format: String,
        /// Bytes of the source.
        bytes: u64,
        /// SHA-256 of the source bytes, for joining with other datasets.
        sha256: String,
        /// Width as shown, in pixels.
        width: u32,
        /// Height as shown, in pixels.
        height: u32,
        /// Width as stored.
        stored_width: u32,
        /// Height as stored.
        stored_height: u32,
        /// Perceptual fingerprint, none for flat images: its hash (64 bits) and the width and height as shown (32 bits each), all
        /// little endian, then a thumbnail of 24 × 24 grey bytes.
        fingerprint: Option<Blob>,
        /// Where it occurs in this shard.
        occurrences: Vec<Occurrence>,
    }
    /// `image-dedup-perceptual/by-id:images`: an image of one shard on its way to its id's partition.
    ImageCopy {
        /// Its id.
        image: Id,
        /// The shard that decoded this copy.
        shard: u32,
        /// Pixels as shown.
        pixels: u64,
        /// Perceptual fingerprint.
        fingerprint: Option<Blob>,
        /// Where it occurs in that shard.
        occurrences: Vec<Occurrence>,
    }
    /// `image-dedup-perceptual/exact:home`: a unique image, at its home shard.
    HomeImage {
        /// Its id.
        image: Id,
        /// Where it occurs, in all shards.
        occurrences: Vec<Occurrence>,
    }
    /// `image-dedup-perceptual/exact:bands`: a unique image under one of its hash bands.
    ImageBand {
        /// The band's key.
        band: u64,
        /// The image.
        image: Id,
        /// Its home shard.
        home: u32,
        /// Pixels as shown.
        pixels: u64,
        /// Perceptual fingerprint.
        fingerprint: Blob,
    }
    /// `image-dedup-perceptual/verify:edges`: two images that show the same picture.
    ImageEdge {
        /// One image.
        a: Id,
        /// Its home shard.
        a_home: u32,
        /// Its pixels.
        a_pixels: u64,
        /// The other.
        b: Id,
        /// Its home shard.
        b_home: u32,
        /// Its pixels.
        b_pixels: u64,
    }
    /// A row that duplicates another, on its way to where it lives.
    Duplicate {
        /// The row that goes.
        id: Id,
        /// The row that stays for it.
        of: Id,
        /// Cosine distance to it, where the stage measures one.
        distance: Option<f32>,
    }
    /// A group of duplicates, its representative first.
    Group {
        /// Members.
        members: Vec<Id>,
    }
    /// `image-policy/filter:images`: an image that the build uses, at its home shard, in row order.
    Image {
        /// Its id.
        image: Id,
        /// Width as shown.
        width: u32,
        /// Height as shown.
        height: u32,
        /// How often it occurs.
        occurrences: u32,
    }
    /// `sentences/split:sentences` and `sentence-dedup-exact/by-id`: one place where a sentence stands.
    SentenceAt {
        /// Its id.
        sentence: Id,
        /// Its canonical text.
        text: String,
        /// The document.
        document: Id,
        /// The document's URL.
        url: Option<String>,
        /// The block's place in the document.
        block: u32,
        /// The sentence's place in the block.
        index: u32,
    }
    /// `sentence-dedup-exact/unique:sentences`: one row per text, in row order.
    Sentence {
        /// Its id.
        sentence: Id,
        /// Its canonical text.
        text: String,
        /// How often it occurs.
        occurrences: u64,
    }
    /// `sentence-dedup-exact/unique:occurrences`: where it occurs.
    SentenceOccurrence {
        /// The sentence.
        sentence: Id,
        /// The document.
        document: Id,
        /// The document's URL.
        url: Option<String>,
        /// The block's place in the document.
        block: u32,
        /// The sentence's place in the block.
        index: u32,
    }
    /// A word and how often it occurs.
    WordCount {
        /// The word.
        word: String,
        /// Occurrences in the corpus.
        count: u64,
    }
    /// `sentence-score/score:scores`: row i belongs to row i of `sentence-dedup-exact/unique:sentences`.
    Score {
        /// The sentence.
        sentence: Id,
        /// Eq. 1 of the paper, in bits, or in nats with `logBase: e`.
        entropy: f64,
        /// Eq. 2 of the paper; none for a sentence with nothing to predict.
        perplexity: Option<f64>,
        /// Tokens scored.
        tokens: u32,
    }
    /// `sentence-dedup-near/bands`: a sentence under one of its bands.
    SentenceBand {
        /// The band's key.
        band: u64,
        /// The sentence.
        sentence: Id,
        /// How often it occurs.
        occurrences: u64,
        /// Its text.
        text: String,
    }
    /// `sentence-dedup-near/verify:edges`: two sentences that say the same in nearly the same words.
    SentenceEdge {
        /// One sentence.
        a: Id,
        /// How often it occurs.
        a_occurrences: u64,
        /// The other.
        b: Id,
        /// How often it occurs.
        b_occurrences: u64,
    }
    /// `sentence-dedup-near/rows:sentences`: a sentence that the build uses, in row order.
    KeptSentence {
        /// Its id.
        sentence: Id,
        /// Its canonical text.
        text: String,
    }
    /// `*-cells/assign:rows`: a row in a cell: at home there, or a copy because a near one may live there.
    CellRow {
        /// Its id.
        id: Id,
        /// The cell where it is at home.
        cell: u32,
        /// Whether other cells hold copies of it.
        replicated: bool,
        /// The image's home shard; 0 for sentences.
        home: u32,
        /// The sentence's text; empty for images, and for copies unless pairs are verified.
        text: String,
        /// The image's thumbnail, where pairs are verified.
        thumbnail: Option<Blob>,
        /// The embedding: f16, little endian.
        vector: Blob,
    }
    /// `*-dedup-semantic/pairs:edges`: an edge of a spanning forest over near pairs.
    NearEdge {
        /// One row.
        a: Id,
        /// The other.
        b: Id,
        /// Cosine distance.
        distance: f32,
    }
    /// `*-dedup-semantic/pairs:members`: a row of a group that reaches into another cell.
    NearMember {
        /// The row.
        id: Id,
        /// The cell where it is at home.
        cell: u32,
        /// The embedding: f16, little endian.
        vector: Blob,
    }
    /// `sentence-cluster/cluster:sentences`: row i belongs to row i of `vectors`; sorted by cluster, then row order.
    ClusteredSentence {
        /// Its id.
        sentence: Id,
        /// Its canonical text.
        text: String,
        /// Its cluster within the cell.
        cluster: u32,
    }
    /// A cluster and how many rows it has.
    ClusterSize {
        /// Cluster: cell in the high 32 bits, place in the cell in the low ones.
        cluster: u64,
        /// Rows.
        rows: u64,
    }
    /// `image-cluster/cluster:home`: what became of an image, on its way home.
    PlacedImage {
        /// The image.
        image: Id,
        /// Cluster: cell in the high 32 bits, place in the cell in the low ones.
        cluster: u64,
        /// What it duplicates; none if it is kept.
        of: Option<Id>,
        /// Cosine distance to that.
        distance: Option<f32>,
    }
    /// `image-embed/embed:images`: row i belongs to row i of `shared` and `visual`.
    EmbeddedImage {
        /// The image.
        image: Id,
        /// Its thumbnail: what near pairs are verified by.
        thumbnail: Blob,
    }
    /// `image-cluster/home:images`: row i belongs to row i of `vectors`; in row order.
    ClusteredImage {
        /// The image.
        image: Id,
        /// Its cluster.
        cluster: u64,
    }
    /// `retrieve/exact-sample:hits`: one of the best sentences of a cell for a sampled image.
    SampleHit {
        /// The sampled image.
        image: Id,
        /// The sentence.
        sentence: Id,
        /// Their cosine.
        cosine: f32,
        /// How many cells' centroids are nearer to the image than this cell's.
        cell_rank: u32,
        /// How many of the cell's clusters' centroids are nearer than this sentence's cluster's.
        cluster_rank: u32,
        /// Clusters in the cell.
        clusters: u32,
    }
    /// `retrieve/calibrate:curve`: what a setting of the probes finds of the sample's exact best three.
    RecallPoint {
        /// Cells searched.
        probe_cells: u32,
        /// Clusters searched in each; 0 = all.
        probe_clusters: u32,
        /// Share found.
        recall: f64,
        /// Rows compared for an image, as a share of those of exact search.
        work: f64,
    }
    /// `retrieve/route:queries`: an image on its way to a cell.
    Query {
        /// The image.
        image: Id,
        /// Its home shard.
        home: u32,
        /// Its vector in the shared space: f16, little endian.
        vector: Blob,
    }
    /// `retrieve/search:home`: a sentence that a cell offers to an image.
    Hit {
        /// The image.
        image: Id,
        /// The sentence.
        sentence: Id,
        /// Its text.
        text: String,
        /// Their cosine.
        cosine: f32,
    }
    /// One of an image's retrieved sentences.
    Candidate {
        /// The sentence.
        sentence: Id,
        /// Its text.
        text: String,
        /// Cosine of image and sentence.
        cosine: f32,
    }
    /// `retrieve/merge:candidates`: an image's retrieved sentences, best first. Row order of `image-cluster/home`.
    Retrieved {
        /// The image.
        image: Id,
        /// As many as `stages.retrieve.candidates`, fewer where the cells searched have fewer.
        candidates: Vec<Candidate>,
    }
    /// `caption/caption:captions`.
    Captioned {
        /// The image.
        image: Id,
        /// Its caption.
        caption: String,
    }
    /// One tag of an image.
    TagScore {
        /// The tag.
        tag: String,
        /// The tagger's score.
        score: f32,
    }
    /// `tag/tag:tags`.
    Tagged {
        /// The image.
        image: Id,
        /// Its tags, best first.
        tags: Vec<TagScore>,
    }
    /// `generate/generate:texts`.
    Generated {
        /// The image.
        image: Id,
        /// The synthetic text, if one passed.
        text: Option<String>,
        /// `ok`, or why none passed.
        outcome: String,
    }
    /// `pair-score/score:scores`.
    PairScore {
        /// The image.
        image: Id,
        /// Cosine of the image and its synthetic text.
        cosine: Option<f32>,
    }
    /// `release/takedown:sentences`: a sentence of which no occurrence is left.
    TakenDown {
        /// The sentence.
        sentence: Id,
    }
    /// `release/pairs:pairs`: everything about an image that a release may use.
    Pair {
        /// The image.
        image: Id,
        /// Its home shard.
        home: u32,
        /// Its cluster.
        cluster: u64,
        /// Cosine of image and synthetic text.
        cosine: f32,
        /// The synthetic text.
        synthetic: String,
        /// Its caption.
        caption: String,
        /// Its tags.
        tags: Vec<TagScore>,
        /// Its retrieved sentences, best first.
        candidates: Vec<Candidate>,
        /// Where it occurs.
        occurrences: Vec<Occurrence>,
        /// Width of the source as shown.
        width: u32,
        /// Height of the source as shown.
        height: u32,
    }
    /// `release/select:selection`: a pair's place in the release.
    Selected {
        /// The image.
        image: Id,
        /// Shard of the release.
        shard: u32,
        /// Place within that shard.
        place: u32,
    }
    /// `release/gather:rows`: a pair and its picture on their way to a shard of the release.
    Gathered {
        /// Place within the shard.
        place: u32,
        /// The pair.
        pair: Pair,
        /// The picture as released: JPEG.
        jpeg: Blob,
        /// Its width.
        jpeg_width: u32,
        /// Its height.
        jpeg_height: u32,
    }
    /// `release/publish:files`: a file of the release.
    Published {
        /// Its name below the destination.
        name: String,
        /// Bytes.
        bytes: u64,
        /// BLAKE3 of its bytes.
        hash: String,
    }
}

impl From<Fetched> for Occurrence {
    /// The place of a reference, without what became of it.
    fn from(f: Fetched) -> Self {
        Self {
            document: f.document,
            document_url: f.document_url,
            position: f.position,
            url: f.url,
            alt: f.alt,
            licence: f.licence,
        }
    }
}
