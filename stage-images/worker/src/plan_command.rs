//! `realsyn plan`: the stages in order, each with its digest, shards, bytes, whether it is sealed or to be run, and why.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use realsyn_crds::{Engine, Stage, device, execution, release_settings};
use realsyn_plan::graph::RELEASE;
use realsyn_plan::judge::{Missing, Verdict};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::report::MAX_TASKS;
use realsyn_plan::why::why;
use realsyn_plan::{Step, cost};

use crate::borrowed::makes_sentences;
use crate::measured::ahead;
use crate::progress::seconds;
use crate::report::bytes;
use crate::run::Run;
use crate::session::{Locations, Manifests, Session, read_manifests, reference_id};

/// Before what was measured, on a line of its own.
pub const MEASURED: &str = "realsyn-measured: ";

/// Prints what a build would do.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// Compare with another file of the build and its releases instead of with what they last used; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub against: Vec<PathBuf>,
    /// Plan for the source as it is now, as `build --list` would
    #[arg(long)]
    pub list: bool,
    /// For kubectl-realsyn: end with what was measured of the steps that hold GPUs. A variable, because the worker of an older
    /// build knows no such argument.
    #[arg(long, hide = true, env = "REALSYN_PLAN_MEASURED")]
    pub measured: bool,
}

#[derive(Default)]
struct Line {
    shards: Option<u64>,
    missing: u64,
    tasks: u64,
    moved: u64,
    stored: u64,
    core_seconds: f64,
    measured: bool,
    sealed: usize,
    steps: usize,
}

/// The plan as text. Reads records; writes nothing but a first inventory.
pub fn plan(args: &PlanArgs) -> anyhow::Result<String> {
    let session = Session::open(&args.at)?;
    let Some(build) = session.unmade_sentences()? else { return plan_of(&session, args, |_| true) };
    let (taker, giver) = (&session.manifests.build.metadata.name, build.metadata.name.clone());
    // In a cluster the other build runs by itself, from places that this pod does not see.
    if args.measured {
        return Ok(format!(
            "build {taker} waits for the sentences of build {giver}, which are not all made: plan that one; this one is \
             planned once they are\n"
        ));
    }
    let session = session.of_giver(build, &args.at)?;
    let plan = plan_of(&session, &PlanArgs { against: Vec::new(), ..args.clone() }, makes_sentences)?;
    Ok(format!(
        "build {taker} takes the sentences of build {giver}, which are made first:\n{plan}build {taker}: planned once they are made\n"
    ))
}

/// The plan of those steps of a build, and of its releases, that are `wanted`.
fn plan_of(session: &Session, args: &PlanArgs, wanted: impl Fn(&Step) -> bool) -> anyhow::Result<String> {
    let inventory = if args.list { session.list()? } else { session.inventory(false)?.0 };
    let other = (!args.against.is_empty()).then(|| read_manifests(&args.against)).transpose()?;
    let mut text = format!(
        "{:<26} {:<9} {:<8} {:>13} {:>6} {:>9} {:>9} {:>9}  why\n",
        "stage", "digest", "state", "shards", "tasks", "moves", "stores", "work"
    );
    let mut run = session.run(inventory.clone(), None)?;
    run.take_sentences()?;
    let earlier = earlier(session, &run, other.as_ref())?;
    let steps: Vec<_> = run.steps().into_iter().filter(|step| wanted(step)).collect();
    let mut sum = Sum::default();
    for stage_steps in steps.chunk_by(|a, b| a.id.stage == b.id.stage) {
        let stage = stage_steps[0].id.stage;
        let line = line(&mut run, &steps, stage_steps, &mut sum.left)?;
        text += &sum.row(&run, stage.name(), stage, &line, earlier.as_ref());
    }
    for release in session.manifests.releases.iter().filter(|_| RELEASE.iter().all(&wanted)) {
        let mut of_release = session.run(inventory.clone(), Some(release))?;
        of_release.seals.clone_from(&run.seals);
        let earlier = self::earlier(session, &of_release, other.as_ref())?;
        let steps = of_release.steps();
        let of_stage: Vec<_> = steps.iter().copied().filter(|step| step.id.stage == Stage::Release).collect();
        let line = line(&mut of_release, &steps, &of_stage, &mut sum.left)?;
        let name = format!("release {}", release.metadata.name);
        text += &sum.row(&of_release, &name, Stage::Release, &line, earlier.as_ref());
    }
    if let Some(build) = &session.manifests.sentences {
        _ = writeln!(text, "sentences are those of build {}, all sealed", build.metadata.name);
    }
    text += &sum.words(&run);
    if args.measured {
        let ahead = serde_json::to_string(&ahead(&run, &sum.left)?)?;
        _ = writeln!(text, "{MEASURED}{ahead}");
    }
    Ok(text)
}

/// The recipes to compare a run's with: those of the other files, else those that it, or its build, last used.
fn earlier(session: &Session, run: &Run, other: Option<&Manifests>) -> anyhow::Result<Option<Recipes>> {
    let Some(other) = other else {
        let (uid, _) = session.reference(run);
        let build_uid = reference_id(&session.manifests.build.metadata, None);
        let found = session.ledger.reference(&uid)?.or(session.ledger.reference(&build_uid)?);
        return Ok(found.map(|(_, reference)| reference.recipes));
    };
    let spec = other.build.spec.effective();
    let others = spec.sentences_from.as_ref().map(|_| &run.recipes);
    let name = run.release.as_ref().map(|release| release.name.as_str());
    let release = other.releases.iter().find(|release| Some(release.metadata.name.as_str()) == name);
    let settings = release.map(|release| release_settings(&spec, &release.spec.effective(spec.profile)));
    Ok(Some(Recipes::with_sentences(&spec, settings, &run.inventory.root(), others)))
}

