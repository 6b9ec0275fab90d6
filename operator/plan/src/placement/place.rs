//! Where a stage fits: demand × inventory → placement.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::affinity::{Affinity, affinity};
use super::fit::{Fit, fit};
use super::why::Why;
use super::{Allocation, Demand, Inventory, Resource};

/// Where the pods of a stage fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What each pod asks for.
    pub allocation: Allocation,
    /// Which nodes the scheduler may choose.
    pub affinity: Affinity,
    /// The Job's parallelism: what the stage wants, since more nodes may come; no more than fits where it forbids that.
    pub parallelism: u32,
    /// Pods that can run at once on the nodes that are there, if nobody else were.
    pub at_once: u32,
    /// Of them, how many beside what runs now; `None` where a node has no agent to tell.
    pub now: Option<u32>,
    /// GPUs, slices or instances on nodes that fit.
    pub gpus: u32,
    /// Nodes that fit, by name.
    pub nodes: Vec<NodeFit>,
    /// Those of them whose agent is silent, and what is believed instead.
    pub silent: Vec<Unfit>,
    /// Nodes that do not fit and why, the nearest to fitting first.
    pub unfit: Vec<Unfit>,
    /// The status of the condition `Placeable`.
    pub placeable: Placeable,
    /// Its message.
    pub sentence: String,
    /// Whether the Job may be made: always, unless nothing fits and the stage forbids an autoscaler's help.
    pub may_start: bool,
}

/// A node that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFit {
    /// Its name.
    pub node: Arc<str>,
    /// What a pod is given: `A100-SXM4-80GB`, with `-SHARED` or `-MIG-3g.40gb` behind it where it is a part.
    pub unit: Arc<str>,
    /// GPUs, slices or instances.
    pub gpus: u32,
    /// Pods at once, if nobody else were there.
    pub empty: u32,
    /// Pods at once beside what runs now; `None` where no agent tells.
    pub now: Option<u32>,
    /// Of `empty`, how many could have their GPUs on one NUMA node each; `None` where no agent tells.
    pub one_numa: Option<u32>,
}

/// Nodes of which one and the same is to be said: mostly why they do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Their names, in order.
    pub nodes: Vec<Arc<str>>,
    /// Why.
    pub why: String,
}

/// `gpu-7: A100-SXM4-40GB has 39.6 GiB, 70 needed`, or `gpu-1, gpu-2 and 98 more: no GPUs`: at most three names.
impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nodes.as_slice() {
            [] => {}
            [one] => write!(f, "{one}: ")?,
            [one, two] => write!(f, "{one} and {two}: ")?,
            [one, two, three] => write!(f, "{one}, {two} and {three}: ")?,
            [one, two, rest @ ..] => write!(f, "{one}, {two} and {} more: ", rest.len())?,
        }
        f.write_str(&self.why)
    }
}

impl Unfit {
    /// The same with every name.
    pub fn in_full(&self) -> String {
        format!("{}: {}", self.nodes.join(", "), self.why)
    }
}

/// Whether a stage's pods fit somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeable {
    /// On the nodes that are there.
    True,
    /// On none of them.
    False,
    /// Nothing is known of the nodes.
    Unknown,
}

