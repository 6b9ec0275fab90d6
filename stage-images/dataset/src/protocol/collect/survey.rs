//! What lies in the store, step by step, and which of it no reference needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::records::{
    Commit, Named, SealPart, commit_folder, half, is_half, log_folder, parse_commit_name, parse_object_name,
    parse_removed_name, parse_seal_name,
};
use realsyn_plan::{Digest, Step, StepId};

use super::super::tombstone::{ListedFolder, Tombstone};
use super::super::{Ledger, LedgerError, Use, parse};

/// A tombstone lists about so many names; what is left waits for the next one.
const MAX_NAMES: usize = 200_000;

/// Counts of records and objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Seals.
    pub seals: usize,
    /// Commits.
    pub commits: usize,
    /// Objects.
    pub objects: usize,
    /// Bytes of all of them, and of task lists and logs.
    pub bytes: u64,
}

impl Totals {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.seals += other.seals;
        self.commits += other.commits;
        self.objects += other.objects;
        self.bytes += other.bytes;
    }

    /// What is left without a part. What a second listing found beside the first counts for nothing here.
    fn without(&self, part: &Self) -> Self {
        Self {
            seals: self.seals.saturating_sub(part.seals),
            commits: self.commits.saturating_sub(part.commits),
            objects: self.objects.saturating_sub(part.objects),
            bytes: self.bytes.saturating_sub(part.bytes),
        }
    }
}

/// What there is of a stage.
#[derive(Clone, Debug, Default)]
pub struct StageTotals {
    /// The stage's name.
    pub stage: String,
    /// What no reference needs.
    pub going: Totals,
    /// What stays.
    pub staying: Totals,
    /// Owners whose references name the stage: kind, and namespace and name.
    pub named_by: BTreeSet<String>,
}

/// What one step has in the store.
#[derive(Default)]
struct Found {
    seals: BTreeMap<Digest, Generations>,
    /// By half a recipe, then by half a key.
    folders: BTreeMap<String, BTreeMap<String, Key>>,
    /// Names and sizes.
    tasks: Vec<(String, u64)>,
}

/// Sizes of records by generation, and which generations are void.
#[derive(Default)]
struct Generations {
    records: BTreeMap<u32, u64>,
    void: BTreeSet<u32>,
}

#[derive(Default)]
struct Key {
    /// File names and sizes of the commits, by generation.
    commits: BTreeMap<u32, (String, u64)>,
    void: BTreeSet<u32>,
    /// File names, attempts and sizes.
    objects: Vec<(String, String, u64)>,
}

/// What the references need of one step.
#[derive(Default)]
struct Needed {
    digests: BTreeSet<Digest>,
    /// Halves of recipes of which a digest is not sealed: that digest may want any key.
    unsealed: BTreeSet<String>,
    /// Halves of recipes and keys that seals hold, with the bytes that the seals know of.
    keys: BTreeMap<(String, String), u64>,
}

fn first_not_void(void: &BTreeSet<u32>) -> u32 {
    (0..).find(|g| !void.contains(g)).expect("void generations are finite")
}

impl Ledger {
    /// Lists, as a tombstone that is not written yet, what nothing in `uses` needs; and counts what there is.
    pub(super) fn survey(&self, uses: &[Use], now: u64) -> Result<(Tombstone, Vec<StageTotals>), LedgerError> {
        let mut tombstone = Tombstone { written: now, ..Tombstone::default() };
        let mut stages: Vec<StageTotals> = Vec::new();
        for step in BUILD.iter().chain(RELEASE) {
            let needed = self.needed_of(step, uses)?;
            let found = self.found_of(step.id)?;
            if stages.last().is_none_or(|last| last.stage != step.id.stage.name()) {
                let named = uses.iter().filter(|u| u.recipes.stage_digest(step.id.stage).is_some());
                let named_by = named.map(|u| format!("{} {}", u.kind, u.owner)).collect();
                stages.push(StageTotals { stage: step.id.stage.name().into(), named_by, ..StageTotals::default() });
            }
            let totals = stages.last_mut().expect("one was pushed");
            let all = count(&found);
            let going = self.list(step.id, &needed, &found, &mut tombstone)?;
            totals.going.add(&going);
            totals.staying.add(&all.without(&going));
        }
        self.list_late_seals(uses, &mut tombstone)?;
        Ok((tombstone, stages))
    }

