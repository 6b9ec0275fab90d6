//! The agents' Leases, read again and again.
//!
//! They are read, not watched: each is renewed every ten seconds, so that a watch would bring more than a list does, and
//! a watch that stands still looks like agents that are silent. A list that fails says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource};
use realsyn_objects::nodes::heartbeat;
use tokio::time::MissedTickBehavior;

use super::guard::Changed;
use super::pulse::Pulses;
use crate::context::Context;

/// How often.
const EVERY: Duration = Duration::from_secs(20);
/// How often it is asked whether there are any agents.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Leases of one answer.
const PAGE: u32 = 500;

/// Follows the agents whose Leases lie in a namespace, for ever, and tells of nodes whose agent fell silent or is heard again.
pub async fn follow(context: Arc<Context>, namespace: String, tell: UnboundedSender<Changed>) {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &namespace);
    let mut pulses = Pulses::default();
    let mut announced = BTreeMap::new();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        while !context.nodes.are_there() {
            // Of nobody's agent there is anything to say.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let leases = match tokio::time::timeout(EVERY, leases(&api)).await {
            Ok(Ok(leases)) => leases,
            Ok(Err(error)) => {
                tracing::warn!(namespace, %error, "the Leases of GPU agents cannot be read; who is silent is not known");
                continue;
            }
            Err(_) => continue,
        };
        pulses.retain(|node| context.nodes.gpu_nodes.get(&ObjectRef::new(node)).is_some());
        let turns = pulses.read(leases, Instant::now(), Timestamp::now());
        let silent = pulses.silent();
        context.metrics.silent_agents.set(i64::try_from(silent.len()).unwrap_or(i64::MAX));
        context.nodes.silence(silent.clone());
        for node in turns {
            // It is closed only while the process ends.
            _ = tell.unbounded_send(Changed::Node(node));
        }
        if context.leads() {
            announce(&context, &announced, &silent).await;
            announced = silent;
        }
    }
}

/// Each agent's node, and when its Lease was renewed.
async fn leases(api: &Api<Lease>) -> Result<Vec<(String, Option<Timestamp>)>, kube::Error> {
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items.iter().filter_map(|lease| {
            let (node, renewed) = heartbeat(lease)?;
            Some((node.to_owned(), renewed))
        }));
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => params = params.continue_token(&more),
            None => return Ok(found),
        }
    }
}

/// Events about the agents that are silent and were not before, and about those that are no longer.
async fn announce(context: &Context, before: &BTreeMap<String, Timestamp>, now: &BTreeMap<String, Timestamp>) {
    for (node, since) in now.iter().filter(|(node, _)| !before.contains_key(*node)) {
        tracing::warn!(node, %since, "the node's GPU agent is silent; what it said last is not believed");
        let note = format!("the agent has been silent since {since}; what it said of its devices is not believed");
        publish(context, node, EventType::Warning, "AgentSilent", note).await;
    }
    for node in before.keys().filter(|node| !now.contains_key(*node)) {
        tracing::info!(node, "the node's GPU agent is heard again, or the node is gone");
        publish(context, node, EventType::Normal, "AgentHeard", "the agent renews its Lease again".to_owned()).await;
    }
}

async fn publish(context: &Context, node: &str, type_: EventType, reason: &str, note: String) {
    let Some(gpu_node) = context.nodes.gpu_nodes.get(&ObjectRef::new(node)) else { return };
    let event =
        Event { type_, reason: reason.to_owned(), action: reason.to_owned(), note: Some(note), secondary: None };
    if let Err(error) = context.recorder.publish(&event, &gpu_node.object_ref(&())).await {
        tracing::debug!(%error, "an Event was not taken");
    }
}
