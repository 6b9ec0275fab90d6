//! An overview as a page of text. Pure: the same overview, style and time give the same page.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{Stage, StageState};

use super::overview::{Overview, StageLine, State};
use crate::commands::Spending;
use crate::format::{bar, between, bytes, exact, short, span, wrap};
use crate::style::{Style, Tone};

/// The longest name of a stage.
const NAME: usize = 23;
/// Columns of a page beside bar and GPU-hours: mark, name, shards, in, out, dropped, time, and the spaces between.
const FIXED: usize = 2 + NAME + 1 + 1 + 12 + 6 + 6 + 8 + 6;
/// The column of GPU-hours, shown where there are any.
const GPU: usize = 7;
/// A wider bar says no more.
const LONGEST_BAR: usize = 24;

/// The page.
pub fn render(overview: &Overview, style: &Style, now: Timestamp) -> String {
    let mut page = Page { overview, style, now, text: String::new() };
    page.head();
    page.stages();
    page.published();
    page.pools();
    page.conditions();
    page.text
}

struct Page<'a> {
    overview: &'a Overview,
    style: &'a Style,
    now: Timestamp,
    text: String,
}

impl Page<'_> {
    fn paint(&self, tone: Tone, text: &str) -> String {
        self.style.paint(tone, text)
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    /// A sentence below what it is about, broken to the page's width.
    fn note(&mut self, indent: usize, tone: Tone, text: &str) {
        for line in wrap(text, self.style.width.saturating_sub(indent)) {
            let painted = self.paint(tone, &line);
            self.line(&format!("{:indent$}{painted}", ""));
        }
    }

    fn head(&mut self) {
        let o = self.overview;
        let title = self.paint(Tone::Strong, &o.name);
        self.line(&format!("{title}  {} in {}, generation {}", o.kind, o.namespace, o.generation));
        let (tone, mark) = match o.state {
            State::Ready => (Tone::Good, "✔"),
            State::Running => (Tone::Busy, "▶"),
            State::Stalled => (Tone::Bad, "✖"),
            State::Suspended | State::Unseen => (Tone::Slow, "‖"),
        };
        let state = self.paint(tone, &format!("{mark} {}", o.state.word()));
        let progress = o.progress.as_deref().filter(|_| o.state != State::Unseen).unwrap_or_default();
        // `stalled · 31 %` after the word itself.
        let progress =
            progress.strip_prefix(o.state.word()).map_or(progress, |rest| rest.trim_start_matches([' ', '·']));
        self.line(&format!("{state}  {progress}"));
        if let Some(why) = &o.why {
            let tone = if o.state == State::Stalled { Tone::Bad } else { Tone::Slow };
            self.note(2, tone, why);
        }
        if o.inventory.is_some() || o.worker_image.is_some() {
            self.line("");
        }
        if let Some(i) = &o.inventory {
            let text = format!("{}, {}, in {}", count(i.files, "file"), bytes(i.bytes), count(i.shards, "shard"));
            self.fact("source", &text);
        }
        if let Some(build) = &o.sentences_from {
            self.fact("sentences", &format!("of build {build}"));
        }
        if let Some(image) = &o.worker_image {
            self.fact("image", image);
        }
        if let Some(image) = &o.server_image {
            self.fact("server", image);
        }
        if o.gpu_hours > 0.0 || o.budget_gpu_hours.is_some() || o.spending.is_some() {
            let of = o.budget_gpu_hours.map_or_else(String::new, |b| format!(" of {b:.0} in the budget"));
            let to_come = o.spending.as_ref().map_or_else(String::new, Spending::hours);
            self.fact("GPU-hours", &format!("{:.1}{of}{to_come}", o.gpu_hours));
        }
        if let Some(costs) = o.spending.as_ref().and_then(Spending::costs) {
            self.fact("cost", &costs);
        }
        if o.stored > 0 {
            let of = o.budget_bytes.as_ref().map_or_else(String::new, |b| format!(" of {b} in the budget"));
            self.fact("stored", &format!("{}{of}", bytes(o.stored)));
        }
        if let Some(time) = self.elapsed() {
            self.fact("time", &span(time));
        }
    }

    /// From the first stage's beginning to now, or to the end.
    fn elapsed(&self) -> Option<SignedDuration> {
        let stages = &self.overview.stages;
        let began = stages.iter().filter_map(|s| s.started_at.as_deref()).min()?;
        let ended = stages.iter().filter_map(|s| s.sealed_at.as_deref()).max().and_then(|at| at.parse().ok());
        between(Some(began), ended.filter(|_| self.overview.state == State::Ready).unwrap_or(self.now))
    }

    fn fact(&mut self, name: &str, text: &str) {
        let name = self.paint(Tone::Faint, &format!("{name:<10}"));
        self.line(&format!("{name} {text}"));
    }

    fn stages(&mut self) {
        let o = self.overview;
        // A release looks at all of its build; of what it found done nothing is to be said.
        let is_shown = |s: &&StageLine| o.release.is_none() || s.name == Stage::Release || !is_kept(s);
        let shown: Vec<&StageLine> = o.stages.iter().filter(is_shown).collect();
        if shown.is_empty() {
            return;
        }
        let gpu = o.stages.iter().any(|s| s.gpu_seconds > 0);
        let room = self.style.width.saturating_sub(FIXED + if gpu { GPU } else { 0 });
        let bar = room.clamp(4, LONGEST_BAR);
        let mut heads = format!(
            "  {:<NAME$} {:<bar$} {:>11} {:>5} {:>5} {:>7} {:>6}",
            "STAGE", "PROGRESS", "SHARDS", "IN", "OUT", "DROPPED", "TIME"
        );
        if gpu {
            _ = write!(heads, " {:>6}", "GPU-H");
        }
        self.line("");
        self.line(&self.paint(Tone::Faint, &heads));
        // On a screen that is too small, what is done and what is far off is counted instead of listed.
        let crowded = self.style.rows.is_some_and(|rows| self.text.lines().count() + shown.len() + 12 > rows);
        for run in shown.chunk_by(|a, b| crowded && is_quiet(a) && is_quiet(b) && a.state == b.state) {
            match run {
                [stage] => self.stage(stage, bar, gpu),
                [first, ..] => {
                    let what = if first.state == StageState::Sealed { "stages are sealed" } else { "stages wait" };
                    let mark = self.mark(first);
                    self.line(&format!("{mark} {} {what}", run.len()));
                }
                [] => {}
            }
        }
    }

    fn mark(&self, s: &StageLine) -> String {
        match s.state {
            StageState::Sealed => self.paint(Tone::Good, "✔"),
            StageState::Running => self.paint(Tone::Busy, "▶"),
            StageState::Stalled => self.paint(Tone::Bad, "✖"),
            StageState::Waiting => self.paint(Tone::Faint, "·"),
        }
    }

    fn stage(&mut self, s: &StageLine, columns: usize, gpu: bool) {
        let mark = self.mark(s);
        if s.shards.is_none() {
            let room = self.style.width.saturating_sub(NAME + 3);
            let waits = match (&s.waits_for, self.overview.state) {
                (Some(what), _) => format!("waits for {what}"),
                (None, State::Running | State::Stalled) => "is next".to_owned(),
                (None, _) => String::new(),
            };
            let mut lines = wrap(&waits, room).into_iter();
            let first = lines.next().unwrap_or_default();
            let row = self.paint(Tone::Faint, &format!("{:<NAME$} {first}", s.name));
            self.line(&format!("{mark} {row}"));
            for line in lines {
                let row = self.paint(Tone::Faint, &line);
                self.line(&format!("{:w$}{row}", "", w = NAME + 3));
            }
            return;
        }
        let tone = match s.state {
            StageState::Sealed => Tone::Good,
            StageState::Stalled => Tone::Bad,
            _ => Tone::Busy,
        };
        let shards = s.shards.unwrap_or_default();
        let count = if s.state == StageState::Sealed { exact(shards) } else { format!("{}/{shards}", s.shards_done) };
        let number = |n: Option<u64>| n.map_or_else(|| "–".to_owned(), short);
        let mut row = format!(
            "{:<NAME$} {} {count:>11} {:>5} {:>5} {:>7} {:>6}",
            s.name,
            self.paint(tone, &bar(s.share, columns)),
            number(s.records_in),
            number(s.records_out),
            number(s.dropped),
            self.time(s),
        );
        if gpu {
            let hours = s.gpu_seconds as f64 / 3600.0;
            _ = write!(row, " {:>6}", if s.gpu_seconds > 0 { format!("{hours:.1}") } else { "–".to_owned() });
        }
        self.line(&format!("{mark} {row}"));
        self.details(s);
    }

    /// How long it took, or takes. What was sealed before this build came to it took no time.
    fn time(&self, s: &StageLine) -> String {
        let sealed = s.sealed_at.as_deref().and_then(|at| at.parse().ok());
        match between(s.started_at.as_deref(), sealed.unwrap_or(self.now)) {
            Some(time) => span(time),
            None if is_kept(s) => "kept".to_owned(),
            None => "–".to_owned(),
        }
    }

    fn details(&mut self, s: &StageLine) {
        if let Some((step, at, of)) = &s.step {
            let mut text = format!("step {step} ({at} of {of}): {} of {} tasks", s.tasks_done, s.tasks);
            if s.attempt > 1 {
                _ = write!(text, ", attempt {}", s.attempt);
            }
            if let Some(place) = &s.placement {
                _ = write!(text, ", {place}");
            }
            self.note(4, Tone::Faint, &text);
        }
        if !s.stragglers.is_empty() {
            self.note(4, Tone::Slow, &format!("takes three times as long as others: {}", s.stragglers.join(", ")));
        }
        if let Some(share) = s.useful_share().filter(|_| s.state == StageState::Sealed) {
            // Rounded down: all is said only of all.
            let percent = (100.0 * share).floor();
            self.note(4, Tone::Faint, &format!("{percent:.0} % of its GPU-hours went into what is sealed"));
        }
        if !s.dropped_by.is_empty() {
            self.note(4, Tone::Faint, &format!("dropped: {}", by_reason(&s.dropped_by, short)));
        }
        if !s.rejected.is_empty() {
            let all = s.rejected.values().fold(0, |sum: u64, n| sum.saturating_add(*n));
            let reasons = by_reason(&s.rejected, |n| n.to_string());
            self.note(4, Tone::Slow, &format!("{} rejected: {reasons}", count(all, "shard")));
        }
        let is_told =
            |why: &String| self.overview.why.as_deref().is_some_and(|told| *told == format!("{}: {why}", s.name));
        if let Some(why) = s.waits_for.as_ref().filter(|why| !is_told(why)) {
            let tone = if s.state == StageState::Stalled { Tone::Bad } else { Tone::Slow };
            self.note(4, tone, why);
        }
        if s.failures > 0 {
            let times = if s.failures == 1 { "once".to_owned() } else { format!("{} times in a row", s.failures) };
            let next = between(s.retry_at.as_deref(), self.now).filter(SignedDuration::is_negative);
            let next = next.map_or_else(String::new, |wait| format!(", next try in {}", span(-wait)));
            self.note(4, Tone::Slow, &format!("failed {times}{next}"));
        }
    }

    fn published(&mut self) {
        let Some(release) = &self.overview.release else { return };
        self.line("");
        let pool = match (&release.pool, release.pool_generation) {
            (Some(digest), Some(generation)) => format!("pool {} of generation {generation}", first(digest)),
            _ => "no pool pinned yet".to_owned(),
        };
        self.fact("build", &format!("{}, {pool}", release.build));
        if let (Some(pairs), Some(size)) = (release.pairs, release.bytes) {
            self.fact("pairs", &format!("{} in {}", exact(pairs), bytes(size)));
        }
        if let Some(uri) = &release.uri {
            self.fact("data", uri);
        }
        if let Some(digest) = &release.digest {
            self.fact("digest", digest);
        }
    }

    fn pools(&mut self) {
        let pools = &self.overview.pools;
        if pools.is_empty() {
            return;
        }
        self.line("");
        self.line(
            &self.paint(Tone::Faint, &format!("  {:<13} {:>13} {:>11}  {}", "POOL", "PAIRS", "GENERATION", "COMPLETE")),
        );
        for pool in pools.iter().rev() {
            let ago = between(pool.completed_at.as_deref(), self.now)
                .map_or_else(String::new, |d| format!("{} ago", span(d)));
            let row = format!("  {:<13} {:>13} {:>11}  {ago}", first(&pool.digest), exact(pool.pairs), pool.generation);
            self.line(&row);
        }
    }

    fn conditions(&mut self) {
        let conditions = &self.overview.conditions;
        if conditions.is_empty() {
            return;
        }
        self.line("");
        self.line(
            &self.paint(Tone::Faint, &format!("  {:<12} {:<8} {:>6}  {}", "CONDITION", "STATUS", "SINCE", "WHY")),
        );
        let mut told: Vec<&str> = self.overview.why.as_deref().into_iter().collect();
        for c in conditions {
            let since = between(Some(&c.last_transition_time), self.now).map_or_else(String::new, span);
            let tone = match (c.type_.as_str(), c.status.as_str()) {
                ("Ready", "True") => Tone::Good,
                ("Stalled", "True") => Tone::Bad,
                ("Placeable", "False") | ("Suspended", "True") => Tone::Slow,
                _ => Tone::Faint,
            };
            let row = format!("  {:<12} {:<8} {since:>6}  ", c.type_, c.status);
            // What was said above is not said again, and that nothing is wrong needs no sentence.
            let is_usual = c.status == "False" && ["Reconciling", "Stalled", "Suspended"].contains(&c.type_.as_str());
            let repeated = is_usual || told.contains(&c.message.as_str()) || c.message.is_empty();
            let why = if repeated { c.reason.clone() } else { format!("{}: {}", c.reason, c.message) };
            let indent = row.chars().count();
            let mut lines = wrap(&why, self.style.width.saturating_sub(indent)).into_iter();
            let head = format!("{row}{}", lines.next().unwrap_or_default());
            let painted = self.paint(tone, &head);
            self.line(&painted);
            for line in lines {
                let painted = self.paint(tone, &line);
                self.line(&format!("{:indent$}{painted}", ""));
            }
            told.push(&c.message);
        }
    }
}

/// Whether it was sealed before this object came to it.
fn is_kept(s: &StageLine) -> bool {
    s.state == StageState::Sealed && s.started_at.is_none()
}

/// A stage whose line says no more than its mark.
fn is_quiet(s: &StageLine) -> bool {
    match s.state {
        StageState::Sealed => s.rejected.is_empty() && s.waits_for.is_none(),
        StageState::Waiting => s.shards.is_none(),
        StageState::Running | StageState::Stalled => false,
    }
}

/// `81k too-short, 3.1k too-long`: the most frequent first.
fn by_reason(counts: &BTreeMap<String, u64>, number: impl Fn(u64) -> String) -> String {
    let mut reasons: Vec<(&String, &u64)> = counts.iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    reasons.iter().map(|(reason, n)| format!("{} {reason}", number(**n))).collect::<Vec<_>>().join(", ")
}

/// `1 file`, `1,204 files`.
fn count(n: u64, what: &str) -> String {
    format!("{} {what}{}", exact(n), if n == 1 { "" } else { "s" })
}

/// Enough of a digest for people.
fn first(digest: &str) -> String {
    digest.chars().take(12).collect()
}
