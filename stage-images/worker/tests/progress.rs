//! What a build shows while it runs, by a clock that the test sets.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realsyn_plan::graph::{find, ids};
use realsyn_plan::records::Effort;
use realsyn_worker::progress::{Clock, Lines};
use realsyn_worker::run::Progress;

/// What was written so far.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    /// The lines since the last call, words separated by single spaces.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

/// Progress off a terminal, its clock in seconds, and what it wrote.
fn lines() -> (Lines, Arc<AtomicU64>, Page) {
    let (now, page) = (Arc::new(AtomicU64::new(0)), Page::default());
    let clock = now.clone();
    let clock: Clock = Box::new(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    (Lines::to(Box::new(page.clone()), clock, false), now, page)
}

fn shards(lines: &Lines, n: usize) {
    (0..n).for_each(|_| lines.shard(find(ids::SCORE), &Effort::default()));
}

#[test]
fn off_a_terminal_a_long_stage_gets_a_line_every_half_minute_and_one_when_it_ends() {
    let (lines, now, page) = lines();
    lines.start(find(ids::SCORE), 0, 40);
    now.store(29, Ordering::Relaxed);
    shards(&lines, 4);
    assert_eq!(page.lines(), [""; 0], "half a minute is not over");
    now.store(40, Ordering::Relaxed);
    // No shard ends meanwhile: the thread that ticks speaks.
    lines.tick();
    assert_eq!(page.lines(), ["sentence-score/score 4/40 shards 0.1/s 6 min 00 s left"]);
    now.store(69, Ordering::Relaxed);
    shards(&lines, 35);
    lines.tick();
    assert_eq!(page.lines(), [""; 0]);
    now.store(80, Ordering::Relaxed);
    shards(&lines, 1);
    assert_eq!(page.lines(), ["sentence-score/score 40/40 shards 0.5/s 0.0 s left"]);
    lines.start(find(ids::NEAR_BANDS), 0, 1);
    assert_eq!(page.lines(), ["sentence-score 40 shards 0.5/s 80.0 s"]);
    lines.warn("a mirror is slow");
    assert_eq!(page.lines(), ["! a mirror is slow"]);
}

#[test]
fn shards_that_were_found_make_nothing_faster() {
    let (lines, now, page) = lines();
    lines.start(find(ids::SCORE), 900, 1000);
    now.store(30, Ordering::Relaxed);
    shards(&lines, 1);
    // One in 30 seconds, and 99 to go; not 901 in 30 seconds.
    assert_eq!(page.lines(), ["sentence-score/score 901/1000 shards 2.0/min 49 min 30 s left"]);
    // A shard failed: what ran is found when the step is tried again, and is told once.
    lines.start(find(ids::SCORE), 901, 1000);
    now.store(60, Ordering::Relaxed);
    shards(&lines, 2);
    lines.finish();
    let told = page.lines();
    assert_eq!(told[0], "sentence-score/score 902/1000 shards 2.0/min 49 min 00 s left");
    assert_eq!(told[1], "sentence-score 3 shards 3.0/min 60.0 s 900 more were there");
    lines.finish();
    assert_eq!(page.lines(), [""; 0], "a stage ends once");
}

#[test]
fn steps_of_a_stage_are_one_line() {
    let (lines, now, page) = lines();
    lines.start(find(ids::NEAR_BANDS), 1, 4);
    shards(&lines, 3);
    now.store(2, Ordering::Relaxed);
    lines.start(find(ids::NEAR_VERIFY), 2, 8);
    shards(&lines, 6);
    now.store(3, Ordering::Relaxed);
    lines.finish();
    assert_eq!(page.lines(), ["sentence-dedup-near 9 shards 3.0/s 3.0 s 3 more were there"]);
}
