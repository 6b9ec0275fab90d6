//! The dataset card: what a release holds, where it comes from, and what was left out on the way.

use std::collections::HashMap;
use std::fmt::Write;

use bytes::Bytes;
use realsyn_crds::{ReleaseFormat, Similarity, SimilarityMetric, TextSurface};
use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::read_table;
use realsyn_dataset::table_row;
use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::recipe::pool_digest;
use serde::{Deserialize, Serialize};

use super::hosts::host;
use super::images::trouble;
use super::publish::ReleaseManifest;
use super::release::BandRow;
use crate::run::{ReleaseRun, Run, StageError};

/// Hosts and licences that are named, the largest first.
const NAMED: usize = 10;

table_row! {
    /// The columns of a released pair that say where its image comes from.
    #[derive(Debug, Serialize, Deserialize)]
    struct Origin {
        raw_image_url: String,
        licence: Option<String>,
    }
}

/// Where the pairs of a release come from, counted.
#[derive(Default)]
pub struct Origins {
    hosts: HashMap<Option<String>, u64>,
    licences: HashMap<Option<String>, u64>,
}

impl Origins {
    /// Counts the rows of one of the release's Parquet files.
    ///
    /// # Errors
    /// The file is none of ours.
    pub fn add(&mut self, parquet: Bytes) -> Result<(), StageError> {
        for row in read_table::<Origin>(parquet, &Limits::default()).map_err(trouble)? {
            *self.hosts.entry(host(&row.raw_image_url)).or_default() += 1;
            *self.licences.entry(row.licence).or_default() += 1;
        }
        Ok(())
    }
}

/// The card as Markdown with the front matter that dataset hubs read.
pub fn text(
    run: &Run,
    release: &ReleaseRun,
    manifest: &ReleaseManifest,
    origins: &Origins,
    band: Option<&BandRow>,
) -> String {
    let mut card = String::from(
        "---\ntask_categories:\n- image-to-text\n- zero-shot-image-classification\nlanguage:\n- en\n---\n\n",
    );
    _ = writeln!(card, "# {}\n", release.name);
    _ = writeln!(
        card,
        "{} image-text pairs. Each image has up to {} realistic texts, retrieved from the whole corpus, and one synthetic text \
         written by a language model from the nearest of them, a caption and tags (the method of RealSyn).\n",
        manifest.pairs, manifest.texts
    );
    provenance(&mut card, run, release, manifest);
    selection(&mut card, release, band);
    layout(&mut card, release);
    sources(&mut card, origins);
    card.push_str("## Models\n\n");
    for (role, model) in run.build.models.named() {
        _ = writeln!(card, "- {role}: sha256 `{}`", model.sha256);
    }
    funnel(&mut card, run);
    card
}

fn provenance(card: &mut String, run: &Run, release: &ReleaseRun, manifest: &ReleaseManifest) {
    let source = &run.build.source;
    card.push_str("## Provenance\n\n");
    _ = writeln!(card, "- digest: `{}`\n- files: {} ({} bytes)", manifest.digest, manifest.files.len(), manifest.bytes);
    _ = writeln!(card, "- release: {} of build {}", release.name, release.spec.build_ref.name);
    let revision = if source.revision.is_empty() { String::new() } else { format!(", revision {}", source.revision) };
    let files = run.inventory.files();
    _ = writeln!(card, "- source: {} at `{}`{revision}, {files} files", source.format.name(), source.uri);
    _ = writeln!(card, "- inventory root: `{}`", run.inventory.root());
    if let Some(from) = &run.build.sentences_from {
        _ = writeln!(card, "- sentences: those of build {}", from.build);
    }
    if let Some(pool) = pool_digest(&run.seals) {
        _ = writeln!(card, "- pool: `{pool}`");
    }
    card.push('\n');
}

fn selection(card: &mut String, release: &ReleaseRun, band: Option<&BandRow>) {
    card.push_str("## Selection\n\n");
    let asked = release.spec.similarity.as_ref().map_or_else(|| "all of them".to_owned(), asked);
    let cosines = band.map_or_else(String::new, |b| format!(", which are cosines from {:.4} to {:.4}", b.low, b.high));
    _ = writeln!(card, "- similarity of image and synthetic text: {asked}{cosines}");
    let balance = &release.spec.balance;
    let per_cluster = balance.max_per_cluster.map(|n| format!("at most {n} of each image cluster"));
    let in_all = balance.target_samples.map(|n| format!("{n} in all, evenly from the clusters"));
    let rules: Vec<String> = per_cluster.into_iter().chain(in_all).collect();
    _ = writeln!(card, "- balance: {}\n", if rules.is_empty() { "none".to_owned() } else { rules.join("; ") });
}

