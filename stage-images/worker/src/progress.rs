//! What a build shows while it runs: for each stage the shards that are done, their rate, and the time that is left.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realsyn_crds::Stage;
use realsyn_plan::records::Effort;
use realsyn_plan::{Step, StepId};

use crate::run::Progress;

/// How often a stage that goes on gets a line where there is no terminal.
const EVERY: Duration = Duration::from_secs(30);

/// Tells the time since some moment.
pub type Clock = Box<dyn Fn() -> Duration + Send>;

/// Shows progress on a terminal as a moving line; elsewhere as a line every half minute and one when a stage ends.
pub struct Lines {
    state: Arc<Mutex<State>>,
    /// Dropped with the rest, which ends the thread that ticks.
    _ticks: Option<Sender<()>>,
}

impl Lines {
    /// Progress on standard error.
    pub fn new() -> Self {
        let started = Instant::now();
        let clock: Clock = Box::new(move || started.elapsed());
        let terminal = std::io::stderr().is_terminal();
        let mut lines = Self::to(Box::new(std::io::stderr()), clock, terminal);
        let (sender, ended) = channel::<()>();
        let state = lines.state.clone();
        std::thread::spawn(move || {
            while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                state.lock().expect("no holder panics").tick();
            }
        });
        lines._ticks = Some(sender);
        lines
    }

    /// Progress by another clock, on something else; whoever owns it calls [`Self::tick`].
    pub fn to(out: Box<dyn Write + Send>, clock: Clock, terminal: bool) -> Self {
        let state = State { out, clock, stage: None, terminal };
        Self { state: Arc::new(Mutex::new(state)), _ticks: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Tells how far a stage is of which nothing was told for long.
    pub fn tick(&self) {
        self.state().tick();
    }

    /// Ends the line of the stage that runs.
    pub fn finish(&self) {
        self.state().end();
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Lines {
    fn start(&self, step: &Step, done: u64, total: u64) {
        self.state().start(step.id, done, total);
    }

    fn shard(&self, _step: &Step, _effort: &Effort) {
        self.state().shard();
    }

    fn warn(&self, message: &str) {
        self.state().say(&format!("  ! {message}"));
    }
}

struct State {
    out: Box<dyn Write + Send>,
    clock: Clock,
    stage: Option<Running>,
    terminal: bool,
}

/// A stage under way.
struct Running {
    stage: Stage,
    started: Duration,
    /// When it was last spoken of.
    told: Duration,
    /// Shards of it that this process committed.
    ran: u64,
    /// Shards of it that were committed before.
    found: u64,
    step: Counted,
    bar: ProgressBar,
}

/// A step under way. Its rate is of the shards that ran here: one that was found has taken no time.
struct Counted {
    id: StepId,
    started: Duration,
    found: u64,
    ran: u64,
    total: u64,
}

impl Counted {
    /// `7/40 shards  0.5/s  1 min 06 s left`, without the rate until a shard has run.
    fn words(&self, now: Duration) -> String {
        let done = self.found + self.ran;
        let counts = format!("{done}/{} shards", self.total);
        let took = now.saturating_sub(self.started).as_secs_f64();
        if self.ran == 0 || took == 0.0 {
            return counts;
        }
        let left = took / self.ran as f64 * self.total.saturating_sub(done) as f64;
        format!("{counts}  {}  {} left", rate(self.ran, took), seconds(Duration::from_secs_f64(left)))
    }
}

impl State {
    fn start(&mut self, id: StepId, found: u64, total: u64) {
        let now = (self.clock)();
        let step = Counted { id, started: now, found, ran: 0, total };
        match &mut self.stage {
            Some(running) if running.stage == id.stage => {
                // Where a step is tried again, what ran of it is found.
                running.found += if running.step.id == id { 0 } else { found };
                running.step = step;
            }
            _ => {
                self.end();
                let bar = self.bar();
                let (stage, started, told, ran) = (id.stage, now, now, 0);
                self.stage = Some(Running { stage, started, told, ran, found, step, bar });
            }
        }
        self.draw(now);
    }

    fn bar(&self) -> ProgressBar {
        if !self.terminal {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("  {prefix:<40} {bar:24} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    }

    fn shard(&mut self) {
        let now = (self.clock)();
        if let Some(running) = &mut self.stage {
            running.ran += 1;
            running.step.ran += 1;
        }
        self.tick_at(now);
    }

    fn tick(&mut self) {
        self.tick_at((self.clock)());
    }

    /// Draws the moving line, or writes one if the last is long ago.
    fn tick_at(&mut self, now: Duration) {
        self.draw(now);
        let Some(running) = self.stage.as_mut().filter(|_| !self.terminal) else { return };
        if now.saturating_sub(running.told) >= EVERY {
            running.told = now;
            let line = format!("  {:<26} {}", running.step.id.to_string(), running.step.words(now));
            self.say(&line);
        }
    }

    fn draw(&self, now: Duration) {
        let Some(running) = self.stage.as_ref().filter(|_| self.terminal) else { return };
        let step = &running.step;
        running.bar.set_prefix(step.id.to_string());
        running.bar.set_length(step.total);
        running.bar.set_position(step.found + step.ran);
        running.bar.set_message(step.words(now));
    }

    fn end(&mut self) {
        let Some(running) = self.stage.take() else { return };
        running.bar.finish_and_clear();
        let took = (self.clock)().saturating_sub(running.started);
        let rate = rate(running.ran, took.as_secs_f64());
        let found = match running.found {
            0 => String::new(),
            n => format!("  {n} more were there"),
        };
        let mark = if self.terminal { "\u{2713} " } else { "" };
        let (name, ran, took) = (running.stage.name(), running.ran, seconds(took));
        self.say(&format!("  {mark}{name:<26} {ran:>5} shards  {rate:>8}  {took:>12}{found}"));
    }

    /// Progress that cannot be written, because nobody reads it any more, stops no build.
    fn say(&mut self, line: &str) {
        let out = &mut self.out;
        let mut write = || _ = writeln!(out, "{line}").and_then(|()| out.flush());
        match &self.stage {
            Some(running) => running.bar.suspend(write),
            None => write(),
        }
    }
}

/// Shards per second, or per minute where they are slow.
fn rate(shards: u64, took: f64) -> String {
    let rate = shards as f64 / took.max(0.001);
    if rate < 0.1 { format!("{:.1}/min", rate * 60.0) } else { format!("{rate:.1}/s") }
}

/// A duration as people read it.
pub fn seconds(d: Duration) -> String {
    match d.as_secs() {
        0..=99 => format!("{:.1} s", d.as_secs_f64()),
        s => format!("{} min {:02} s", s / 60, s % 60),
    }
}

/// Says nothing; for tests and for pods, which log instead.
pub struct Quiet;

impl Progress for Quiet {
    fn start(&self, step: &Step, done: u64, total: u64) {
        tracing::info!(step = %step.id, done, total, "step");
    }

    fn shard(&self, step: &Step, effort: &Effort) {
        tracing::debug!(step = %step.id, millis = effort.millis, "shard committed");
    }

    fn warn(&self, message: &str) {
        tracing::warn!("{message}");
    }
}
