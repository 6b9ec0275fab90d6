//! What an `advance` pod tells the controller: the content of its termination message.
//!
//! The message crosses a trust boundary: whoever can run a pod can write one. So every field that is read is checked against
//! the graph, and nothing in it is ever a name, a path or a command. What another version says beside that is not read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::graph::{BUILD, RELEASE, Step};
use crate::{Digest, StepId};

/// A kubelet keeps this many bytes of a container's termination message.
pub const MAX_BYTES: usize = 4096;
/// A Job has at most this many indexes.
pub const MAX_TASKS: u32 = 10_000;
/// Ten thousand GPUs for as many years: nobody has spent more on a step.
const MAX_GPU_SECONDS: u64 = 10_000 * 10_000 * 366 * 86_400;
/// Sentences are cut to this many characters.
const MAX_SENTENCE: usize = 600;
/// Reasons why records were dropped that are told of a step; the rarer ones are counted together.
const MAX_REASONS: usize = 8;
/// Their length in characters.
const MAX_REASON: usize = 40;
/// What counts them together.
const OTHERS: &str = "other";

/// How things stand after `advance` has sealed what is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was listed; absent only when that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Listed>,
    /// Steps whose seal counts, but for those that the caller said it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<SealedStep>,
    /// Steps that can run now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<ReadyStep>,
    /// Bytes that all sealed steps hold in the store.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stored: u64,
    /// Everything asked for is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<Complete>,
    /// There was no room for all that is sealed: ask again, naming what is known by now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Why nothing goes on until a person acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
}

/// The pinned inventory, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its root.
    pub root: Digest,
    /// Files.
    pub files: u64,
    /// Shards.
    pub shards: u64,
    /// Bytes.
    pub bytes: u64,
    /// The root of the inventory that the sentences are made from, where they are another build's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentences: Option<Digest>,
}

/// A step that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedStep {
    /// The step, as `stage/step`.
    pub step: String,
    /// Its shards.
    pub shards: u64,
    /// Records read.
    #[serde(rename = "in", default)]
    pub records_in: u64,
    /// Records written.
    #[serde(rename = "out", default)]
    pub records_out: u64,
    /// Shards rejected, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, u64>,
    /// Records dropped, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Seconds of GPUs that went into what the seal names.
    #[serde(rename = "gpu", default, skip_serializing_if = "is_zero")]
    pub gpu_seconds: u64,
}

impl SealedStep {
    fn stage(&self) -> &str {
        self.step.split('/').next().unwrap_or_default()
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A step that can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyStep {
    /// The step, as `stage/step`.
    pub step: String,
    /// Its shards.
    pub shards: u64,
    /// Those without a commit.
    pub missing: u64,
    /// Rows of the task list: the indexes of its Job.
    pub tasks: u32,
    /// The task list's hash, under which the workers find it.
    pub list: Digest,
}

/// What came of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// Of a build the pool's digest, of a release the digest of its content.
    pub digest: Digest,
    /// Image-text pairs.
    pub pairs: u64,
    /// Bytes, of a release.
    #[serde(default)]
    pub bytes: u64,
    /// Where the release lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// What a clean-up tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanUpReport {
    /// Seconds until there is something to do again; nothing is left to do without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_in: Option<u64>,
}

/// A message that is not a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the report of an advance pod cannot be used: {0}")]
pub struct BadReport(String);

/// The step of this name, from either table.
pub fn step_named(name: &str) -> Option<&'static Step> {
    BUILD.iter().chain(RELEASE).find(|s| s.id.to_string() == name)
}

impl Report {
    /// The report as a termination message: as many stages as fit, the rest announced by `more`.
    pub fn encode(mut self) -> Vec<u8> {
        for sealed in &mut self.sealed {
            sealed.dropped = few(std::mem::take(&mut sealed.dropped));
        }
        if let Some(sentence) = &mut self.stalled {
            *sentence = cut(sentence);
        }
        loop {
            let bytes = serde_json::to_vec(&self).expect("a report has string keys");
            if bytes.len() <= MAX_BYTES || !self.shorten() {
                return bytes;
            }
        }
    }

