//! From what is known of a node to the planner's view of it: its `GpuNode`, else its labels, else what it offers.

use std::collections::BTreeMap;
use std::sync::Arc;

use realsyn_crds::{GpuDevice, GpuNode, GpuNodeStatus, Quantity, Quarantine};

use super::allocation::profile;
use super::islands::islands;
use super::node::{Bar, Cut, Labels, Shape, Unit, counted};
use super::why::{incident, moment, plain};
use super::{Capability, FormFactor, NodeFacts, NodeGpus, Product, Resource, Source};

/// More units than any node has: what others report is not trusted to be a sane number.
const MOST_UNITS: u32 = 1024;

/// Bytes of so many MiB, unless no machine has as many.
fn mebibytes(mib: u64) -> Option<u64> {
    mib.checked_mul(1 << 20)
}

impl NodeGpus {
    /// What is known of a node, with its `GpuNode` if it has one.
    pub fn of(node: &NodeFacts, gpu_node: Option<&GpuNode>) -> Self {
        Self::heard(node, gpu_node, None)
    }

    /// What is known of a node whose agent has been silent since then (RFC 3339): its devices are not believed any more.
    /// Quarantine is, which others write.
    pub fn of_silent(node: &NodeFacts, gpu_node: &GpuNode, since: &str) -> Self {
        Self::heard(node, Some(gpu_node), Some(moment(since)))
    }

    fn heard(node: &NodeFacts, gpu_node: Option<&GpuNode>, silent: Option<String>) -> Self {
        let facts = Facts::of(node);
        let seen = gpu_node.map(|g| &g.status).filter(|_| silent.is_none());
        let devices = seen.map(|status| status.devices.as_slice()).unwrap_or_default();
        let (source, units) = if !devices.is_empty() {
            (Source::GpuNode, facts.units_of_devices(devices))
        } else if facts.labels.product.is_some() {
            (Source::Labels, facts.units_of_labels())
        } else if !facts.offered.is_empty() {
            (Source::Allocatable, facts.units_of_allocatable())
        } else {
            (Source::Nothing, Vec::new())
        };
        let silence = silent.as_deref().map(|since| silence(since, source));
        let bar = bar(node, gpu_node, seen, units.is_empty()).or_else(|| {
            let nothing_else = silence.clone().filter(|_| units.is_empty());
            nothing_else.map(Bar::Agent)
        });
        let silence = silence.filter(|_| !units.is_empty());
        let mut taints = node.taints.clone();
        taints.retain(|t| t.effect != "PreferNoSchedule" && !t.key.starts_with("node.kubernetes.io/"));
        taints.sort_unstable();
        let (labels, offered) = (facts.labels, facts.offered);
        let shape = Shape { source, silence, bar, taints, labels, offered, units: counted(units) };
        Self { name: node.name.as_str().into(), shape }
    }

    /// What a `GpuNode` alone tells, where nodes cannot be read: its healthy devices are taken to be offered.
    pub fn of_gpu_node(gpu_node: &GpuNode) -> Self {
        let mut allocatable = BTreeMap::<String, u32>::new();
        for device in gpu_node.status.devices.iter().filter(|d| d.healthy) {
            if device.mig {
                for instance in &device.instances {
                    *allocatable.entry(Resource::Mig(profile(&instance.profile)).to_string()).or_default() += 1;
                }
            } else {
                *allocatable.entry(Resource::Gpu.to_string()).or_default() += 1;
            }
        }
        let node = NodeFacts {
            name: gpu_node.metadata.name.clone(),
            allocatable: allocatable.into_iter().map(|(name, n)| (name, n.to_string())).collect(),
            ready: true,
            ..NodeFacts::default()
        };
        Self::of(&node, Some(gpu_node))
    }
}

/// Why the node gets no work, the reason that is hardest to see first.
fn bar(node: &NodeFacts, gpu_node: Option<&GpuNode>, seen: Option<&GpuNodeStatus>, nothing: bool) -> Option<Bar> {
    if let Some(why) = gpu_node.and_then(|g| quarantined(&g.spec.quarantine)) {
        return Some(Bar::Quarantined(why));
    }
    if let Some(status) = seen.filter(|s| nothing || s.devices.is_empty()) {
        let message = match &status.message {
            Some(message) => Some(message.as_str()),
            None if !status.devices.is_empty() => Some("MIG is on, and there is no instance"),
            None => None,
        };
        if let Some(message) = message {
            return Some(Bar::Agent(plain(message)));
        }
    }
    match (node.ready, node.unschedulable) {
        (false, _) => Some(Bar::NotReady),
        (_, true) => Some(Bar::Cordoned),
        _ => None,
    }
}

