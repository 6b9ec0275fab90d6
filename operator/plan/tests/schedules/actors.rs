//! Who works on a build: `advance`, workers, and people who forget shards.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use realsyn_plan::graph::{Cut, Read};
use realsyn_plan::judge::Verdict;
use realsyn_plan::layout::{Seals, partitions};
use realsyn_plan::records::{Commit, Data, Effort, Object, Outcome, Seal, object_name};
use realsyn_plan::shuffle::{ENTRY, Extent, index};
use realsyn_plan::{Digest, StepId};

use crate::protocol::Plan;
use crate::store::{Sim, Task};

/// A row carries its home shard in the upper half.
type Row = u32;

/// Walks the graph until every step is sealed in one walk.
pub async fn advancer(sim: Sim, plan: Rc<Plan>) {
    loop {
        let start = sim.0.borrow().writes;
        if walk(&sim, &plan).await.len() == plan.steps.len() {
            return;
        }
        loop {
            sim.turn().await;
            let world = &mut *sim.0.borrow_mut();
            if world.running.is_empty() || world.writes != start && world.rng.chance(10) {
                break;
            }
        }
    }
}

/// One walk: seals what is complete, and has what is missing run. Returns what is sealed.
async fn walk(sim: &Sim, plan: &Plan) -> Seals {
    let mut view = Seals::new();
    for &step in &plan.steps {
        match sim.advance(plan, step, &view).await {
            None => {}
            Some(Verdict::Sealed(seal)) => _ = view.insert(step.id, *seal),
            Some(Verdict::Run(missing)) => {
                let world = &mut *sim.0.borrow_mut();
                let shared = Rc::new(view.clone());
                for missing in missing {
                    let running = world.running.contains_key(&(step.id, missing.spec.key, missing.generation));
                    let again = world.faults && world.rng.chance(100);
                    if running && !again {
                        continue;
                    }
                    world.events.duplicates += u64::from(running);
                    *world.launched.entry((step.id, missing.spec.number)).or_default() += 1;
                    let asleep = world.faults && world.rng.chance(80);
                    world.spawned.push(Task { step, missing, view: shared.clone(), asleep });
                }
            }
            Some(other) => panic!("{} ends an advance with {other:?}", step.id),
        }
    }
    view
}

/// What a worker read, or the shard that has to run again.
struct Gone(StepId, u32);

/// Runs one shard: reads, writes its objects, commits.
pub async fn worker(sim: Sim, plan: Rc<Plan>, task: Task, attempt: String) {
    let (step, spec) = (task.step, &task.missing.spec);
    let (_, recipe) = plan.recipes.digests(step.id);
    let outcome = if plan.rejected.contains(&(step.id, spec.number)) {
        Outcome::Rejected { reason: "broken".into(), detail: attempt.clone() }
    } else {
        let (rows, seen) = match read_all(&sim, &plan, &task).await {
            Ok(read) => read,
            Err(Gone(from, number)) => {
                sim.0.borrow_mut().events.heals += 1;
                return sim.forget(from, &task.view[&from], number).await;
            }
        };
        let seen = if plan.recorded.contains(&step.id) { seen.part(&attempt) } else { seen };
        let mut files = vec![("rows", encode(&rows), None), ("seen", seen.finish().0.to_vec(), None)];
        for ((role, cut), pieces) in step.shuffles.iter().zip(pieces(&plan, &task)) {
            let (bytes, partitions) = shuffle(&rows, *cut, pieces);
            files.push((role, bytes, Some(partitions)));
        }
        // Roles may coincide with the plain object's: a shuffled `rows` takes its place, as no reader wants both.
        files.sort_by_key(|(role, _, partitions)| (*role, partitions.is_none()));
        files.dedup_by_key(|(role, ..)| *role);
        let mut objects = Vec::new();
        for (role, bytes, partitions) in files {
            let name = object_name(step.id, &recipe, &spec.key, &attempt, role, "bin");
            sim.put(&name, &bytes).await;
            // Sizes are claimed, not real, so that a few shards fill a group of a shuffle.
            let claimed = if role == "rows" { 90 << 20 } else { bytes.len() as u64 };
            let (role, hash) = (role.to_owned(), Digest::of_bytes(&bytes));
            objects.push(Object { role, name, bytes: claimed, hash, rows: rows.len() as u64, partitions });
        }
        let counts = BTreeMap::from([("out".to_owned(), rows.len() as u64), ("cells".to_owned(), 2)]);
        Outcome::Data(Data { objects, counts, histograms: BTreeMap::new() })
    };
    let commit = Commit {
        step: step.id.to_string(),
        recipe,
        key: spec.key,
        number: spec.number,
        generation: task.missing.generation,
        attempt,
        outcome,
        effort: Effort { millis: 1, ..Effort::default() },
    };
    sim.commit(step.id, &commit).await;
}

/// Someone forgets a shard of whatever is sealed.
pub async fn forgetter(sim: Sim, plan: Rc<Plan>) {
    let step = plan.steps[sim.0.borrow_mut().rng.below(plan.steps.len())];
    let seals = sim.seals(step.id, &plan.recipes.digests(step.id).0).await;
    if let Some(seal) = seals.current().filter(|s| !s.shards.is_empty()) {
        let number = {
            let world = &mut *sim.0.borrow_mut();
            world.events.forgets += 1;
            world.rng.below(seal.shards.len()) as u32
        };
        sim.forget(step.id, seal, number).await;
    }
}

