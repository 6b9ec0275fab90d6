//! The funnels, from the seals' counts.

use realsyn_plan::StepId;
use realsyn_plan::graph::ids;
use realsyn_plan::records::Seal;

use super::Reader;
use crate::report::data::Unit::{Documents, Ids, Occurrences};
use crate::report::data::{Funnel, FunnelStep, StepCounts, Unit};

const DOCUMENTS: &[(StepId, &str, Unit, Unit)] = &[(ids::DOCUMENTS, "Read from the source", Documents, Documents)];

const IMAGES: &[(StepId, &str, Unit, Unit)] = &[
    (ids::FETCH, "References with bytes", Occurrences, Occurrences),
    (ids::DECODE, "Decoded, large and not too narrow", Occurrences, Occurrences),
    (ids::IMAGES_EXACT, "Distinct files", Occurrences, Ids),
    (ids::POLICY, "Different to the eye, and allowed", Ids, Ids),
    (ids::HOME, "Different in meaning", Ids, Ids),
];

const SENTENCES: &[(StepId, &str, Unit, Unit)] = &[
    (ids::SENTENCES, "Sentences that pass the rules", Occurrences, Occurrences),
    (ids::UNIQUE, "Distinct texts", Occurrences, Ids),
    (ids::ROWS, "Entropy, perplexity, and not nearly the same", Ids, Ids),
    (ids::SENTENCE_CLUSTER, "Different in meaning", Ids, Ids),
];

pub fn funnels(from: &Reader) -> Vec<Funnel> {
    let mut images: Vec<FunnelStep> = IMAGES.iter().map(|s| step(from, s)).collect();
    // `release/pairs` starts again from every image and names what `generate` dropped among its reasons: one bar for both.
    let paired = if from.sealed(ids::PAIRS) {
        (ids::PAIRS, "With a synthetic text, not taken down", Ids, Ids)
    } else {
        (ids::GENERATE, "With a synthetic text", Ids, Ids)
    };
    images.push(step(from, &paired));
    if from.run.release.is_some() {
        images.push(step(from, &(ids::SELECT, "Inside the band, balanced: released", Ids, Ids)));
    }
    let steps = |list: &[(StepId, &'static str, Unit, Unit)]| list.iter().map(|s| step(from, s)).collect();
    vec![
        Funnel { title: "Images", steps: images },
        Funnel { title: "Sentences", steps: steps(SENTENCES) },
        Funnel { title: "Documents", steps: steps(DOCUMENTS) },
    ]
}

fn step(from: &Reader, &(id, title, before, after): &(StepId, &'static str, Unit, Unit)) -> FunnelStep {
    FunnelStep { title, step: id.to_string(), before, after, counts: from.seal(id).map(counts) }
}

fn counts(seal: &Seal) -> StepCounts {
    let mut dropped: Vec<(String, u64)> = (seal.counts.iter())
        .filter_map(|(name, n)| Some((name.strip_prefix("dropped.")?.to_owned(), *n)))
        .filter(|(_, n)| *n > 0)
        .collect();
    // Stable: equal numbers stay in the order of their names.
    dropped.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    StepCounts { came: seal.count("in"), kept: seal.count("out"), dropped }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use realsyn_plan::Digest;
    use realsyn_plan::records::{Commit, Counts, Data, Effort, Outcome};
    use realsyn_plan::shuffle::PartitionTotals;

    use super::*;

    #[test]
    fn reasons_come_by_number_then_name_and_without_empty_ones() {
        let counted = [
            ("in", 10),
            ("out", 3),
            ("dropped.b", 2),
            ("dropped.a", 2),
            ("dropped.c", 3),
            ("dropped.d", 0),
            ("tokens", 9),
        ];
        let counts: Counts = counted.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        let zero = Digest([0; 32]);
        let commit = Commit {
            step: ids::ROWS.to_string(),
            recipe: zero,
            key: zero,
            number: 0,
            generation: 0,
            attempt: "a".into(),
            outcome: Outcome::Data(Data { counts, ..Data::default() }),
            effort: Effort::default(),
        };
        let seal =
            Seal::new(ids::ROWS, (zero, zero), 0, BTreeMap::new(), &[(commit, zero)], PartitionTotals::default());
        let found = super::counts(&seal);
        assert_eq!((found.came, found.kept), (10, 3));
        assert_eq!(found.dropped, [("c".to_owned(), 3), ("a".to_owned(), 2), ("b".to_owned(), 2)]);
    }
}