    /// An `advance` of a deleted build may still seal what it saw, over commits that go. Its seal may not be written
    /// yet, but its digest stands in a reference, so the name can be made void with them: nobody will take that seal for
    /// a good one. Read after the commits were listed: who made them had written its reference before.
    fn list_late_seals(&self, uses: &[Use], tombstone: &mut Tombstone) -> Result<(), LedgerError> {
        let ever = self.ever_named()?;
        for step in BUILD.iter().chain(RELEASE) {
            let stage = step.id.stage;
            let named: BTreeSet<Digest> = uses.iter().filter_map(|u| u.recipes.stage_digest(stage)).collect();
            for recipes in &ever {
                let (Some(digest), Some(recipe)) = (recipes.stage_digest(stage), recipes.recipe(stage)) else {
                    continue;
                };
                let folder = tombstone.folders.get(&commit_folder(step.id, &recipe.digest));
                if !named.contains(&digest) && folder.is_some_and(|folder| !folder.keys.is_empty()) {
                    let generation = self.seal_names(step.id, &digest)?.generation();
                    tombstone.seals.entry(step.id.to_string()).or_default().insert(digest, generation);
                }
            }
        }
        Ok(())
    }

    fn needed_of(&self, step: &Step, uses: &[Use]) -> Result<Needed, LedgerError> {
        let mut needed = Needed::default();
        for used in uses {
            let stage = step.id.stage;
            let (Some(digest), Some(recipe)) = (used.recipes.stage_digest(stage), used.recipes.recipe(stage)) else {
                continue;
            };
            if !needed.digests.insert(digest) {
                continue;
            }
            let recipe = half(&recipe.digest);
            match self.seals(step.id, &digest)?.current() {
                None => _ = needed.unsealed.insert(recipe),
                Some(seal) => {
                    needed.keys.extend(seal.shards.iter().map(|s| ((recipe.clone(), half(&s.key)), s.bytes)));
                }
            }
        }
        Ok(needed)
    }

