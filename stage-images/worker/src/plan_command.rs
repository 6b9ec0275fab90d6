//! `realsyn plan`: the stages in order, each with its digest, shards, bytes, whether it is sealed or to be run, and why.

use std::fmt::Write;
use std::path::PathBuf;

use realsyn_crds::Stage;
use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::judge::Verdict;
use realsyn_plan::recipe::Recipes;
use realsyn_plan::why::why;
use realsyn_plan::{Step, cost};

use crate::build::state;
use crate::report::bytes;
use crate::run::Run;
use crate::session::{Locations, Session, read_manifests};

/// Prints what a build would do.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// Compare with another build file instead of with what this build last used
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Plan for the source as it is now, as `build --list` would
    #[arg(long)]
    pub list: bool,
}

#[derive(Default)]
struct Line {
    shards: Option<u64>,
    missing: u64,
    tasks: u64,
    moved: u64,
    stored: u64,
    sealed: usize,
    steps: usize,
}

/// The plan as text. Reads records; writes nothing but a first inventory.
pub fn plan(args: &PlanArgs) -> anyhow::Result<String> {
    let session = Session::open(&args.at)?;
    let inventory = if args.list { session.list()? } else { session.inventory(false)?.0 };
    let release = session.manifests.releases.first();
    let mut run = session.run(inventory, release)?;
    let earlier = match &args.against {
        Some(file) => {
            let other = read_manifests(std::slice::from_ref(file))?;
            Some(Recipes::new(&other.build.spec.effective(), None, &run.inventory.root()))
        }
        None => {
            let (uid, _) = session.reference(&run);
            let (build_uid, _) = session.reference(&session.run(run.inventory.clone(), None)?);
            let found = session.ledger.reference(&uid)?.or(session.ledger.reference(&build_uid)?);
            found.map(|(_, r)| r.recipes)
        }
    };
    let mut text = format!(
        "{:<26} {:<9} {:<10} {:>13} {:>6} {:>10} {:>10}  why\n",
        "stage", "digest", "state", "shards", "tasks", "moves", "stores"
    );
    let steps: Vec<&'static Step> =
        BUILD.iter().chain(RELEASE).filter(|s| s.id.stage != Stage::Release || release.is_some()).collect();
    let (mut peak, mut to_run) = (0, 0);
    for stage_steps in steps.chunk_by(|a, b| a.id.stage == b.id.stage) {
        let stage = stage_steps[0].id.stage;
        let line = line(&mut run, stage_steps)?;
        peak += line.stored;
        let state = match (line.sealed, line.missing) {
            (sealed, _) if sealed == line.steps => "sealed",
            (0, missing) if line.shards.is_none_or(|all| all == missing) => "to run",
            _ => "partly",
        };
        to_run += u64::from(state != "sealed");
        let reason = earlier.as_ref().and_then(|old| why(stage, old, &run.recipes));
        let reason = reason.unwrap_or_else(|| match (state, earlier.is_some()) {
            ("sealed", _) => String::new(),
            ("partly", _) => "goes on where it stopped".into(),
            (_, true) => "waits for the stages before it".into(),
            (_, false) => "never run here".into(),
        });
        let reason = if state == "sealed" { String::new() } else { reason };
        let shards = match line.shards {
            Some(all) => format!("{}/{all}", all - line.missing),
            None => "not known yet".into(),
        };
        let digest = run.recipes.stage_digest(stage).map(|d| d.short()).unwrap_or_default();
        _ = writeln!(
            text,
            "{:<26} {digest:<9} {state:<10} {shards:>13} {:>6} {:>10} {:>10}  {reason}",
            stage.name(),
            line.tasks,
            bytes(line.moved),
            bytes(line.stored)
        );
    }
    _ = writeln!(
        text,
        "{} source files, {}; {to_run} stages to run; {} stored by what is sealed",
        run.inventory.shards.iter().map(|s| s.files.len()).sum::<usize>(),
        bytes(run.inventory.bytes()),
        bytes(peak)
    );
    Ok(text)
}

fn line(run: &mut Run, steps: &[&'static Step]) -> anyhow::Result<Line> {
    let mut line = Line { shards: Some(0), steps: steps.len(), ..Line::default() };
    for step in steps {
        let verdict = run.ledger.look(&state(run, step))?;
        let total = crate::shards_of(run, step);
        match (&verdict, total) {
            (None, _) | (_, None) => line.shards = None,
            (_, Some(total)) => line.shards = line.shards.map(|n| n + total),
        }
        match verdict {
            Some(Verdict::Sealed(seal)) => {
                line.sealed += 1;
                line.stored += seal.bytes();
                run.sealed(step.id, *seal);
            }
            Some(Verdict::Run(missing)) => {
                line.missing += missing.len() as u64;
                line.tasks += cost::tasks(missing.len(), 1, 10_000) as u64;
            }
            _ => {}
        }
        line.moved += cost::volume(step, &run.inventory, &run.seals).map_or(0, |v| v.moved);
    }
    Ok(line)
}
