//! What the scheduler is told: labels choose, names only exclude.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::catalogue::{below, spellings};
use super::fit::{Fit, fit};
use super::node::{Labels, Shape};
use super::why::Why;
use super::{Demand, Inventory, Resource};

const PRODUCT: &str = "nvidia.com/gpu.product";
const MEMORY: &str = "nvidia.com/gpu.memory";
const SHARING: &str = "nvidia.com/gpu.sharing-strategy";

/// Most names that a term excludes: an affinity is part of every pod, and a worker checks its device once more.
const MOST_NAMES: usize = 64;

/// Which nodes the scheduler may choose: those that one of the terms admits; any without terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The terms.
    pub terms: Vec<Term>,
    /// Nodes that should be excluded by name and are not, because there are too many.
    pub left_in: u32,
}

/// What a node must meet, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// Of its labels.
    pub labels: Vec<Expression>,
    /// Names that it must not have.
    pub not_nodes: Vec<Arc<str>>,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The label.
    pub key: &'static str,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// How Kubernetes compares a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Is one of.
    In,
    /// Is none of, or absent.
    NotIn,
    /// Is a whole number above.
    Gt,
    /// Is absent.
    DoesNotExist,
}

impl Affinity {
    /// As `spec.affinity.nodeAffinity` of a pod; `None` where any node will do.
    pub fn node_affinity(&self) -> Option<Value> {
        let terms: Vec<Value> = self.terms.iter().map(Term::json).collect();
        (!terms.is_empty())
            .then(|| json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } }))
    }
}

impl Term {
    fn json(&self) -> Value {
        let expression = |e: &Expression| match e.operator {
            Operator::DoesNotExist => json!({ "key": e.key, "operator": "DoesNotExist" }),
            Operator::In => json!({ "key": e.key, "operator": "In", "values": e.values }),
            Operator::NotIn => json!({ "key": e.key, "operator": "NotIn", "values": e.values }),
            Operator::Gt => json!({ "key": e.key, "operator": "Gt", "values": e.values }),
        };
        // The API server takes exactly one value for a field.
        let other = |name: &Arc<str>| json!({ "key": "metadata.name", "operator": "NotIn", "values": [&**name] });
        let mut term = json!({});
        if !self.labels.is_empty() {
            term["matchExpressions"] = self.labels.iter().map(expression).collect();
        }
        if !self.not_nodes.is_empty() {
            term["matchFields"] = self.not_nodes.iter().map(other).collect();
        }
        term
    }

    fn admits(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|expression| expression.holds(labels))
    }
}

impl Expression {
    fn new(key: &'static str, operator: Operator, values: impl IntoIterator<Item = String>) -> Self {
        Self { key, operator, values: values.into_iter().collect() }
    }

    fn holds(&self, labels: &Labels) -> bool {
        let value = match self.key {
            PRODUCT => labels.product.clone(),
            MEMORY => labels.memory.map(|mib| mib.to_string()),
            _ => labels.sharing.clone(),
        };
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(&v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(&v)),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => value
                .zip(self.values.first())
                .is_some_and(|(v, least)| v.parse::<u64>().ok() > least.parse::<u64>().ok()),
        }
    }
}

/// The affinity of a demand's pods, which ask for `resource`; `verdicts` are those of the inventory's shapes.
///
/// Labels admit every node that is described and fits, and most that will be added and will fit. Where a node fits that no
/// label describes, a second term admits nodes without labels. Who is admitted and does not fit is excluded by name.
///
/// It stays with the pods for as long as their Job runs. So a node that the scheduler avoids by itself for now is taken as
/// it will be afterwards: else a Job made during the quarantine of the only node that fits would never get it.
pub(super) fn affinity(
    inventory: &Inventory,
    verdicts: &[Result<Fit, Why>],
    demand: &Demand,
    resource: &Resource,
) -> Affinity {
    let lasting: Vec<Result<Fit, Why>> = inventory
        .shapes
        .iter()
        .zip(verdicts)
        .map(|(shape, verdict)| lasting(shape, verdict, demand, resource))
        .collect();
    let (now, verdicts) = (verdicts, lasting.as_slice());
    let described = described(inventory, verdicts, demand, resource);
    let fitting = || inventory.shapes.iter().zip(verdicts).filter(|(_, v)| v.is_ok()).map(|(shape, _)| shape);
    let asks = |key: &str| described.labels.iter().any(|e| e.key == key && e.operator != Operator::NotIn);
    let lacks = |key: &str| asks(key) && fitting().any(|shape| !has(shape, key));
    let mut terms = vec![described.clone()];
    if lacks(PRODUCT) {
        terms.push(Term { labels: vec![Expression::new(PRODUCT, Operator::DoesNotExist, [])], not_nodes: Vec::new() });
    }
    if lacks(MEMORY) {
        let mut term = described;
        term.labels.retain(|e| e.key != MEMORY);
        term.labels.push(Expression::new(MEMORY, Operator::DoesNotExist, []));
        terms.push(term);
    }
    let mut left_in = 0;
    for term in &mut terms {
        let unwanted = |shape: usize| {
            let able = inventory.shapes[shape].offers(resource) >= demand.count;
            let barred = verdicts[shape].is_err() && !now[shape].as_ref().is_err_and(Why::is_known_to_the_scheduler);
            barred && able && term.admits(&inventory.shapes[shape].labels)
        };
        let unwanted: Vec<bool> = (0..inventory.shapes.len()).map(unwanted).collect();
        let mut named: Vec<_> = inventory.nodes.iter().filter(|(_, shape)| unwanted[*shape]).collect();
        // The gravest reasons first, should there be too many: the order of `Why` begins with them.
        named.sort_by_key(|(_, shape)| verdicts[*shape].as_ref().err());
        left_in += named.len().saturating_sub(MOST_NAMES) as u32;
        named.truncate(MOST_NAMES);
        term.not_nodes = named.into_iter().map(|(name, _)| name.clone()).collect();
        term.not_nodes.sort_unstable();
    }
    terms.retain(|term| !(term.labels.is_empty() && term.not_nodes.is_empty()));
    Affinity { terms, left_in }
}