/// That an agent is silent, and what is believed instead of it.
fn silence(since: &str, source: Source) -> String {
    let instead = match source {
        Source::Labels => "labels are believed instead",
        Source::Allocatable => "what the device plugin offers is believed instead",
        Source::GpuNode | Source::Nothing => "nothing else tells of its GPUs",
    };
    format!("its agent has been silent since {since}; {instead}")
}

fn quarantined(entries: &[Quarantine]) -> Option<String> {
    let first = entries.iter().min_by_key(|q| (&q.since, &q.reason))?;
    let others = match entries.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    Some(format!("{}{others}", incident(&first.reason, first.since.as_deref())))
}

/// What labels and allocatable say.
struct Facts<'a> {
    all: &'a BTreeMap<String, String>,
    labels: Labels,
    offered: Vec<(Resource, u32)>,
}

impl<'a> Facts<'a> {
    fn of(node: &'a NodeFacts) -> Self {
        let amount = |text: &str| Quantity::new(text).value().map(|v| v as u32);
        let mut offered: Vec<(Resource, u32)> = node
            .allocatable
            .iter()
            .filter_map(|(name, n)| Some((Resource::parse(name)?, amount(n)?.min(MOST_UNITS))))
            .filter(|(_, n)| *n > 0)
            .collect();
        offered.sort_unstable();
        let label = |name: &str| node.labels.get(&format!("nvidia.com/gpu.{name}")).filter(|v| !v.is_empty()).cloned();
        let memory = label("memory").and_then(|mib| mib.parse().ok());
        let labels = Labels { product: label("product"), memory, sharing: label("sharing-strategy") };
        Self { all: &node.labels, labels, offered }
    }

    fn number(&self, label: &str) -> Option<u64> {
        self.all.get(&format!("nvidia.com/{label}"))?.parse().ok()
    }

    fn offers(&self, resource: &Resource) -> u32 {
        self.offered.iter().find(|(r, _)| r == resource).map_or(0, |(_, n)| *n)
    }

    /// The MIG profile that `nvidia.com/gpu` stands for, where the device plugin's strategy is `single`.
    fn single_profile(&self) -> Option<String> {
        let (_, suffix) = self.labels.product.as_deref()?.split_once("-MIG-")?;
        Some(profile(suffix.trim_end_matches("-SHARED")))
    }

    /// Under which name whole GPUs are offered, and how many pods share one.
    fn sharing(&self, gpus: u32) -> (Resource, u32) {
        let (shared, plain) = (self.offers(&Resource::Shared), self.offers(&Resource::Gpu));
        let (resource, offered) = if shared > 0 { (Resource::Shared, shared) } else { (Resource::Gpu, plain) };
        let seen = offered.checked_div(gpus).unwrap_or(1);
        let labelled = self.number("gpu.replicas").unwrap_or(1).clamp(1, 128) as u32;
        let shared =
            self.labels.product.as_deref().is_some_and(|p| p.ends_with("-SHARED")) || resource == Resource::Shared;
        // A share of one replica is a share all the same: other pods may be promised it, too.
        (resource, labelled.max(seen).max(if shared { 2 } else { 1 }))
    }

    fn units_of_devices(&self, devices: &[GpuDevice]) -> Vec<Unit> {
        let whole = devices.iter().filter(|d| !d.mig).count() as u32;
        let (resource, replicas) = self.sharing(whole);
        let cut_as_gpu = self.single_profile().is_some()
            || (whole == 0 && !self.offered.iter().any(|(r, _)| matches!(r, Resource::Mig(_))));
        let islands = islands(devices);
        // The devices of a node are of one or two products, so that each name is read once.
        let mut products: BTreeMap<(&str, u64), Option<Arc<Product>>> = BTreeMap::new();
        let mut units = Vec::new();
        for (device, island) in devices.iter().zip(islands) {
            let unit = Unit {
                resource: resource.clone(),
                cut: if replicas > 1 { Cut::Slice } else { Cut::Whole },
                product: products
                    .entry((&device.product, device.memory))
                    .or_insert_with(|| Product::of_device(&device.product, device.memory).map(Arc::new))
                    .clone(),
                compute: capability(&device.compute),
                memory: Some(device.memory),
                unhealthy: unhealthy(device),
                free: Some(!device.allocated),
                island: Some(island),
                numa: device.numa,
            };
            if !device.mig {
                units.extend(std::iter::repeat_n(unit, replicas as usize));
                continue;
            }
            for instance in &device.instances {
                let profile = profile(&instance.profile);
                let (memory, free) = (Some(instance.memory), Some(!instance.allocated));
                let resource = if cut_as_gpu { Resource::Gpu } else { Resource::Mig(profile.clone()) };
                let cut = self.instance(profile);
                units.push(Unit { resource, cut, memory, free, island: None, ..unit.clone() });
            }
        }
        units
    }

