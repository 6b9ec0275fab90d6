//! The dataset card: what a release holds, where it comes from, and what was left out on the way.

use std::fmt::Write;

use realsyn_crds::TextSurface;
use realsyn_plan::graph::{BUILD, RELEASE};

use super::publish::ReleaseManifest;
use crate::run::{ReleaseRun, Run};

/// The card as Markdown with the front matter that dataset hubs read.
pub fn text(run: &Run, release: &ReleaseRun, manifest: &ReleaseManifest) -> String {
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
    _ = writeln!(card, "- digest: `{}`\n- files: {} ({} bytes)", manifest.digest, manifest.files.len(), manifest.bytes);
    _ = writeln!(card, "- source: {}, {} files\n", run.build.source.format.name(), run.inventory.files());
    card.push_str("## Layout\n\n`NNNNN.tar` are WebDataset shards: `KEY.jpg`, `KEY.txt` (the first realistic text) and `KEY.json`. ");
    card.push_str(
        "`NNNNN.parquet` hold the same rows as columns. `manifest.json` names every file with its BLAKE3 hash.\n\n",
    );
    card.push_str(match release.spec.text_surface {
        TextSurface::Raw => "Texts are written as in their documents.\n\n",
        TextSurface::ClipRoundtrip => {
            "Texts are written as CLIP's tokenizer gives them back (`textSurface: clipRoundtrip`): lower case, spaces round \
             words, digits and punctuation, cut to 77 tokens. `textN_id` is the id of the text before that.\n\n"
        }
    });
    card.push_str("## Licence\n\nTexts and images keep the licences of the documents they come from: see `licence` and `document_urls` of each row. ");
    card.push_str("Synthetic texts were written by a model and may be wrong.\n\n");
    card.push_str("## Models\n\n");
    for (role, model) in run.build.models.named() {
        _ = writeln!(card, "- {role}: sha256 `{}`", model.sha256);
    }
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
    card
}