    /// Leaves something out, if there is anything to leave out. A stage counts when all of its steps are told: so first goes
    /// one whose steps are not all sealed, then the last, which is told to whoever asks for more. One that is left alone
    /// loses its reasons, the longest first: whoever learned of no stage would ask for ever.
    fn shorten(&mut self) -> bool {
        let (Some(first), Some(last)) = (self.sealed.first(), self.sealed.last()) else { return false };
        if let Some(part) = self.sealed.iter().find(|s| !self.tells_all_of(s.stage())).map(|s| s.stage().to_owned()) {
            self.sealed.retain(|s| s.stage() != part);
            return true;
        }
        if first.stage() != last.stage() {
            let last = last.stage().to_owned();
            self.sealed.retain(|s| s.stage() != last);
            (self.more, self.complete) = (true, None);
            return true;
        }
        let reasons = self.sealed.iter_mut().flat_map(|s| [&mut s.rejected, &mut s.dropped]);
        let told = reasons.filter(|all| all.keys().any(|why| why != OTHERS));
        let Some(longest) = told.max_by_key(|all| all.keys().map(String::len).sum::<usize>()) else { return false };
        let sum = longest.values().fold(0, |sum: u64, n| sum.saturating_add(*n));
        *longest = BTreeMap::from([(OTHERS.to_owned(), sum)]);
        true
    }

    fn tells_all_of(&self, stage: &str) -> bool {
        let told = |step: &Step| self.sealed.iter().any(|s| s.step == step.id.to_string());
        BUILD.iter().chain(RELEASE).filter(|step| step.id.stage.name() == stage).all(told)
    }

    /// Reads a termination message.
    ///
    /// # Errors
    /// Bytes that are not a report: too long, not JSON, an unknown step, more tasks than a Job may have, counts that
    /// contradict each other.
    pub fn parse(message: &[u8]) -> Result<Self, BadReport> {
        let bad = |what: String| Err(BadReport(what));
        if message.len() > MAX_BYTES {
            return bad(format!("it has {} bytes, {MAX_BYTES} are allowed", message.len()));
        }
        let mut report: Self = serde_json::from_slice(message).map_err(|e| BadReport(e.to_string()))?;
        let mut last = None;
        for name in report.sealed.iter().map(|s| &s.step).chain(report.ready.iter().map(|r| &r.step)) {
            if step_named(name).is_none() {
                return bad(format!("there is no step `{}`", cut(name)));
            }
            if last == Some(name) {
                return bad(format!("{name} stands there twice"));
            }
            last = Some(name);
        }
        for ready in &report.ready {
            if ready.tasks == 0 || ready.tasks > MAX_TASKS {
                return bad(format!("{}: {} tasks; from 1 to {MAX_TASKS} are possible", ready.step, ready.tasks));
            }
            if ready.missing > ready.shards || u64::from(ready.tasks) > ready.missing {
                let ReadyStep { step, shards, missing, tasks, .. } = ready;
                return bad(format!("{step}: {tasks} tasks for {missing} missing of {shards} shards"));
            }
        }
        for sealed in &mut report.sealed {
            if sealed.rejected.values().fold(0, |sum: u64, n| sum.saturating_add(*n)) > sealed.shards {
                return bad(format!("{}: more shards rejected than there are", sealed.step));
            }
            if sealed.gpu_seconds > MAX_GPU_SECONDS {
                return bad(format!("{}: {} GPU-seconds", sealed.step, sealed.gpu_seconds));
            }
            sealed.rejected = std::mem::take(&mut sealed.rejected).into_iter().map(|(why, n)| (cut(&why), n)).collect();
            sealed.dropped = few(std::mem::take(&mut sealed.dropped));
        }
        if let Some(sentence) = &mut report.stalled {
            *sentence = cut(sentence);
        }
        Ok(report)
    }

    /// The ready step of this id.
    pub fn ready(&self, id: StepId) -> Option<&ReadyStep> {
        self.ready.iter().find(|r| r.step == id.to_string())
    }
}

