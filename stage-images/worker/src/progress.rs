//! One line per stage while a build runs: shards done, rate, time left.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realsyn_crds::Stage;
use realsyn_plan::Step;
use realsyn_plan::records::Effort;

use crate::run::Progress;

/// Shows progress on a terminal as a moving line, elsewhere as one line when a stage ends.
pub struct Lines {
    state: Mutex<State>,
    terminal: bool,
}

struct State {
    stage: Option<Stage>,
    bar: ProgressBar,
    started: Instant,
    shards: u64,
}

impl Lines {
    /// Progress on standard error.
    pub fn new() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let state = State { stage: None, bar: ProgressBar::hidden(), started: Instant::now(), shards: 0 };
        Self { state: Mutex::new(state), terminal }
    }

    /// Ends the line of the stage that runs.
    pub fn finish(&self) {
        self.state.lock().expect("no holder panics").end(self.terminal);
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn end(&mut self, terminal: bool) {
        let Some(stage) = self.stage.take() else { return };
        let took = seconds(self.started.elapsed());
        self.bar.finish_and_clear();
        let done = format!("{:<26} {:>4} shards  {took:>8}", stage.name(), self.shards);
        if terminal {
            eprintln!("  \u{2713} {done}");
        } else {
            eprintln!("  {done}");
        }
    }
}

/// A duration as people read it.
pub fn seconds(d: Duration) -> String {
    match d.as_secs() {
        0..=99 => format!("{:.1} s", d.as_secs_f64()),
        s => format!("{} min {:02} s", s / 60, s % 60),
    }
}

impl Progress for Lines {
    fn start(&self, step: &Step, done: u64, total: u64) {
        let mut state = self.state.lock().expect("no holder panics");
        if state.stage != Some(step.id.stage) {
            state.end(self.terminal);
            state.stage = Some(step.id.stage);
            state.started = Instant::now();
            state.shards = 0;
            state.bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("  {msg:<40} {bar:24} {pos}/{len} shards  {per_sec}  {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            state.bar.set_style(style);
            state.bar.enable_steady_tick(Duration::from_millis(200));
        }
        state.bar.set_message(step.id.to_string());
        state.bar.inc_length(total);
        state.bar.inc(done);
    }

    fn shard(&self, _step: &Step, _effort: &Effort) {
        let mut state = self.state.lock().expect("no holder panics");
        state.shards += 1;
        state.bar.inc(1);
    }

    fn warn(&self, message: &str) {
        let state = self.state.lock().expect("no holder panics");
        state.bar.suspend(|| eprintln!("  ! {message}"));
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
