//! What the planner knows of one node.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Capability, Product, Resource};

/// What Kubernetes says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `status.allocatable`.
    pub allocatable: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Whether the condition `Ready` is true.
    pub ready: bool,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, often empty.
    pub value: String,
    /// `NoSchedule`, `NoExecute` or `PreferNoSchedule`.
    pub effect: String,
}

/// The taint by which nodes with GPUs are kept free of other work; pods that hold GPUs tolerate it.
pub const GPU_TAINT: &str = "nvidia.com/gpu";

/// The taint of nodes in quarantine. It goes when the quarantine ends, so nothing that lasts longer should be said of them.
pub const QUARANTINE_TAINT: &str = "realsyn.dev/gpu-quarantine";

/// A toleration of a stage's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key; every key if empty.
    pub key: String,
    /// The taint's value (operator `Equal`); every value without it (operator `Exists`).
    pub value: Option<String>,
    /// The taint's effect; every effect if empty.
    pub effect: String,
}

impl Toleration {
    /// Whether pods with it may go where the taint is.
    pub(super) fn covers(&self, taint: &Taint) -> bool {
        (self.key.is_empty() || self.key == taint.key)
            && (self.effect.is_empty() || self.effect == taint.effect)
            && self.value.as_ref().is_none_or(|v| *v == taint.value)
    }
}

/// Where the knowledge of a node's GPUs comes from, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Its `GpuNode`, which the agent writes.
    GpuNode,
    /// The labels of GPU Feature Discovery.
    Labels,
    /// What its device plugin offers, and so no more than a number.
    Allocatable,
    /// Nothing says that it has GPUs.
    Nothing,
}

/// The planner's view of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeGpus {
    pub(super) name: Arc<str>,
    pub(super) shape: Shape,
}

impl NodeGpus {
    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether stages fit it as they fit `other`, whoever holds its devices now.
    pub fn fits_like(&self, other: &Self) -> bool {
        let in_use = |node: &Self| node.shape.with_units(|unit| unit.free = None);
        self.name == other.name && in_use(self) == in_use(other)
    }

    /// Where the knowledge of its GPUs comes from.
    pub fn source(&self) -> Source {
        self.shape.source
    }
}

/// All of a node but its name: nodes of equal shape are judged once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub source: Source,
    /// That its agent is silent and what is believed instead; none if it is not, or if there is nothing else.
    pub silence: Option<String>,
    pub bar: Option<Bar>,
    pub taints: Vec<Taint>,
    pub labels: Labels,
    /// What the device plugin lets pods have.
    pub offered: Vec<(Resource, u32)>,
    /// Equal units, and how many.
    pub units: Vec<(Unit, u32)>,
}

impl Shape {
    /// Whether the taint of quarantine keeps pods away.
    pub fn is_kept_free(&self) -> bool {
        self.taints.iter().any(|taint| taint.key == QUARANTINE_TAINT)
    }

    /// The node as it will be when nothing that passes keeps work away: cordons, taints, quarantine and the faults behind it.
    pub fn at_its_best(&self) -> Self {
        Self { bar: None, taints: Vec::new(), ..self.with_units(|unit| unit.unhealthy.clear()) }
    }

    fn with_units(&self, change: impl Fn(&mut Unit)) -> Self {
        let mut units: Vec<Unit> = Vec::new();
        for (unit, n) in &self.units {
            let mut unit = unit.clone();
            change(&mut unit);
            units.extend(std::iter::repeat_n(unit, *n as usize));
        }
        Self { units: counted(units), ..self.clone() }
    }

    pub fn offers(&self, resource: &Resource) -> u32 {
        self.offered.iter().find(|(r, _)| r == resource).map_or(0, |(_, n)| *n)
    }
}

/// The labels that an affinity can ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    /// `nvidia.com/gpu.product`.
    pub product: Option<String>,
    /// `nvidia.com/gpu.memory`, in MiB.
    pub memory: Option<u64>,
    /// `nvidia.com/gpu.sharing-strategy`.
    pub sharing: Option<String>,
}

/// Why a whole node gets no work, whatever its GPUs are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bar {
    /// In quarantine; why, and since when.
    Quarantined(String),
    NotReady,
    Cordoned,
    /// Its agent says why there is nothing to use.
    Agent(String),
}

/// What a resource hands out: a GPU, a slice of its time, or a MIG instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Unit {
    pub resource: Resource,
    pub cut: Cut,
    pub product: Option<Arc<Product>>,
    pub compute: Option<Capability>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Why no work can be trusted to it; empty if it can.
    pub unhealthy: String,
    /// Whether no container holds it, where that is known.
    pub free: Option<bool>,
    /// Those of one island are joined by NVLink; none where that is unknown.
    pub island: Option<u16>,
    pub numa: Option<u32>,
}

/// What part of a GPU a unit is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Cut {
    Whole,
    /// One of several that take turns.
    Slice,
    Mig(String),
}

/// Equal units side by side, counted.
pub(super) fn counted(mut units: Vec<Unit>) -> Vec<(Unit, u32)> {
    units.sort_unstable();
    let mut runs: Vec<(Unit, u32)> = Vec::new();
    for unit in units {
        match runs.last_mut() {
            Some((last, n)) if *last == unit => *n += 1,
            _ => runs.push((unit, 1)),
        }
    }
    runs
}
