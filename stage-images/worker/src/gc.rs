//! `realsyn gc`: removes what no build and no release names any more.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use realsyn_dataset::protocol::Ledger;
use realsyn_dataset::protocol::collect::{Cleaned, Cleaning, StageTotals, Totals};
use realsyn_dataset::store::{StoreOptions, check_conditional, open};
use realsyn_plan::report::CleanUpReport;

use crate::report::bytes;
use crate::run::resolve;
use crate::session::{Locations, Manifests, read_manifests, reference_id};

/// Removes what no reference names.
#[derive(Debug, clap::Args)]
pub struct GcArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// Show what would go and what stays; write and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long a tombstone waits for its verdict: a number with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = seconds)]
    pub age: u64,
    /// First give up the reference of the build in the file: what nothing else names is free to go
    #[arg(long, conflicts_with = "dry_run")]
    pub release_ref: bool,
    /// First give up the reference with this id, as `gc` shows it
    #[arg(long, value_name = "UID", conflicts_with = "dry_run")]
    pub forget_ref: Vec<String>,
    /// Where is written, as Kubernetes reads it, when to look again
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Reads `24h`, `90m`, `0s`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a time; write a whole number with s, m, h or d, such as 24h");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    text[..text.len() - 1].parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)
}

/// Cleans up below the root of the build in the files; returns what there is to tell.
///
/// # Errors
/// A reference that cannot be read (then nothing is removed), and what stores do.
pub fn gc(args: &GcArgs) -> anyhow::Result<String> {
    let manifests = read_manifests(&args.at.files)?;
    let Root { uri: root, ledger, .. } = Root::open(&args.at, &manifests, args.dry_run)?;
    let mut text = String::new();
    if args.release_ref {
        let uid = reference_id(&manifests.build.metadata, None);
        match ledger.give_up(&uid)? {
            Some(given) => _ = writeln!(text, "gave up the reference of {} {}", given.kind, given.owner),
            // A pod that was killed and started again has done it before.
            None => _ = writeln!(text, "the build {} has no reference to give up", manifests.build.metadata.name),
        }
    }
    for uid in &args.forget_ref {
        match ledger.give_up(uid)? {
            Some(given) => _ = writeln!(text, "gave up the reference of {} {}", given.kind, given.owner),
            None if ledger.reference(uid)?.is_some() => _ = writeln!(text, "the reference {uid} was given up before"),
            None => bail!("there is no reference {uid} below {root}: `realsyn gc --dry-run` lists those that count"),
        }
    }
    clean(&ledger, args.dry_run, args.age, args.report.as_deref(), &mut text)?;
    Ok(text)
}

/// Where a build keeps its work. Not a session: the source and the models of a build that is deleted may be gone.
pub(crate) struct Root {
    pub(crate) uri: String,
    pub(crate) ledger: Ledger,
    pub(crate) options: StoreOptions,
}

impl Root {
    pub(crate) fn open(at: &Locations, manifests: &Manifests, read_only: bool) -> anyhow::Result<Self> {
        let storage = &manifests.build.spec.storage;
        let uri = at.out.clone().unwrap_or_else(|| resolve(&manifests.base, &storage.uri));
        let options = StoreOptions {
            create: false,
            endpoint: at.endpoint.clone().or_else(|| storage.endpoint.clone()),
            region: at.region.clone().or_else(|| storage.region.clone()),
            ..StoreOptions::default()
        };
        let store = open(&uri, &options).with_context(|| format!("spec.storage.uri: {uri}"))?;
        if !read_only {
            // Two collectors that both get a verdict through would remove what one of them kept.
            check_conditional(store.as_ref())?;
        }
        Ok(Self { uri, ledger: Ledger::new(store), options })
    }
}

/// One round of clean-up: adds what there is to tell to `text`, and writes the report, if a file is given.
pub(crate) fn clean(
    ledger: &Ledger,
    dry_run: bool,
    age: u64,
    report: Option<&Path>,
    text: &mut String,
) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let cleaned = ledger.clean(&Cleaning { dry_run, age, now })?;
    tell(text, &cleaned, dry_run);
    write_report(report, cleaned.open.as_ref().map(|open| open.wait))
}