/// Reads a sealed step whole, as a release would; a lost object is healed and `None` returned.
pub async fn reader(sim: Sim, step: StepId, seal: Seal) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    for shard in &seal.shards {
        match read_shard(&sim, step, &seal, shard.number, "rows", None).await {
            Ok((found, _)) => rows.extend(found),
            Err(Gone(..)) => {
                sim.forget(step, &seal, shard.number).await;
                return None;
            }
        }
    }
    rows.sort_unstable();
    Some(rows)
}

/// The rows of the first input, and a digest over all inputs.
async fn read_all(sim: &Sim, plan: &Plan, task: &Task) -> Result<(Vec<Row>, realsyn_plan::digest::Builder), Gone> {
    let spec = &task.missing.spec;
    let mut first = None;
    let mut seen = Digest::builder("seen");
    for read in task.step.reads {
        let mut rows = Vec::new();
        let (from, numbers, role, partitions) = match *read {
            Read::Source => {
                let shard = &plan.inventory.shards[spec.number as usize];
                first = Some(source_rows(spec.number, &shard.files[0].version));
                continue;
            }
            Read::Shard(from) => (from, spec.number..spec.number + 1, "rows", None),
            Read::Group(from) => (from, spec.group.clone(), "rows", None),
            Read::Whole(from) => (from, 0..task.view[&from].shards.len() as u32, "rows", None),
            Read::Partition(from, role) => {
                (from, 0..task.view[&from].shards.len() as u32, role, Some(spec.group.clone()))
            }
        };
        for number in numbers {
            let (found, hash) = read_shard(sim, from, &task.view[&from], number, role, partitions.clone()).await?;
            seen = if found.is_empty() && partitions.is_some() { seen } else { seen.digest(&hash) };
            rows.extend(found);
        }
        first.get_or_insert(rows);
    }
    let mut rows = first.unwrap_or_default();
    rows.sort_unstable();
    Ok((rows, seen))
}

async fn read_shard(
    sim: &Sim,
    step: StepId,
    seal: &Seal,
    number: u32,
    role: &str,
    partitions: Option<Range<u32>>,
) -> Result<(Vec<Row>, Digest), Gone> {
    let gone = || Gone(step, number);
    let shard = &seal.shards[number as usize];
    let commit = sim.sealed_commit(step, &seal.recipe, shard).await.ok_or_else(gone)?;
    let Some(data) = commit.0.data() else { return Ok((Vec::new(), Digest::of_bytes(b""))) };
    let object = data.objects.iter().find(|o| o.role == role).expect("every shard has the roles of its step");
    let file = sim.get(&object.name).await.ok_or_else(gone)?;
    let (bytes, hash) = match partitions {
        None => {
            assert_eq!(Digest::of_bytes(&file), object.hash, "{step} shard {number}: other bytes than were sealed");
            (file.to_vec(), object.hash)
        }
        Some(partitions) => {
            let entries = object.partitions.expect("shuffled roles have an index");
            let index = file.len() - entries as usize * ENTRY;
            let extents = partitions.start.min(entries)..partitions.end.min(entries);
            let extents = extents.filter_map(|n| {
                let at = index + n as usize * ENTRY;
                Extent::decode(n, &file[at..at + ENTRY]).expect("an intact index")
            });
            let (mut bytes, mut hash) = (Vec::new(), Digest::builder("files"));
            for extent in extents {
                let part = &file[extent.offset as usize..(extent.offset + extent.bytes) as usize];
                assert_eq!(Digest::of_bytes(part), extent.hash, "{step} shard {number}: other bytes than were sealed");
                bytes.extend_from_slice(part);
                hash = hash.digest(&extent.hash);
            }
            (bytes, hash.finish())
        }
    };
    if object.partitions.is_none() {
        assert_eq!(Digest::of_bytes(&bytes), hash, "{step} shard {number}: other bytes than were sealed");
    }
    let rows = bytes.chunks_exact(4).map(|c| Row::from_le_bytes(c.try_into().expect("four bytes"))).collect();
    Ok((rows, hash))
}

/// The rows that a source shard holds.
pub fn source_rows(number: u32, version: &str) -> Vec<Row> {
    let hash = Digest::of_bytes(version.as_bytes()).0;
    let mut rows: Vec<Row> =
        (0..6).map(|i| number << 16 | u32::from(hash[2 * i]) << 8 | u32::from(hash[2 * i + 1])).collect();
    rows.sort_unstable();
    rows
}

fn pieces(plan: &Plan, task: &Task) -> Vec<u32> {
    let known = partitions(task.step, &plan.inventory, &task.view).expect("the step was laid out");
    task.step.shuffles.iter().map(|(role, _)| known[*role]).collect()
}

fn shuffle(rows: &[Row], cut: Cut, pieces: u32) -> (Vec<u8>, u32) {
    let (mut bytes, mut extents) = (Vec::new(), BTreeMap::new());
    for partition in 0..pieces {
        let place = |row: &Row| if cut == Cut::Home { row >> 16 } else { row % pieces };
        let mine: Vec<Row> = rows.iter().copied().filter(|r| place(r) == partition).collect();
        if !mine.is_empty() {
            let (offset, file) = (bytes.len() as u64, encode(&mine));
            let (size, hash) = (file.len() as u64, Digest::of_bytes(&file));
            extents.insert(partition, Extent { offset, bytes: size, rows: mine.len() as u64, hash });
            bytes.extend(file);
        }
    }
    let index = index(&extents);
    bytes.extend_from_slice(&index);
    (bytes, (index.len() / ENTRY) as u32)
}

fn encode(rows: &[Row]) -> Vec<u8> {
    rows.iter().flat_map(|r| r.to_le_bytes()).collect()
}