/// What the lines of a plan come to.
#[derive(Default)]
struct Sum {
    peak: u64,
    now: u64,
    to_run: u64,
    work: f64,
    /// The steps that are to run, with the shards that are left of each, where they are known.
    left: Vec<(&'static Step, Option<u64>)>,
}

impl Sum {
    /// Adds a stage, and says what is to be done of it, and why.
    fn row(&mut self, run: &Run, name: &str, stage: Stage, line: &Line, earlier: Option<&Recipes>) -> String {
        self.peak += line.stored;
        self.now += if line.measured { line.stored } else { 0 };
        self.work += line.core_seconds;
        let state = match (line.sealed, line.missing) {
            (sealed, _) if sealed == line.steps => "sealed",
            (0, missing) if line.shards.is_none_or(|all| all == missing) => "to run",
            _ => "partly",
        };
        self.to_run += u64::from(state != "sealed");
        let otherwise = || match (state, earlier) {
            ("partly", _) => "goes on where it stopped",
            (_, Some(_)) => "waits for the stages before it",
            (_, None) => "never run here",
        };
        let reason = match state {
            "sealed" => String::new(),
            _ => earlier.and_then(|old| why(stage, old, &run.recipes)).unwrap_or_else(|| otherwise().into()),
        };
        let shards = match line.shards {
            Some(all) => format!("{}/{all}", all - line.missing),
            None => "not known".into(),
        };
        let digest = run.recipes.stage_digest(stage).map(|d| d.short()).unwrap_or_default();
        format!(
            "{name:<26} {digest:<9} {state:<8} {shards:>13} {:>6} {:>9} {:>9} {:>9}  {reason}\n",
            line.tasks,
            line.about(bytes(line.moved)),
            line.about(bytes(line.stored)),
            if state == "sealed" { String::new() } else { work_of(run, stage, line.core_seconds) }
        )
    }

    fn words(&self, run: &Run) -> String {
        let mut text = format!(
            "{} source files, {}; {} stages to run; {} stored now\n",
            run.inventory.files(),
            bytes(run.inventory.bytes()),
            self.to_run,
            bytes(self.now)
        );
        if self.to_run > 0 {
            _ = writeln!(
                text,
                "~ estimates from the demo corpus: {} stored at the end, about {} of one core for stages on the CPU",
                bytes(self.peak),
                seconds(Duration::from_secs_f64(self.work))
            );
        }
        text
    }
}

/// Time of one core for a stage; a GPU's time is not estimated, because none was measured.
fn work_of(run: &Run, stage: Stage, core_seconds: f64) -> String {
    match device(&run.build, stage).map(|d| d.engine) {
        None | Some(Engine::Cpu) => format!("~{}", seconds(Duration::from_secs_f64(core_seconds))),
        Some(Engine::Cuda) => "GPU".into(),
        Some(Engine::Openai) => "endpoint".into(),
    }
}

impl Line {
    /// Marks figures that were not measured.
    fn about(&self, figure: String) -> String {
        if self.measured || figure == bytes(0) { figure } else { format!("~{figure}") }
    }
}

/// Also adds the steps that are to run, with the shards that are left of each, where they are known.
fn line(
    run: &mut Run,
    all: &[&'static Step],
    steps: &[&'static Step],
    ahead: &mut Vec<(&'static Step, Option<u64>)>,
) -> anyhow::Result<Line> {
    let mut line = Line { shards: Some(0), steps: steps.len(), measured: true, ..Line::default() };
    for step in steps {
        let verdict = run.ledger.look(&run.state(step))?;
        let total = crate::shards_of(run, step);
        line.shards = line.shards.zip(total).map(|(n, total)| n + total);
        // The share of the step's work that is left; all of it while its shards are not known.
        let mut left = 1.0;
        let mut missing = None;
        match verdict {
            Some(Verdict::Sealed(seal)) => {
                line.sealed += 1;
                left = 0.0;
                run.sealed(step.id, *seal);
            }
            Some(Verdict::Run(found)) => {
                line.missing += found.len() as u64;
                left = found.len() as f64 / total.unwrap_or(1).max(1) as f64;
                ahead.push((step, Some(found.len() as u64)));
                missing = Some(found);
            }
            None => {
                line.missing += total.unwrap_or(0);
                ahead.push((step, total));
            }
            Some(_) => left = 0.0,
        }
        let estimate = cost::estimates(all.iter().copied(), &run.inventory, &run.seals)[&step.id];
        if let (Some(missing), Some(total)) = (missing, total) {
            line.tasks += tasks_of(run, step, &missing, estimate.core_seconds / total.max(1) as f64).len() as u64;
        }
        line.moved += estimate.moved;
        line.stored += estimate.stored;
        line.core_seconds += estimate.core_seconds * left;
        line.measured &= estimate.measured;
    }
    Ok(line)
}

/// How the missing shards of a step are cut into tasks.
pub fn tasks_of(run: &Run, step: &Step, missing: &[Missing], seconds_per_shard: f64) -> Vec<Vec<u32>> {
    let numbers: Vec<u32> = missing.iter().map(|m| m.spec.number).collect();
    cost::tasks(&numbers, seconds_per_shard, execution(&run.build, step.id.stage).parallelism, MAX_TASKS as usize)
}
