//! `realsyn build`: the local executor of the plan.

use std::time::Instant;

use anyhow::bail;
use realsyn_plan::Step;
use realsyn_plan::graph::ids;
use realsyn_plan::recipe::pool_digest;

use crate::borrowed::makes_sentences;
use crate::progress::seconds;
use crate::report;
use crate::run::{Execution, Progress, Run, StepEnd, run_step};
use crate::session::{Locations, Session, SettingsError};
use crate::stages::publish::ReleaseManifest;

/// How often lost objects may be healed before the store is called broken.
const MAX_HEALS: usize = 100;

/// Runs a build and its releases.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// Shards computed at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// List the source again: new and changed files are taken in
    #[arg(long)]
    pub list: bool,
    /// Write no report
    #[arg(long)]
    pub no_report: bool,
}

/// What a build did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Shards that ran.
    pub shards: u64,
    /// The manifest of each release, by name.
    pub releases: Vec<(String, ReleaseManifest)>,
    /// Where the report lies, if one was written.
    pub report: Option<String>,
}

/// Runs everything that is not sealed, and prints what came of it.
pub fn build(args: &BuildArgs, progress: &dyn Progress, how: &Execution) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let session = Session::open(&args.at)?;
    if session.spec.suspend {
        return Err(SettingsError(format!(
            "build {}: spec.suspend is true, so nothing runs; set it to false",
            session.manifests.build.metadata.name
        ))
        .into());
    }
    if session.spec.budget.is_some() {
        progress.warn("spec.budget counts GPU-hours of a cluster; a build on one machine spends none");
    }
    check(&session)?;
    session.check_store()?;
    session.check_destinations()?;
    let (inventory, listed) = session.inventory(args.list)?;
    if listed {
        let files = inventory.files();
        println!("listed {files} files ({}) as {} shards", report::bytes(inventory.bytes()), inventory.shards.len());
    }
    let mut outcome = Outcome { shards: make_sentences(&session, args, how, progress)?, ..Outcome::default() };
    let releases = &session.manifests.releases;
    let mut run = session.run(inventory.clone(), None)?;
    session.refer(&run)?;
    run.take_sentences()?;
    outcome.shards += run_all(&mut run, how, progress)?;
    for release in releases {
        if pool_digest(&run.seals).is_none() {
            println!("release  {}: waits for the stages that spec.stopAfter leaves out", release.metadata.name);
            continue;
        }
        let mut of_release = session.run(inventory.clone(), Some(release))?;
        session.refer(&of_release)?;
        of_release.seals = run.seals.clone();
        std::mem::swap(&mut of_release.models, &mut run.models);
        outcome.shards += run_all(&mut of_release, how, progress)?;
        let manifest = ReleaseManifest::read(&of_release)?;
        outcome.releases.push((release.metadata.name.clone(), manifest));
        std::mem::swap(&mut of_release.models, &mut run.models);
        if release.metadata.name == releases[releases.len() - 1].metadata.name {
            run = of_release;
        }
    }
    let place = format!("{}/report.html", session.out.trim_end_matches('/'));
    if !args.no_report && (outcome.shards > 0 || run.store().size("report.html")?.is_none()) {
        run.store().put("report.html", report::html(&run)?.as_bytes())?;
    }
    outcome.report = (!args.no_report).then_some(place);
    print_outcome(&outcome, &run, started);
    Ok(outcome)
}

/// Stops with a sentence at settings that cannot work here.
fn check(session: &Session) -> anyhow::Result<()> {
    session.check_engines(|_| true)?;
    session.check_models()?;
    Ok(session.check_lists()?)
}

/// Makes what is missing of the sentences that the build takes from another one.
fn make_sentences(
    session: &Session,
    args: &BuildArgs,
    how: &Execution,
    progress: &dyn Progress,
) -> anyhow::Result<u64> {
    let Some(giver) = session.unmade_sentences()? else { return Ok(0) };
    let giver = session.of_giver(giver, &args.at)?;
    // Those that the sentences' stages do not use, too.
    session.models().check()?;
    println!("sentences of build {}", giver.manifests.build.metadata.name);
    check(&giver)?;
    let mut run = giver.run(giver.inventory(args.list)?.0, None)?;
    giver.refer(&run)?;
    let steps: Vec<&'static Step> = run.steps().into_iter().filter(|step| makes_sentences(step)).collect();
    run_steps(&mut run, &steps, how, progress)
}

fn print_outcome(outcome: &Outcome, run: &Run, started: Instant) {
    if outcome.shards == 0 {
        println!("nothing to run: every step is sealed");
    } else {
        println!("{} shards in {}", outcome.shards, seconds(started.elapsed()));
    }
    for (name, manifest) in &outcome.releases {
        println!("release  {name}: {} pairs", manifest.pairs);
        println!("digest   {}", manifest.digest);
        println!("data     {}", manifest.uri);
    }
    if outcome.releases.is_empty() && run.seals.contains_key(&ids::PAIR_SCORE) {
        println!("pairs    {}", run.seals.get(&ids::PAIR_SCORE).map_or(0, |s| s.count("out")));
    }
    if let Some(report) = &outcome.report {
        println!("report   {report}");
    }
}

/// Brings every step of the build, and of the release if the run has one, to its seal, in order. Returns how many
/// shards ran.
///
/// # Errors
/// As [`run_step`]; and a store that loses objects again and again.
pub fn run_all(run: &mut Run, how: &Execution, progress: &dyn Progress) -> anyhow::Result<u64> {
    run_steps(run, &run.steps(), how, progress)
}

fn run_steps(run: &mut Run, steps: &[&'static Step], how: &Execution, progress: &dyn Progress) -> anyhow::Result<u64> {
    let mut ran = 0;
    'again: for _ in 0..MAX_HEALS {
        for &step in steps {
            match run_step(run, step, how, progress)? {
                StepEnd::Sealed(n) => ran += n,
                StepEnd::Healed => continue 'again,
            }
            if run.build.stop_after == Some(step.id.stage) && last_of_stage(steps, step) {
                println!("stopped after {}, as spec.stopAfter says", step.id.stage.name());
                return Ok(ran);
            }
        }
        return Ok(ran);
    }
    bail!("objects were lost {MAX_HEALS} times in this run: something removes them from {}", run.store().describe())
}

fn last_of_stage(steps: &[&Step], step: &Step) -> bool {
    steps.iter().rfind(|s| s.id.stage == step.id.stage).is_some_and(|s| s.id == step.id)
}

/// The executable's own default: one job per core.
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