/// The reasons that count most, in few words each, and the others together.
fn few(all: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut all: Vec<(String, u64)> = all.into_iter().collect();
    // Stable, so that of equals the first by name is kept.
    all.sort_by_key(|(reason, n)| (reason == OTHERS, std::cmp::Reverse(*n)));
    let mut kept = BTreeMap::new();
    for (at, (reason, n)) in all.into_iter().enumerate() {
        let reason = if at < MAX_REASONS { crate::text::sentence(&reason, MAX_REASON) } else { OTHERS.to_owned() };
        let sum: &mut u64 = kept.entry(reason).or_default();
        *sum = sum.saturating_add(n);
    }
    kept
}

fn cut(text: &str) -> String {
    crate::text::sentence(text, MAX_SENTENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> ReadyStep {
        ReadyStep { step: "fetch/fetch".into(), shards: 9, missing: 5, tasks: 2, list: Digest([7; 32]) }
    }

    #[test]
    fn what_fits_comes_back_and_what_does_not_is_announced() {
        let sealed = |step: &Step| SealedStep {
            step: step.id.to_string(),
            shards: u64::MAX,
            records_in: u64::MAX,
            records_out: u64::MAX,
            rejected: BTreeMap::from([("truncated-parquet".into(), 3)]),
            dropped: BTreeMap::from([("too-short".into(), 7)]),
            gpu_seconds: MAX_GPU_SECONDS,
        };
        let mut all = Report { ready: vec![ready()], ..Report::default() };
        all.sealed = BUILD.iter().take(3).map(sealed).collect();
        assert_eq!(Report::parse(&all.clone().encode()).unwrap(), all);
        all.sealed = BUILD.iter().chain(RELEASE).map(sealed).collect();
        let some = Report::parse(&all.clone().encode()).unwrap();
        assert!(some.more && some.ready == all.ready && some.sealed.len() > 10);
        assert_eq!(some.sealed, all.sealed[..some.sealed.len()]);
    }

    #[test]
    fn nothing_that_a_stranger_writes_is_taken_for_a_report() {
        let good = Report { ready: vec![ready()], ..Report::default() }.encode();
        let good = String::from_utf8(good).unwrap();
        for (from, to) in [
            ("fetch/fetch", "../../etc"),
            ("\"tasks\":2", "\"tasks\":0"),
            ("\"tasks\":2", "\"tasks\":10001"),
            ("\"tasks\":2", "\"tasks\":6"),
            ("\"missing\":5", "\"missing\":50"),
            ("\"missing\":5", "\"missing\":-5"),
            ("0707", "07zz"),
        ] {
            let forged = good.replacen(from, to, 1);
            assert_ne!(forged, good);
            Report::parse(forged.as_bytes()).expect_err(&forged);
        }
        let mut state = 1u64;
        for n in 0..5000 {
            // Any bytes of any length, and any prefix of a good report: an error, never a panic.
            let bytes: Vec<u8> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            assert!(Report::parse(&bytes).is_err());
            if n < good.len() {
                assert!(Report::parse(&good.as_bytes()[..n]).is_err());
            }
        }
    }

    #[test]
    fn the_time_of_gpus_is_told_only_where_there_is_some_and_within_reason() {
        let sealed = |gpu_seconds| SealedStep {
            step: "caption/caption".into(),
            shards: 9,
            records_in: 1,
            records_out: 1,
            rejected: BTreeMap::new(),
            dropped: BTreeMap::new(),
            gpu_seconds,
        };
        let report = |seconds| Report { sealed: vec![sealed(seconds)], ..Report::default() };
        let without = String::from_utf8(report(0).encode()).unwrap();
        // A controller that does not know the field yet must not be told of it for nothing.
        assert!(!without.contains("gpu"), "{without}");
        assert_eq!(Report::parse(without.as_bytes()).unwrap(), report(0));
        assert_eq!(Report::parse(&report(7200).encode()).unwrap().sealed[0].gpu_seconds, 7200);
        Report::parse(&report(MAX_GPU_SECONDS + 1).encode()).expect_err("more than anybody has");
    }

    #[test]
    fn reports_of_older_and_newer_versions_are_read() {
        let older = r#"{"sealed":[{"step":"fetch/fetch","shards":9,"in":5,"out":4}]}"#;
        let older = Report::parse(older.as_bytes()).unwrap();
        assert!(older.sealed[0].dropped.is_empty());
        let newer = r#"{"sealed":[{"step":"fetch/fetch","shards":9,"dropped":{"http-404":1},"mood":"good"}],"tide":{"high":1}}"#;
        let newer = Report::parse(newer.as_bytes()).unwrap();
        assert_eq!(newer.sealed[0].dropped, BTreeMap::from([("http-404".to_owned(), 1)]));
        let written = String::from_utf8(newer.encode()).unwrap();
        assert!(!written.contains("mood") && !written.contains("tide"), "{written}");
    }

    #[test]
    fn however_many_reasons_there_are_few_are_told_and_all_are_counted() {
        let sealed = |reasons: BTreeMap<String, u64>| SealedStep {
            step: "fetch/fetch".into(),
            shards: 9,
            records_in: 1,
            records_out: 1,
            rejected: BTreeMap::new(),
            dropped: reasons,
            gpu_seconds: 0,
        };
        let many: BTreeMap<String, u64> = (1..=50).map(|n| (format!("{n}{}\u{7}", "é".repeat(90)), n)).collect();
        let report = Report { sealed: vec![sealed(many.clone())], ..Report::default() };
        let told = Report::parse(&report.encode()).unwrap().sealed.remove(0).dropped;
        assert_eq!(told.len(), MAX_REASONS + 1);
        assert_eq!(told.values().sum::<u64>(), many.values().sum::<u64>());
        assert_eq!(told[OTHERS], (1..=42).sum::<u64>());
        assert!(told.keys().all(|reason| reason.chars().count() <= MAX_REASON && !reason.contains('\u{7}')));
        // A message that nobody of ours has written.
        let forged = serde_json::to_vec(&Report { sealed: vec![sealed(many)], ..Report::default() });
        assert!(forged.unwrap().len() > MAX_BYTES);
        // Where not even one stage fits with its reasons, the longest are counted together.
        let mut full = sealed(told);
        full.rejected = (0..9).map(|n| (format!("{n}{}", "x".repeat(370)), 1)).collect();
        let report = Report { sealed: vec![full.clone()], ..Report::default() };
        let read = Report::parse(&report.encode()).unwrap();
        assert_eq!(read.sealed[0].rejected, BTreeMap::from([(OTHERS.to_owned(), 9)]));
        assert_eq!(read.sealed[0].dropped, full.dropped);
    }

    #[test]
    fn whoever_asks_for_more_learns_of_every_stage_whatever_its_reasons() {
        let reasons = |most: usize, length: usize| -> BTreeMap<String, u64> {
            (0..most).map(|n| (format!("{n:02}{}", "\u{1d535}".repeat(length)), 1)).collect()
        };
        let sealed = |step: &Step| SealedStep {
            step: step.id.to_string(),
            shards: 100_000,
            records_in: u64::MAX,
            records_out: u64::MAX,
            rejected: reasons(13, 58),
            dropped: reasons(9, 38),
            gpu_seconds: MAX_GPU_SECONDS,
        };
        // One stage is at its last step.
        let last = crate::graph::ids::IMAGES_GROUPS;
        let mut known: Vec<String> = Vec::new();
        loop {
            let news = BUILD.iter().filter(|step| step.id != last && !known.contains(&step.id.to_string()));
            let report = Report { sealed: news.map(sealed).collect(), ..Report::default() };
            let told = Report::parse(&report.encode()).unwrap();
            let stages = told.sealed.iter().filter(|s| told.tells_all_of(s.stage()));
            let before = known.len();
            known.extend(stages.map(|s| s.step.clone()));
            if !told.more {
                break;
            }
            assert!(known.len() > before, "it says that there is more, but tells nothing new: {told:?}");
        }
        let others = BUILD.iter().filter(|step| step.id.stage != last.stage).map(|step| step.id.to_string());
        assert_eq!(known, others.collect::<Vec<_>>());
    }

    #[test]
    fn sentences_are_cut_and_clean() {
        let report = Report { stalled: Some(format!("a\u{1b}[31m{}", "x".repeat(9000))), ..Report::default() };
        let read = Report::parse(&report.encode()).unwrap().stalled.unwrap();
        assert!(read.chars().count() <= MAX_SENTENCE && !read.contains('\u{1b}'));
    }
}