/// A band as it was asked for.
fn asked(similarity: &Similarity) -> String {
    let metric = match similarity.metric {
        SimilarityMetric::Cosine => "cosine",
        SimilarityMetric::HalfShifted => "half of one plus the cosine",
    };
    let value = |name: &str, value: Option<f64>| value.map(|v| format!("{metric} {name} {v}"));
    let share = |end: &str, share: Option<f64>| share.map(|s| format!("without the {end} {:.1} %", s * 100.0));
    let parts = [
        value("from", similarity.low),
        value("to", similarity.high),
        share("lowest", similarity.drop_below_quantile),
        share("highest", similarity.drop_above_quantile),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn layout(card: &mut String, release: &ReleaseRun) {
    card.push_str("## Layout\n\n");
    card.push_str(match release.spec.format {
        ReleaseFormat::Webdataset => {
            "`NNNNN.tar` are WebDataset shards: `KEY.jpg`, `KEY.txt` (the first realistic text) and `KEY.json`. `NNNNN.parquet` \
             hold the same rows as columns. "
        }
        ReleaseFormat::Parquet => "`NNNNN.parquet` hold a pair in each row; the column `jpg` is the image. ",
    });
    card.push_str("`manifest.json` names every file with its BLAKE3 hash.\n\n");
    card.push_str(match release.spec.text_surface {
        TextSurface::Raw => "Texts are written as in their documents.\n\n",
        TextSurface::ClipRoundtrip => {
            "Texts are written as CLIP's tokenizer gives them back (`textSurface: clipRoundtrip`): lower case, spaces round \
             words, digits and punctuation, cut to 77 tokens. `textN_id` is the id of the text before that.\n\n"
        }
    });
}

fn sources(card: &mut String, origins: &Origins) {
    card.push_str("## Sources and licences\n\n");
    counted(card, "host of the image", &origins.hosts, "none: a file of the source");
    counted(card, "licence that the document states", &origins.licences, "unknown");
    card.push_str(
        "Texts and images keep the licences of the documents they come from: see `licence` and `document_urls` of each row. \
         Unknown means that the document states none, which permits nothing: whether a use is allowed is then for whoever \
         uses the pair to find out, with the page or under the law that holds for him. Synthetic texts were written by a \
         model and may be wrong.\n\n",
    );
}

/// A table of the largest counts, and what is left in one row.
fn counted(card: &mut String, what: &str, counts: &HashMap<Option<String>, u64>, nothing: &str) {
    let mut rows: Vec<(&str, u64)> = counts.iter().map(|(name, n)| (name.as_deref().unwrap_or(nothing), *n)).collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let others = rows.split_off(rows.len().min(NAMED));
    _ = writeln!(card, "| {what} | pairs |\n|---|---:|");
    for (name, n) in rows {
        // What a page states is not to be read as Markdown.
        let plain = |c: char| if c == '|' || c == '`' || c.is_control() { ' ' } else { c };
        _ = writeln!(card, "| `{}` | {n} |", name.chars().map(plain).collect::<String>());
    }
    if !others.is_empty() {
        _ = writeln!(card, "| {} others | {} |", others.len(), others.iter().map(|(_, n)| n).sum::<u64>());
    }
    card.push('\n');
}

fn funnel(card: &mut String, run: &Run) {
    card.push_str("\n## Funnel\n\n| step | in | out | dropped |\n|---|---:|---:|---|\n");
    for step in BUILD.iter().chain(RELEASE) {
        let Some(seal) = run.seals.get(&step.id) else { continue };
        let dropped: Vec<String> = seal
            .counts
            .iter()
            .filter(|(_, n)| **n > 0)
            .filter_map(|(name, n)| Some(format!("{} {n}", name.strip_prefix("dropped.")?)))
            .collect();
        if seal.counts.contains_key("in") {
            _ = writeln!(
                card,
                "| {} | {} | {} | {} |",
                step.id,
                seal.count("in"),
                seal.count("out"),
                dropped.join(", ")
            );
        }
    }
}