impl Placeable {
    /// As a condition's status says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Inventory {
    /// Where a stage fits.
    pub fn place(&self, demand: &Demand) -> Placement {
        let (resource, verdicts) = self.judge(demand);
        let mut nodes = Vec::new();
        let mut groups: BTreeMap<(&Why, Option<&str>), Vec<Arc<str>>> = BTreeMap::new();
        let mut silent: BTreeMap<&str, Vec<Arc<str>>> = BTreeMap::new();
        for (name, shape) in &self.nodes {
            let node = name.clone();
            let silence = self.shapes[*shape].silence.as_deref();
            match &verdicts[*shape] {
                Ok(Fit { unit, gpus, empty, now, one_numa }) => {
                    let (unit, gpus, empty, now, one_numa) = (unit.clone(), *gpus, *empty, *now, *one_numa);
                    if let Some(silence) = silence {
                        silent.entry(silence).or_default().push(node.clone());
                    }
                    nodes.push(NodeFit { node, unit, gpus, empty, now, one_numa });
                }
                Err(why) => groups.entry((why, silence)).or_default().push(node),
            }
        }
        let said = |(why, silence): (&Why, Option<&str>)| match silence {
            Some(silence) => format!("{why} ({silence})"),
            None => why.to_string(),
        };
        let unfit: Vec<Unfit> = groups.into_iter().map(|(why, nodes)| Unfit { nodes, why: said(why) }).collect();
        let silent = silent.into_iter().map(|(why, nodes)| Unfit { nodes, why: why.to_owned() }).collect();
        let room: u32 = nodes.iter().map(|n| n.empty).sum();
        let wanted = demand.parallelism.unwrap_or(demand.tasks).min(demand.tasks).max(1);
        let placeable = match (self.is_known(), room) {
            (false, _) => Placeable::Unknown,
            (true, 0) => Placeable::False,
            _ => Placeable::True,
        };
        let mut placement = Placement {
            affinity: affinity(self, &verdicts, demand, &resource),
            allocation: Allocation::new(resource, demand.count),
            parallelism: if demand.allow_scale_up || room == 0 { wanted } else { wanted.min(room) },
            at_once: wanted.min(room),
            now: nodes.iter().map(|n| n.now).sum::<Option<u32>>().map(|now| now.min(wanted)),
            gpus: nodes.iter().map(|n| n.gpus).sum(),
            nodes,
            silent,
            unfit,
            placeable,
            sentence: String::new(),
            may_start: demand.allow_scale_up || placeable != Placeable::False,
        };
        placement.sentence = placement.say(demand.allow_scale_up);
        placement
    }

    /// A verdict for each shape, under the first resource with which something fits, else under the first.
    fn judge(&self, demand: &Demand) -> (Resource, Vec<Result<Fit, Why>>) {
        let judged = |resource: Resource| {
            let verdicts: Vec<_> = self.shapes.iter().map(|shape| fit(shape, demand, &resource)).collect();
            (resource, verdicts)
        };
        let mut candidates = Resource::candidates(demand.mig.as_deref(), demand.shared).into_iter().map(judged);
        let first = candidates.next().expect("every demand has a resource");
        if first.1.iter().any(Result::is_ok) {
            return first;
        }
        candidates.find(|(_, verdicts)| verdicts.iter().any(Result::is_ok)).unwrap_or(first)
    }
}

impl Placement {
    /// One sentence for the condition: how much fits, or why nothing does.
    fn say(&self, allow_scale_up: bool) -> String {
        const REASONS: usize = 4;
        let plural = |n: u32, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        match self.placeable {
            Placeable::Unknown => "the operator may not read nodes, so nothing is known of their GPUs".into(),
            Placeable::True => {
                let verb = if self.nodes.len() == 1 { "fits" } else { "fit" };
                let fits = format!("{} of {} {verb}", self.nodes.len(), plural(self.count(), "node"));
                let now = match self.now {
                    Some(now) if now >= self.at_once => ", all of them now".into(),
                    Some(now) => format!(", {now} of them now"),
                    None => String::new(),
                };
                let silent: Vec<String> = self.silent.iter().take(1).map(|group| format!("; {group}")).collect();
                let silent = silent.concat();
                format!("{fits}: {}, {} at once{now}{silent}", plural(self.gpus, "GPU"), plural(self.at_once, "pod"))
            }
            Placeable::False => {
                let mut reasons: Vec<String> = self.unfit.iter().take(REASONS).map(Unfit::to_string).collect();
                let more: usize = self.unfit.iter().skip(REASONS).map(|group| group.nodes.len()).sum();
                if more > 0 {
                    reasons.push(format!("{more} more for other reasons"));
                }
                let there = if reasons.is_empty() { "no node is there".to_owned() } else { reasons.join("; ") };
                let help = if allow_scale_up {
                    "an autoscaler may bring nodes that fit"
                } else {
                    "`allowScaleUp: false` does not wait for others"
                };
                format!("no node fits: {there}; {help}")
            }
        }
    }

    fn count(&self) -> u32 {
        (self.nodes.len() + self.unfit.iter().map(|group| group.nodes.len()).sum::<usize>()) as u32
    }
}
