//! What a build's pods tell the scheduler and the node, beside where they fit.

use realsyn_crds::{Scheduling, TaintEffect, TolerationOperator};
use realsyn_plan::placement::{GPU_TAINT, QUARANTINE_TAINT, Toleration};
use serde_json::{Value, json};

use crate::plan::Plan;

/// The taints that a build's pods tolerate, those with GPUs or the others: what placement judges nodes by is what pods say.
pub fn tolerations(plan: &Plan, with_gpus: bool) -> Vec<Toleration> {
    // Where nodes with GPUs are kept free of other work, the first is how; and what is wrong with a node's GPUs is nothing
    // to a pod without any.
    let own = if with_gpus { GPU_TAINT } else { QUARANTINE_TAINT };
    let own = Toleration { key: own.to_owned(), value: None, effect: String::new() };
    let asked = plan.build.scheduling.iter().flat_map(|scheduling| &scheduling.tolerations);
    let asked = asked.map(|toleration| Toleration {
        key: toleration.key.clone(),
        value: (toleration.operator == TolerationOperator::Equal).then(|| toleration.value.clone().unwrap_or_default()),
        effect: toleration.effect.map_or("", TaintEffect::as_str).to_owned(),
    });
    std::iter::once(own).chain(asked).collect()
}

/// Writes it all into the spec of a pod. The runtime class only where there are GPUs: it is NVIDIA's, and other nodes lack
/// it.
pub(crate) fn write(pod: &mut Value, plan: &Plan, with_gpus: bool) {
    let tolerated = tolerations(plan, with_gpus);
    pod["tolerations"] = tolerated.iter().map(toleration).collect();
    let Some(Scheduling { priority_class_name, runtime_class_name, scheduler_name, .. }) = &plan.build.scheduling
    else {
        return;
    };
    let fields = [
        ("priorityClassName", priority_class_name.as_ref()),
        ("runtimeClassName", runtime_class_name.as_ref().filter(|_| with_gpus)),
        ("schedulerName", scheduler_name.as_ref()),
    ];
    for (field, name) in fields {
        if let Some(name) = name {
            pod[field] = json!(name);
        }
    }
}

fn toleration(toleration: &Toleration) -> Value {
    let Toleration { key, value, effect } = toleration;
    let mut written = match value {
        Some(value) => json!({ "key": key, "operator": "Equal", "value": value }),
        None => json!({ "key": key, "operator": "Exists" }),
    };
    if !effect.is_empty() {
        written["effect"] = json!(effect);
    }
    written
}