    fn found_of(&self, step: StepId) -> Result<Found, LedgerError> {
        let prefix = format!("{step}/");
        let mut found = Found::default();
        self.store().list(&prefix, &mut |entry| {
            let rest = entry.name.strip_prefix(&prefix).unwrap_or_default();
            match rest.split_once('/') {
                Some(("_tasks", _)) => found.tasks.push((entry.name.clone(), entry.size)),
                Some((folder, file)) if is_half(folder) => {
                    note(found.folders.entry(folder.to_owned()).or_default(), file, entry.size);
                }
                Some(_) => {}
                None => match parse_seal_name(rest) {
                    Some((digest, generation, SealPart::Seal)) => {
                        found.seals.entry(digest).or_default().records.insert(generation, entry.size);
                    }
                    Some((digest, generation, SealPart::Void)) => {
                        found.seals.entry(digest).or_default().void.insert(generation);
                    }
                    None => {}
                },
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Adds to the tombstone what goes of a step.
    fn list(
        &self,
        step: StepId,
        needed: &Needed,
        found: &Found,
        tombstone: &mut Tombstone,
    ) -> Result<Totals, LedgerError> {
        let mut going = Totals::default();
        let mut names = tombstone.names();
        for (digest, generations) in &found.seals {
            if needed.digests.contains(digest) || generations.records.is_empty() || names >= MAX_NAMES {
                continue;
            }
            let generation = first_not_void(&generations.void);
            tombstone.seals.entry(step.to_string()).or_default().insert(*digest, generation);
            names += 1;
            going.seals += generations.records.len();
            going.bytes += generations.records.values().sum::<u64>();
            let logs = log_folder(step.stage, digest);
            self.store().list(&logs, &mut |entry| {
                let listed = tombstone.logs.entry(*digest).or_default();
                // Every step of the stage comes by here.
                if !listed.contains(&entry.name) {
                    going.bytes += entry.size;
                    listed.push(entry.name);
                }
                ControlFlow::Continue(())
            })?;
        }
        for (recipe, keys) in &found.folders {
            if names >= MAX_NAMES {
                break;
            }
            let folder = format!("{step}/{recipe}");
            let listed = self.list_folder(&folder, recipe, needed, keys, MAX_NAMES - names, &mut going)?;
            names += listed.commits.len() + listed.objects.len();
            if !(listed.commits.is_empty() && listed.objects.is_empty()) {
                tombstone.folders.insert(folder, listed);
            }
        }
        if needed.unsealed.is_empty() && !found.tasks.is_empty() {
            going.bytes += found.tasks.iter().map(|(_, size)| size).sum::<u64>();
            let tasks = found.tasks.iter().map(|(name, _)| name.clone()).collect();
            tombstone.tasks.insert(step.to_string(), tasks);
        }
        tombstone.bytes += going.bytes;
        Ok(going)
    }

    fn list_folder(
        &self,
        folder: &str,
        recipe: &str,
        needed: &Needed,
        keys: &BTreeMap<String, Key>,
        room: usize,
        going: &mut Totals,
    ) -> Result<ListedFolder, LedgerError> {
        let mut listed = ListedFolder::default();
        let held = |key: &str| needed.keys.get(&(recipe.to_owned(), key.to_owned()));
        let goes = |key: &str| !needed.unsealed.contains(recipe) && held(key).is_none();
        let is_candidate = |(half, key): (&String, &Key)| {
            if goes(half) { !(key.commits.is_empty() && key.objects.is_empty()) } else { key.has_strays(held(half)) }
        };
        if !keys.iter().any(is_candidate) {
            return Ok(listed);
        }
        // Generations are read after the objects were seen: whoever wrote one of these had read its generation before,
        // so that generation is not above the one found here, and is void or becomes so with it.
        let again = self.keys_of(folder)?;
        for (half, key) in keys.iter().filter(|(half, key)| is_candidate((half, key))) {
            if listed.commits.len() + listed.objects.len() >= room {
                break;
            }
            let Some(now) = again.get(half) else { continue };
            let objects: Vec<&(String, String, u64)> = if goes(half) {
                listed.keys.insert(half.clone(), first_not_void(&now.void));
                for (file, size) in now.commits.values() {
                    going.commits += 1;
                    going.bytes += size;
                    listed.commits.push(file.clone());
                }
                key.objects.iter().collect()
            } else {
                self.strays(folder, key, now)?
            };
            for (file, _, size) in objects {
                going.objects += 1;
                going.bytes += size;
                listed.objects.push(file.clone());
            }
        }
        Ok(listed)
    }

    fn keys_of(&self, folder: &str) -> Result<BTreeMap<String, Key>, LedgerError> {
        let (prefix, mut keys) = (format!("{folder}/"), BTreeMap::new());
        self.store().list(&prefix, &mut |entry| {
            note(&mut keys, entry.name.strip_prefix(&prefix).unwrap_or_default(), entry.size);
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    /// Objects of attempts that lost for good: the commit of the generation that counts is there, and neither it nor
    /// any other names them.
    fn strays<'a>(
        &self,
        folder: &str,
        seen: &'a Key,
        now: &Key,
    ) -> Result<Vec<&'a (String, String, u64)>, LedgerError> {
        if !now.commits.contains_key(&first_not_void(&now.void)) {
            return Ok(Vec::new());
        }
        let mut named = BTreeSet::new();
        for (file, _) in now.commits.values() {
            let name = format!("{folder}/{file}");
            // Another collector has just removed it: not now, then.
            let Some(bytes) = self.store().get(&name)? else { return Ok(Vec::new()) };
            let commit: Commit = parse(&name, &bytes)?;
            for object in commit.data().map_or(&[][..], |data| &data.objects) {
                let file = object.name.rsplit('/').next().unwrap_or_default();
                named.extend(parse_object_name(file).map(|(_, attempt)| attempt.to_owned()));
            }
            named.insert(commit.attempt);
        }
        Ok(seen.objects.iter().filter(|(_, attempt, _)| !named.contains(attempt)).collect())
    }
}

impl Key {
    /// Whether it may have objects of attempts that lost. Where a seal holds the key, `bytes` is what it knows of;
    /// without it only a second attempt is a sign, so that a build under way does not have all its commits read.
    fn has_strays(&self, bytes: Option<&u64>) -> bool {
        let attempts: BTreeSet<&String> = self.objects.iter().map(|(_, attempt, _)| attempt).collect();
        let stored = self.objects.iter().map(|(_, _, size)| size).sum::<u64>();
        attempts.len() > 1 || !attempts.is_empty() && bytes.is_some_and(|bytes| *bytes != stored)
    }
}

/// Takes a file of a recipe's folder into account. Foreign files are left alone.
fn note(keys: &mut BTreeMap<String, Key>, file: &str, size: u64) {
    if let Some((key, generation)) = parse_removed_name(file) {
        keys.entry(key.to_owned()).or_default().void.insert(generation);
    } else if let Some(named) = parse_commit_name(file) {
        match named {
            Named::Commit(key, generation) => {
                keys.entry(half(&key)).or_default().commits.insert(generation, (file.to_owned(), size));
            }
            Named::Void(key, generation) => _ = keys.entry(half(&key)).or_default().void.insert(generation),
        }
    } else if let Some((key, attempt)) = parse_object_name(file) {
        keys.entry(key.to_owned()).or_default().objects.push((file.to_owned(), attempt.to_owned(), size));
    }
}

fn count(found: &Found) -> Totals {
    let keys = || found.folders.values().flat_map(BTreeMap::values);
    let objects = || keys().flat_map(|k| &k.objects);
    let commits = || keys().flat_map(|k| k.commits.values());
    let seals = || found.seals.values().flat_map(|g| g.records.values());
    let bytes = objects().map(|o| o.2).sum::<u64>()
        + commits().map(|c| c.1).sum::<u64>()
        + seals().sum::<u64>()
        + found.tasks.iter().map(|t| t.1).sum::<u64>();
    Totals { seals: seals().count(), commits: commits().count(), objects: objects().count(), bytes }
}