/// The verdict of a node once nothing keeps pods away that the scheduler knows by itself.
fn lasting(shape: &Shape, verdict: &Result<Fit, Why>, demand: &Demand, resource: &Resource) -> Result<Fit, Why> {
    let passes =
        |why: &Why| why.is_known_to_the_scheduler() || (matches!(why, Why::Quarantined(_)) && shape.is_kept_free());
    match verdict {
        Err(why) if passes(why) => fit(&shape.at_its_best(), demand, resource),
        lasts => lasts.clone(),
    }
}

fn has(shape: &Shape, key: &str) -> bool {
    if key == PRODUCT { shape.labels.product.is_some() } else { shape.labels.memory.is_some() }
}

/// The term for nodes that GPU Feature Discovery describes.
fn described(inventory: &Inventory, verdicts: &[Result<Fit, Why>], demand: &Demand, resource: &Resource) -> Term {
    let shapes = || inventory.shapes.iter().zip(verdicts);
    let seen = |fits: bool| -> BTreeSet<&String> {
        shapes().filter(|(_, v)| v.is_ok() == fits).filter_map(|(shape, _)| shape.labels.product.as_ref()).collect()
    };
    let mut labels = Vec::new();
    if demand.products.is_empty() {
        // Wrong kinds of GPU by their label, as far as no node that fits bears it, too; of too old ones also those that an
        // autoscaler would bring.
        let old: Vec<String> = demand.compute.into_iter().flat_map(below).map(str::to_owned).collect();
        let wrong: BTreeSet<&String> = shapes()
            .filter(|(shape, v)| {
                v.as_ref().is_err_and(Why::is_of_the_product) && shape.offers(resource) >= demand.count
            })
            .filter_map(|(shape, _)| shape.labels.product.as_ref())
            .chain(&old)
            .collect();
        let wrong: Vec<String> = wrong.difference(&seen(true)).map(|label| (*label).clone()).collect();
        if !wrong.is_empty() {
            labels.push(Expression::new(PRODUCT, Operator::NotIn, wrong));
        }
    } else {
        let known = spellings(&demand.products);
        let mut values: BTreeSet<String> =
            suffixes(demand, resource).iter().flat_map(|s| known.iter().map(move |k| format!("{k}{s}"))).collect();
        values.extend(seen(true).into_iter().cloned());
        labels.push(Expression::new(PRODUCT, Operator::In, values));
    }
    if !demand.shared && *resource == Resource::Gpu {
        let shared = ["mps", "time-slicing"].map(str::to_owned);
        let borne = |s: &Shape| s.labels.sharing.as_ref().is_some_and(|v| shared.contains(v));
        if !shapes().any(|(shape, v)| v.is_ok() && borne(shape)) {
            labels.push(Expression::new(SHARING, Operator::NotIn, shared));
        }
    }
    // The label is of the whole GPU where instances have resources of their own.
    if demand.memory > 0 && !matches!(resource, Resource::Mig(_)) {
        let least = u64::try_from(u128::from(demand.memory) * 19 / (20 << 20)).unwrap_or(u64::MAX);
        // A node that fits may be labelled by a smaller GPU beside the others, which is ill.
        let lowest = shapes().filter(|(_, v)| v.is_ok()).filter_map(|(shape, _)| shape.labels.memory).min();
        let above = least.min(lowest.unwrap_or(least)).saturating_sub(1);
        labels.push(Expression::new(MEMORY, Operator::Gt, [above.to_string()]));
    }
    Term { labels, not_nodes: Vec::new() }
}

/// What GPU Feature Discovery writes behind a product, where the device plugin hands out what is wanted.
fn suffixes(demand: &Demand, resource: &Resource) -> Vec<String> {
    match (resource, &demand.mig) {
        (Resource::Gpu, Some(profile)) => vec![format!("-MIG-{profile}")],
        (Resource::Gpu, None) if demand.shared => vec![String::new(), "-SHARED".into()],
        _ => vec![String::new()],
    }
}
