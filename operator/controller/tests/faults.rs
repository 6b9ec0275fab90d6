//! Everything that can go wrong at every write of a build and a release: in the end it is as if nothing had.
//!
//! A reference run counts the writes of the controller. Then each of them goes wrong in each way, in a namespace of its
//! own, and what is left must be what the reference left. `REALSYN_FAULTS=all` tries every write, else every 29th,
//! shifted from one kind of fault to the next.

mod support;

use std::time::Instant;

use anyhow::{Context, Result};
use futures::StreamExt;
use kube::api::{Patch, PatchParams};
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
        Ok(())
    });
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
