//! What the report shows, as plain structs.

use realsyn_plan::records::Histogram;

/// Everything that one report shows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub head: Head,
    pub strip: Vec<Picture>,
    pub funnels: Vec<Funnel>,
    pub scores: Vec<Distribution>,
    pub balance: Option<Balance>,
    pub sheet: Sheet,
    pub image_groups: Vec<GroupSet<Member>>,
    pub sentence_groups: Vec<GroupSet<Text>>,
    pub hubs: Option<Hubs>,
    pub recall: Option<Recall>,
    pub timing: Vec<StageTime>,
}

/// The headline.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The build's name, where it is known.
    pub build: Option<String>,
    pub release: Option<ReleaseHead>,
    /// Images with a scored synthetic text; `None` before pairs are scored.
    pub pool: Option<u64>,
    pub format: String,
    pub source: String,
    pub store: String,
    pub files: u64,
    pub file_bytes: u64,
    pub documents: Option<u64>,
    /// References found in documents, and images used after all deduplication.
    pub images: (Option<u64>, Option<u64>),
    /// Sentences found in documents, and sentences that images may retrieve.
    pub sentences: (Option<u64>, Option<u64>),
}

/// The release, as far as it is.
#[derive(Clone, Debug)]
pub struct ReleaseHead {
    pub name: String,
    /// `None` until it is published.
    pub published: Option<PublishedHead>,
}

/// A published release.
#[derive(Clone, Debug)]
pub struct PublishedHead {
    pub digest: String,
    pub pairs: u64,
    pub bytes: u64,
    pub files: u64,
    pub uri: String,
}

/// What a count counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A document.
    Documents,
    /// A place where an image or a sentence stands: the same one counts as often as it occurs.
    Occurrences,
    /// A distinct image or sentence.
    Ids,
}

/// How many of something were left after each step.
#[derive(Clone, Debug)]
pub struct Funnel {
    pub title: &'static str,
    pub steps: Vec<FunnelStep>,
}

/// One step of a funnel.
#[derive(Clone, Debug)]
pub struct FunnelStep {
    /// What the step does, for people.
    pub title: &'static str,
    /// `stage/step`.
    pub step: String,
    pub before: Unit,
    pub after: Unit,
    /// `None` while the step has not run.
    pub counts: Option<StepCounts>,
}

/// What came, what went on, and what was dropped, by reason, most first.
#[derive(Clone, Debug, Default)]
pub struct StepCounts {
    pub came: u64,
    pub kept: u64,
    pub dropped: Vec<(String, u64)>,
}

/// A histogram with what is kept of it.
#[derive(Clone, Debug)]
pub struct Distribution {
    pub title: &'static str,
    /// Name and unit of the axis.
    pub axis: &'static str,
    /// What was counted, as a plural.
    pub of: &'static str,
    /// The bins are of the common logarithm of the value.
    pub log10: bool,
    pub histogram: Histogram,
    /// Values that are kept; an open end is infinite.
    pub band: Option<(f64, f64)>,
    /// What was decided by it: below, inside and above the band.
    pub decided: Option<(u64, u64, u64)>,
}

/// Pairs by cluster before and after balancing.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    pub clusters: u64,
    /// Pairs before, and pairs after where a release was selected.
    pub before: u64,
    pub after: Option<u64>,
    /// The most that a cluster may give.
    pub limit: Option<u64>,
    /// Sizes at ranks: rank from 1, by falling size; each curve by its own order.
    pub before_curve: Vec<(u64, u64)>,
    pub after_curve: Vec<(u64, u64)>,
    /// The largest clusters: number, before, after.
    pub top: Vec<(u64, u64, Option<u64>)>,
}

/// A keyed sample of pairs.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    pub pairs: Vec<PairCard>,
    /// Of how many.
    pub of: u64,
    /// Whether they are of a release or of the pool.
    pub released: bool,
}

/// One image with all its texts.
#[derive(Clone, Debug, Default)]
pub struct PairCard {
    pub image: String,
    pub picture: Option<Picture>,
    pub texts: Vec<Text>,
    pub synthetic: Option<String>,
    pub cosine: Option<f32>,
    pub caption: Option<String>,
    pub tags: Vec<(String, f32)>,
    pub cluster: Option<u64>,
    /// Alternative text, page and number of places where it occurs.
    pub alt: Option<String>,
    pub page: Option<String>,
    pub occurrences: u64,
}

/// A small JPEG.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    pub jpeg: Vec<u8>,
    pub width: u32,
    pub height: u32,
    /// Size of the source, as shown.
    pub source: (u32, u32),
}

/// A sentence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    pub id: String,
    pub text: String,
    /// Cosine to the image that retrieved it.
    pub cosine: Option<f32>,
    /// How often it occurs in the corpus, where that is shown.
    pub occurrences: Option<u64>,
}

/// An image of a group.
#[derive(Clone, Debug, Default)]
pub struct Member {
    pub id: String,
    pub picture: Option<Picture>,
}

/// Groups of duplicates that one stage merged.
#[derive(Clone, Debug)]
pub struct GroupSet<M> {
    pub title: &'static str,
    pub stage: &'static str,
    /// What was compared, and which member stays.
    pub rule: &'static str,
    pub groups: u64,
    pub members: u64,
    /// The largest ones.
    pub shown: Vec<Group<M>>,
}

/// A group: the first members, the one that stays first of all.
#[derive(Clone, Debug)]
pub struct Group<M> {
    pub size: u64,
    pub members: Vec<M>,
}

/// Sentences that many images retrieve.
#[derive(Clone, Debug, Default)]
pub struct Hubs {
    /// Images with at least one sentence.
    pub images: u64,
    /// Distinct sentences among the images' first ones; `None` if there were too many to count.
    pub distinct: Option<u64>,
    /// Images that have at least one of `top` among their first ones.
    pub covered: u64,
    /// Sentence, and the number of images.
    pub top: Vec<(Text, u64)>,
}

/// What retrieval finds of the exact best.
#[derive(Clone, Debug, Default)]
pub struct Recall {
    pub sample: u64,
    pub probe_cells: u64,
    pub cells: u64,
    /// 0 = all of a cell's clusters.
    pub probe_clusters: u64,
    /// 0 to 1.
    pub recall: f64,
    pub target: Option<f64>,
    pub points: Vec<RecallAt>,
}

/// One setting of the probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecallAt {
    pub probe_cells: u64,
    pub probe_clusters: u64,
    pub recall: f64,
    /// Rows compared, as a share of exact search.
    pub work: f64,
}

/// What a stage took.
#[derive(Clone, Debug, Default)]
pub struct StageTime {
    pub stage: &'static str,
    pub sealed: usize,
    pub steps: usize,
    pub shards: u64,
    /// Rows and what they are, of the step that does the stage's work.
    pub rows: Option<(u64, &'static str)>,
    pub tokens: Option<u64>,
    /// Milliseconds of all shards together.
    pub millis: u64,
    pub read: u64,
    pub written: u64,
    pub rejected: Vec<(String, u64)>,
}