/// Says, where Kubernetes reads it, in how many seconds there is something to do again.
pub(crate) fn write_report(file: Option<&Path>, again_in: Option<u64>) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let report = serde_json::to_vec(&CleanUpReport { again_in }).context("a number")?;
    std::fs::write(file, report).with_context(|| format!("cannot write {}", file.display()))
}

fn tell(text: &mut String, cleaned: &Cleaned, dry_run: bool) {
    for used in &cleaned.uses {
        let which = if used.earlier { " (an earlier pool)" } else { "" };
        _ = writeln!(text, "named by  {}  {} {}{which}", used.uid, used.kind, used.owner);
    }
    if cleaned.uses.is_empty() {
        _ = writeln!(text, "no build and no release names anything here");
    }
    for settled in &cleaned.settled {
        let listed = listed(settled.counts, settled.bytes);
        _ = match &settled.kept {
            None => writeln!(text, "tombstone {}: removed {listed}", settled.number),
            Some(why) => writeln!(text, "tombstone {}: kept {listed}: {why}", settled.number),
        };
    }
    stages(text, &cleaned.stages, dry_run);
    match &cleaned.open {
        Some(open) => {
            let listed = listed(open.counts, open.bytes);
            let when = match open.wait {
                0 => "the next gc judges it".to_owned(),
                wait => format!("it may be judged in {}", hours(wait)),
            };
            _ = writeln!(text, "tombstone {} is open over {listed}; {when}", open.number);
        }
        None if dry_run && cleaned.stages.iter().any(|s| s.going != Totals::default()) => {
            _ = writeln!(text, "a gc without --dry-run would open a tombstone over what goes");
        }
        None => {}
    }
}

fn stages(text: &mut String, stages: &[StageTotals], dry_run: bool) {
    let any: Vec<&StageTotals> =
        stages.iter().filter(|s| s.going != Totals::default() || s.staying != Totals::default()).collect();
    if any.is_empty() {
        return;
    }
    let goes = if dry_run { "would go" } else { "goes" };
    _ = writeln!(
        text,
        "{:<26} {:>5} {:>7} {:>7} {:>9}   {:>5} {:>7} {:>7} {:>9}  named by",
        "", "seals", "commits", "objects", goes, "seals", "commits", "objects", "stays"
    );
    let (mut going, mut staying) = (Totals::default(), Totals::default());
    for stage in any {
        going.add(&stage.going);
        staying.add(&stage.staying);
        let owners: Vec<&str> = stage.named_by.iter().map(String::as_str).collect();
        let owners = if owners.is_empty() { "nobody".to_owned() } else { owners.join(", ") };
        _ = writeln!(text, "{:<26} {}   {}  {owners}", stage.stage, totals(&stage.going), totals(&stage.staying));
    }
    _ = writeln!(text, "{:<26} {}   {}", "all", totals(&going), totals(&staying));
}

fn totals(of: &Totals) -> String {
    format!("{:>5} {:>7} {:>7} {:>9}", of.seals, of.commits, of.objects, bytes(of.bytes))
}

fn listed([seals, commits, objects]: [usize; 3], size: u64) -> String {
    format!("{seals} seals, {commits} commits, {objects} objects, {}", bytes(size))
}

fn hours(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(seconds("24h"), Ok(86_400));
        assert_eq!(seconds("90m"), Ok(5400));
        assert_eq!(seconds("0s"), Ok(0));
        assert_eq!(seconds("2d"), Ok(172_800));
        for wrong in ["", "h", "24", "-1h", "1.5h", "24 h", "1é", "99999999999999999999d", "999999999999999999d"] {
            assert!(seconds(wrong).unwrap_err().contains("such as 24h"), "{wrong}");
        }
        assert_eq!(hours(86_400), "24 h 00 min");
        assert_eq!(hours(61), "0 h 02 min");
    }
}
