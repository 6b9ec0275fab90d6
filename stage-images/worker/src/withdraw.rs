//! `realsyn withdraw`: takes releases back, as their `retain` says.

use std::fmt::Write;
use std::path::PathBuf;

use realsyn_crds::{RealSynRelease, Retain, Stage};
use realsyn_dataset::protocol::Reference;
use realsyn_dataset::store::{Store, StoreExt};
use realsyn_plan::Digest;
use realsyn_plan::graph::ids;

use crate::gc::{Root, clean, seconds, write_report};
use crate::report::bytes;
use crate::session::{Locations, Manifests, destination, read_manifests, reference_id};
use crate::stages::publish::{CARD, MANIFEST, ReleaseManifest};

/// Takes the releases in the files back.
#[derive(Debug, clap::Args)]
pub struct WithdrawArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// How long a tombstone waits for its verdict: a number with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = seconds)]
    pub age: u64,
    /// Where is written, as Kubernetes reads it, when to look again
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Gives up what the releases in the files hold of the store. Of those with `retain: Delete` the published files go first,
/// and then what nothing names any more. Returns what there is to tell; said again, it goes on where it was stopped.
///
/// # Errors
/// No release in the files, and what stores do.
pub fn withdraw(args: &WithdrawArgs) -> anyhow::Result<String> {
    let manifests = read_manifests(&args.at.files)?;
    anyhow::ensure!(!manifests.releases.is_empty(), "there is no RealSynRelease in the files given");
    let root = Root::open(&args.at, &manifests, false)?;
    let mut text = String::new();
    for release in &manifests.releases {
        let name = &release.metadata.name;
        let uid = reference_id(&manifests.build.metadata, Some(&release.metadata));
        let Some((_, reference)) = root.ledger.reference(&uid)? else {
            _ = writeln!(text, "release {name}: holds nothing below {}", root.uri);
            continue;
        };
        if release.spec.retain == Retain::Delete {
            unpublish(&root, &manifests, release, &reference, &mut text)?;
        }
        _ = match root.ledger.give_up(&uid)? {
            Some(_) => writeln!(text, "release {name}: gave up its reference"),
            None => writeln!(text, "release {name}: its reference was given up before"),
        };
    }
    if manifests.releases.iter().any(|r| r.spec.retain == Retain::Delete) {
        clean(&root.ledger, false, args.age, args.report.as_deref(), &mut text)?;
    } else {
        write_report(args.report.as_deref(), None)?;
    }
    Ok(text)
}

/// Removes what a release published: its manifest before its files, so that nobody takes what is left for a release.
fn unpublish(
    root: &Root,
    manifests: &Manifests,
    release: &RealSynRelease,
    reference: &Reference,
    text: &mut String,
) -> anyhow::Result<()> {
    let name = &release.metadata.name;
    let Some(ours) = published(root, reference)? else {
        _ = writeln!(text, "release {name}: has published nothing");
        return Ok(());
    };
    let digest = reference.recipes.stage_digest(Stage::Release).expect("it has published");
    let place = destination(manifests, release, &root.uri, &digest, &root.options)?;
    let found: Option<ReleaseManifest> = place.read_json(MANIFEST)?;
    if let Some(other) = found.as_ref().filter(|found| found.digest != ours.digest) {
        _ = writeln!(
            text,
            "release {name}: {} holds release {} now; left alone",
            place.describe(),
            other.digest.short()
        );
        return Ok(());
    }
    if found.is_some() {
        place.delete(CARD)?;
        place.delete(MANIFEST)?;
    }
    let mut removed = 0;
    for file in &ours.files {
        // Without its manifest the place may have become somebody else's.
        let is_ours = found.is_some() || holds(place.as_ref(), &file.name, &file.blake3)?;
        if is_ours {
            place.delete(&file.name)?;
            removed += 1;
        }
    }
    let size = bytes(ours.bytes);
    _ = writeln!(
        text,
        "release {name}: removed {removed} of {} files, {size}, from {}",
        ours.files.len(),
        place.describe()
    );
    Ok(())
}

/// What a release published, by the record of it in the store.
fn published(root: &Root, reference: &Reference) -> anyhow::Result<Option<ReleaseManifest>> {
    let Some(digest) = reference.recipes.stage_digest(Stage::Release) else { return Ok(None) };
    let (_, recipe) = reference.recipes.digests(ids::PUBLISH);
    let seals = root.ledger.seals(ids::PUBLISH, &digest)?;
    let Some(shard) = seals.current().and_then(|seal| seal.shards.first()) else { return Ok(None) };
    let commit = root.ledger.sealed_commit(ids::PUBLISH, &recipe, shard)?;
    let object = commit.data().and_then(|data| data.objects.iter().find(|o| o.role == "manifest"));
    Ok(match object {
        Some(object) => Some(serde_json::from_slice(&root.ledger.store().get_required(&object.name)?)?),
        None => None,
    })
}

fn holds(place: &dyn Store, name: &str, hash: &Digest) -> anyhow::Result<bool> {
    Ok(place.get(name)?.is_some_and(|bytes| Digest::of_bytes(&bytes) == *hash))
}
