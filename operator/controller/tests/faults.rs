//! Everything that can go wrong at every write of a build and a release: in the end it is as if nothing had.
//!
//! A reference run counts the writes of the controller. Then each of them goes wrong in each way, in a namespace of its
//! own, and what is left must be what the reference left. `REALSYN_FAULTS=all` tries every write, else every 29th,
//! shifted from one kind of fault to the next.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use realsyn_controller::context::Options;
use realsyn_controller::kinds::Kind;
use realsyn_crds::Stage;
use serde_json::{Value, json};
use support::examples;
use support::fault::{Fault, Faults};
use support::site::{Server, Site, on_a_control_plane, options};

/// A short way through the graph.
const TO_RUN: &[Stage] = &[Stage::SentenceScore, Stage::PairScore];
/// Namespaces at work at once.
const AT_ONCE: usize = 6;

#[test]
fn whatever_goes_wrong_at_a_write_the_end_is_the_same() {
    on_a_control_plane("whatever_goes_wrong_at_a_write_the_end_is_the_same", async |_, api| {
        let (reference, log) = one(api, "reference", None).await?;
        println!("{} writes in the reference run", log.len());
        let all = std::env::var("REALSYN_FAULTS").is_ok_and(|v| v == "all");
        let step = if all { 1 } else { 29 };
        let points = Fault::ALL
            .iter()
            .enumerate()
            .flat_map(|(kind, fault)| (0..log.len()).filter(move |n| (n + kind) % step == 0).map(move |n| (n, *fault)));
        let points: Vec<(usize, Fault)> = points.collect();
        let began = Instant::now();
        let (reference, count) = (&reference, points.len());
        let runs = futures::stream::iter(points).map(async |(n, fault)| {
            let name = format!("w{n}-{fault:?}").to_lowercase().replace(['(', ')'], "");
            let (end, log) = match one(api, &name, Some((n, fault))).await {
                Ok(done) => done,
                Err(error) => return (fault, true, Some(format!("write {n}, {fault:?}: {error:#}"))),
            };
            let at = log.get(n).map_or("never reached", String::as_str);
            let wrong = format!("write {n} ({at}), {fault:?}: {}", difference(reference, &end));
            (fault, n < log.len(), (end != *reference).then_some(wrong))
        });
        let runs: Vec<(Fault, bool, Option<String>)> = runs.buffer_unordered(AT_ONCE).collect().await;
        let wrong: Vec<&str> = runs.iter().filter_map(|(_, _, wrong)| wrong.as_deref()).collect();
        assert!(wrong.is_empty(), "of {count} runs {} ended otherwise:\n{}", wrong.len(), wrong.join("\n"));
        for fault in Fault::ALL {
            // The writes of a run differ by a few, so that the last of them are not always there.
            let of_kind = runs.iter().filter(|(kind, ..)| *kind == fault);
            let (tried, reached) = (of_kind.clone().count(), of_kind.filter(|(_, reached, _)| *reached).count());
            println!("{fault:?}: {reached} of {tried} writes were reached");
            assert!(reached > 0, "no run came to the write at which {fault:?} was to happen");
        }
        println!(
            "{count} runs, each with one fault, in {:.0} s: every end equals the reference",
            began.elapsed().as_secs_f64()
        );
        broken_watches(api).await
    });
}

/// Where each kind of object is watched.
const WATCHES: [&str; 8] =
    ["/realsynbuilds", "/realsynreleases", "/jobs", "/pods", "/configmaps", "/events", "/nodes", "/gpunodes"];
/// Reactions that are measured beside each broken watch.
const REACTIONS: usize = 16;

/// A watch that fails for ever holds up nothing that can be seen without it.
async fn broken_watches(api: &Server) -> Result<()> {
    let mut times = Vec::new();
    for broken in WATCHES {
        let own = reactions(api, broken).await.with_context(|| format!("with {broken} broken"))?;
        println!("with the watch of {broken} failing for ever: the slowest reaction took {:?}", own.iter().max());
        times.extend(own);
    }
    times.sort();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{} reactions: median {median:?}, 99th percentile {p99:?}, slowest {:?}", times.len(), times.last());
    // No benchmark: that a change is taken up at once, whatever else is broken, is what is promised.
    ensure!(p99 <= Duration::from_secs(1), "the 99th percentile is {p99:?}");
    Ok(())
}