    fn units_of_labels(&self) -> Vec<Unit> {
        let label = self.labels.product.as_deref().unwrap_or_default();
        let memory = self.labels.memory.and_then(mebibytes);
        let product = match self.single_profile() {
            Some(_) => Product::parse(label),
            None => Product::of_device(label, memory.unwrap_or(0)),
        }
        .map(Arc::new);
        // Boards join all of their GPUs; of cards only the agent knows.
        let joined = product.as_ref().is_some_and(|p| matches!(p.form_factor, Some(FormFactor::Sxm(_))));
        let unit = Unit { memory, island: joined.then_some(0), ..self.unit(Resource::Gpu, Cut::Whole, product) };
        let mut units = Vec::new();
        let gpus = self.number("gpu.count").unwrap_or(0).min(128) as u32;
        match self.single_profile() {
            Some(profile) => {
                let n = self.offers(&Resource::Gpu).max(gpus).min(MOST_UNITS);
                let unit = Unit { cut: self.instance(profile), island: None, ..unit.clone() };
                units.extend(std::iter::repeat_n(unit, n as usize));
            }
            None => {
                let (resource, replicas) = self.sharing(gpus);
                let n = if gpus == 0 { self.offers(&resource) } else { gpus * replicas }.min(MOST_UNITS);
                let cut = if replicas > 1 { Cut::Slice } else { Cut::Whole };
                let is_cut = self.offered.iter().any(|(r, _)| matches!(r, Resource::Mig(_)));
                if !(is_cut && self.offers(&resource) == 0) {
                    units.extend(std::iter::repeat_n(Unit { resource, cut, ..unit.clone() }, n as usize));
                }
            }
        }
        for (resource, offered) in &self.offered {
            let Resource::Mig(profile) = resource else { continue };
            let memory = self.number(&format!("mig-{profile}.memory")).and_then(mebibytes).or_else(|| named(profile));
            let n = self
                .number(&format!("mig-{profile}.count"))
                .unwrap_or(0)
                .max(u64::from(*offered))
                .min(u64::from(MOST_UNITS));
            let (resource, cut) = (resource.clone(), self.instance(profile.clone()));
            let unit = Unit { resource, cut, memory, island: None, ..unit.clone() };
            units.extend(std::iter::repeat_n(unit, n as usize));
        }
        units
    }

    fn units_of_allocatable(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for (resource, n) in &self.offered {
            let (cut, memory) = match resource {
                Resource::Gpu => (Cut::Whole, None),
                Resource::Shared => (Cut::Slice, None),
                Resource::Mig(profile) => (Cut::Mig(profile.clone()), named(profile)),
            };
            let unit = Unit { memory, ..self.unit(resource.clone(), cut, None) };
            units.extend(std::iter::repeat_n(unit, (*n).min(MOST_UNITS) as usize));
        }
        units
    }

    /// A healthy unit, of which nothing is known but what the node's labels say of all its GPUs.
    fn unit(&self, resource: Resource, cut: Cut, product: Option<Arc<Product>>) -> Unit {
        let unhealthy = String::new();
        let compute = self.number("gpu.compute.major").zip(self.number("gpu.compute.minor"));
        let compute = compute.and_then(|(major, minor)| Some((major.try_into().ok()?, minor.try_into().ok()?)));
        Unit { resource, cut, product, compute, memory: None, unhealthy, free: None, island: None, numa: None }
    }

    /// What a MIG instance is, which can be sliced in turn.
    fn instance(&self, profile: String) -> Cut {
        let whole = self.labels.product.as_deref().is_some_and(|p| p.ends_with("-SHARED"));
        if whole || self.number(&format!("mig-{profile}.replicas")).is_some_and(|n| n > 1) {
            return Cut::Slice;
        }
        Cut::Mig(profile)
    }
}

/// `8.0` as two numbers.
fn capability(text: &str) -> Option<Capability> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The memory in a profile's name, in the least that a GB can mean.
pub(super) fn named(profile: &str) -> Option<u64> {
    let gb = profile.split('.').find_map(|part| part.strip_suffix("gb"))?;
    gb.parse::<u64>().ok().filter(|gb| *gb < 1 << 20).map(|gb| gb * 1_000_000_000)
}

fn unhealthy(device: &GpuDevice) -> String {
    if device.healthy {
        return String::new();
    }
    format!("{}, {}", device.pci, incident(device.reason.as_deref().unwrap_or("Unhealthy"), device.since.as_deref()))
}