/// How long it takes from a change of a spec to a status of it.
async fn reactions(api: &Server, broken: &'static str) -> Result<Vec<Duration>> {
    let namespace = format!("broken-{}", &broken[1..]);
    let faults = Faults::new(None, Some(broken));
    // Nodes are of no namespace.
    let options = Options { gpus: true, ..options(Some(&namespace)) };
    let site = Site::open_with(api, options, examples(&namespace), TO_RUN, faults.clone()).await?;
    let (kind, name) = match broken {
        "/realsynbuilds" => (Kind::Release, "obelics-balanced"),
        _ => (Kind::Build, "obelics"),
    };
    site.until(|| async { Ok(site.world.api(kind).get(name).await?.data["status"]["observedGeneration"] == 1) })
        .await?;
    let mut times = Vec::new();
    for n in 0..REACTIONS {
        let spec = match kind {
            Kind::Build => json!({ "suspend": n % 2 == 0 }),
            Kind::Release => json!({ "texts": 4 + n % 2 }),
        };
        let began = Instant::now();
        let changed = Patch::Merge(json!({ "spec": spec }));
        let changed = site.world.api(kind).patch(name, &PatchParams::default(), &changed).await?;
        site.until(|| async {
            let seen = site.world.api(kind).get(name).await?;
            Ok(seen.data["status"]["observedGeneration"].as_i64() == changed.metadata.generation)
        })
        .await?;
        times.push(began.elapsed());
    }
    ensure!(faults.broke.load(Ordering::SeqCst) > 0, "the watch was not broken");
    Ok(times)
}

/// A run with a fault; what is left, and the writes of the first controller.
async fn one(api: &Server, namespace: &str, fault: Option<(usize, Fault)>) -> Result<(Value, Vec<String>)> {
    let faults = Faults::new(fault, None);
    let mut site = Site::open(api, examples(namespace), TO_RUN, faults.clone()).await?;
    let mut halted = faults.halted.subscribe();
    let fault = fault.map(|(_, fault)| fault);
    let mut end = tokio::select! {
        _ = halted.wait_for(|halted| *halted) => None,
        end = site.end() => Some(end?),
    };
    if end.is_none() {
        if fault != Some(Fault::Paused) {
            site.controllers.remove(0).abort();
        }
        site.controllers.push(api.controller(options(Some(namespace)), &Faults::new(None, None)).await?);
        end = Some(site.end().await?);
        if fault == Some(Fault::Paused) {
            // The old leader wakes up with what it was about to write, and goes on beside the new one.
            site.faults.resumed.send_replace(true);
            let annotate = Patch::Merge(json!({ "metadata": { "annotations": { "poke": "1" } } }));
            for (kind, name) in [(Kind::Build, "obelics"), (Kind::Release, "obelics-balanced")] {
                site.world.api(kind).patch(name, &PatchParams::default(), &annotate).await?;
            }
            end = Some(site.end().await?);
        }
    }
    let log = faults.log.lock().unwrap().clone();
    Ok((end.context("an end")?, log))
}

/// The first place where two values differ.
fn difference(a: &Value, b: &Value) -> String {
    fn short(value: &Value) -> String {
        value.to_string().chars().take(300).collect()
    }
    fn look(a: &Value, b: &Value, path: &str) -> Option<String> {
        match (a, b) {
            (Value::Object(x), Value::Object(y)) => {
                let names: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
                names.into_iter().find_map(|n| look(&a[n], &b[n], &format!("{path}.{n}")))
            }
            (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
                x.iter().zip(y).enumerate().find_map(|(i, (a, b))| look(a, b, &format!("{path}[{i}]")))
            }
            _ if a == b => None,
            _ => Some(format!("{path} is {}, in the reference {}", short(b), short(a))),
        }
    }
    look(a, b, "").unwrap_or_default()
}
