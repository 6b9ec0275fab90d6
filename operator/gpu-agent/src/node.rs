//! What the agent remembers of its node, and the status that follows. Pure: time and facts come from outside.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{GpuDevice, GpuNodeStatus, MigInstance};
use realsyn_plan::placement::Product;

use crate::allocation::Allocation;
use crate::facts::{self, Driver, Facts, FarEnd, Trouble};
use crate::health::{Health, Reason};
use crate::links::peers;
use crate::summary::summary;

/// The index of a device that no look has found yet.
const UNKNOWN: u32 = u32::MAX;

/// How the node is judged.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A fault that was not seen for so long is over.
    pub clean: SignedDuration,
    /// An allocation counts when it has stayed the same for so long.
    pub hold: SignedDuration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { clean: SignedDuration::from_mins(10), hold: SignedDuration::from_secs(30) }
    }
}

/// A node with GPUs.
#[derive(Debug)]
pub struct Node {
    rules: Rules,
    previous: Option<GpuNodeStatus>,
    boot: Option<Timestamp>,
    // What the last look said of the driver.
    absent: Option<String>,
    trouble: Option<String>,
    load: Option<u64>,
    version: Option<String>,
    cuda: Option<String>,
    since: Option<Timestamp>,
    stuck: Option<String>,
    devices: Vec<Tracked>,
    unnamed: Vec<u32>,
    allocation: Allocation,
}

/// A device, with what was ever read of it under this driver.
#[derive(Debug, Default)]
struct Tracked {
    known: facts::Device,
    health: Health,
}

impl Node {
    /// A node of which nothing has been seen. `previous` is what an earlier agent wrote, and `boot` when the machine started.
    pub fn new(rules: Rules, previous: Option<GpuNodeStatus>, boot: Option<Timestamp>) -> Self {
        Self {
            rules,
            previous,
            boot,
            absent: None,
            trouble: Some("nobody has looked at the driver yet".to_owned()),
            load: None,
            version: None,
            cuda: None,
            since: None,
            stuck: None,
            devices: Vec::new(),
            unnamed: Vec::new(),
            allocation: Allocation::new(rules.hold),
        }
    }

    /// A look at the driver.
    pub fn look(&mut self, facts: &Facts, now: Timestamp) {
        if let Some(call) = self.stuck.take() {
            // It hung until now: the quiet time begins here.
            self.hung(&call, now);
        }
        self.trouble = facts.trouble.clone();
        match &facts.driver {
            Driver::Absent(why) => {
                self.absent = Some(why.clone());
                // The next driver is another load than the one that an earlier agent saw.
                self.previous = None;
                self.devices.clear();
                self.unnamed.clear();
            }
            Driver::Present { load, version, cuda } => {
                self.absent = None;
                self.version = version.clone().or_else(|| self.version.take());
                self.cuda = cuda.clone().or_else(|| self.cuda.take());
                if self.load.replace(*load) != Some(*load) {
                    (self.version, self.cuda) = (version.clone(), cuda.clone());
                    self.loaded(now);
                }
            }
        }
        if let Some(seen) = &facts.devices {
            self.match_devices(seen, now);
        }
        self.tick(now);
    }

    /// Time passes.
    pub fn tick(&mut self, now: Timestamp) {
        for device in &mut self.devices {
            device.health.clean(self.rules.clean, now);
        }
    }

    /// An XID of the device at an index.
    pub fn xid(&mut self, index: u32, number: u64, now: Timestamp) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.known.index == index) {
            device.health.xid(number, now);
        }
    }

    /// A call into the driver does not return. Until it does nothing is known of the devices, and no work can be trusted to them.
    pub fn stuck(&mut self, call: &str, since: Timestamp, now: Timestamp) {
        if self.load.is_none() && self.devices.is_empty() {
            // The driver hung before this agent saw it, most likely since the one before.
            self.resume(now);
        }
        let why = format!("{call} has not returned since {since:.0}");
        self.hung(&why, now);
        self.stuck = Some(why);
    }

    fn hung(&mut self, why: &str, now: Timestamp) {
        self.devices.iter_mut().for_each(|device| device.health.fault(Reason::DriverHung, why, now));
    }

    /// What kubelet says of allocated devices, if it says anything.
    pub fn allocated(&mut self, ids: Option<BTreeSet<String>>, now: Timestamp) {
        self.allocation.tell(ids, now);
    }

    /// The UUID and product of the device at an index.
    pub fn label(&self, index: u32) -> Option<(String, String)> {
        let device = self.devices.iter().find(|device| device.known.index == index)?;
        Some((device.known.uuid.clone()?, product(&device.known)))
    }

    /// Another load of the driver. What an earlier agent wrote of the same load still holds.
    fn loaded(&mut self, now: Timestamp) {
        self.devices.clear();
        self.since = Some(now);
        if self.previous.as_ref().is_some_and(|previous| previous.driver == self.version) {
            self.resume(now);
        }
        self.previous = None;
    }

    /// Takes over what an earlier agent wrote of the driver since the machine started.
    fn resume(&mut self, now: Timestamp) {
        let Some(previous) = &self.previous else { return };
        let since = previous.driver_since.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let before_boot = self.boot.is_some_and(|boot| since.is_none_or(|since| since < boot));
        if previous.driver.is_none() || before_boot {
            return;
        }
        (self.version, self.cuda) = (previous.driver.clone(), self.cuda.take().or(previous.cuda.clone()));
        self.since = since.or(Some(now));
        self.devices = previous.devices.iter().cloned().map(|device| Tracked::resumed(device, now)).collect();
    }

    fn match_devices(&mut self, seen: &[facts::Device], now: Timestamp) {
        let mut found = vec![false; self.devices.len()];
        let mut refused: BTreeMap<u32, &facts::Device> = BTreeMap::new();
        self.unnamed.clear();
        for device in seen {
            if device.uuid.is_none() && device.pci.is_none() && device.trouble.is_some() {
                refused.insert(device.index, device);
                continue;
            }
            let place = self.place(device, &found);
            match place {
                Some(place) => {
                    found[place] = true;
                    self.devices[place].merge(device, now);
                }
                None if device.uuid.is_none() && device.pci.is_none() => self.unnamed.push(device.index),
                None => {
                    found.push(true);
                    let mut new = Tracked::default();
                    new.merge(device, now);
                    self.devices.push(new);
                }
            }
        }
        // Whoever was there before and is not now is lost, unless the call with its index says something else.
        for (device, _) in self.devices.iter_mut().zip(&found).filter(|(_, found)| !**found) {
            let index = device.known.index;
            // Of a device that an earlier agent saw, the index is not known.
            let key = if index == UNKNOWN { refused.keys().next().copied() } else { Some(index) };
            let trouble = key.and_then(|key| refused.remove(&key)).and_then(|refused| refused.trouble.clone());
            let gone = facts::Device { trouble: trouble.or(Some(Trouble::Lost)), ..facts::Device::default() };
            device.health.look(&gone, now);
            // Another one may have its index by now.
            if seen.iter().any(|seen| seen.index == index && seen.trouble.is_none()) {
                device.known.index = UNKNOWN;
            }
        }
        self.unnamed.extend(refused.keys());
        self.devices.sort_by(|a, b| a.known.pci.cmp(&b.known.pci));
    }

    /// Which of the known devices this is: by its UUID, else by its address, else by its index.
    fn place(&self, device: &facts::Device, found: &[bool]) -> Option<usize> {
        let by = |same: &dyn Fn(&facts::Device) -> bool| {
            self.devices.iter().zip(found).position(|(tracked, found)| !found && same(&tracked.known))
        };
        match (&device.uuid, &device.pci) {
            (Some(_), _) => by(&|known| known.uuid == device.uuid)
                .or_else(|| by(&|known| known.uuid.is_none() && known.pci.is_some() && known.pci == device.pci)),
            (None, Some(_)) => by(&|known| known.pci == device.pci),
            (None, None) => by(&|known| known.index == device.index),
        }
    }

    /// The status, without the time of its change.
    pub fn status(&self) -> GpuNodeStatus {
        if let Some(why) = &self.absent {
            return GpuNodeStatus { message: Some(why.clone()), ..GpuNodeStatus::default() };
        }
        let links = self
            .devices
            .iter()
            .filter_map(|device| Some((device.known.pci.clone()?, device.known.links.clone().unwrap_or_default())));
        let peers = peers(&links.collect::<BTreeMap<String, Vec<FarEnd>>>());
        let devices: Vec<GpuDevice> =
            self.devices.iter().map(|device| device.status(&peers, &self.allocation)).collect();
        GpuNodeStatus {
            driver: self.version.clone(),
            driver_since: self.since.map(|since| since.to_string()),
            cuda: self.cuda.clone(),
            message: self.stuck.clone().or_else(|| self.trouble.clone()).or_else(|| self.unnamed_message()),
            summary: summary(&devices),
            allocation_unknown: !devices.is_empty() && !self.allocation.is_known(),
            devices,
            changed_at: None,
        }
    }

    fn unnamed_message(&self) -> Option<String> {
        let unnamed: Vec<String> = self.unnamed.iter().map(u32::to_string).collect();
        let which = unnamed.join(", ");
        (!unnamed.is_empty())
            .then(|| format!("the driver counts more devices than it tells of: those with index {which}"))
    }
}

impl Tracked {
    /// What was read now stands; what was not, as it was.
    fn merge(&mut self, new: &facts::Device, now: Timestamp) {
        fn keep<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
            if new.is_some() {
                old.clone_from(new);
            }
        }
        let known = &mut self.known;
        known.index = new.index;
        keep(&mut known.uuid, &new.uuid);
        keep(&mut known.pci, &new.pci);
        keep(&mut known.name, &new.name);
        keep(&mut known.compute, &new.compute);
        keep(&mut known.numa, &new.numa);
        keep(&mut known.memory, &new.memory);
        keep(&mut known.mig, &new.mig);
        keep(&mut known.instances, &new.instances);
        keep(&mut known.links, &new.links);
        self.health.look(new, now);
    }

    fn resumed(device: GpuDevice, now: Timestamp) -> Self {
        let mut health = Health::default();
        if let Some(word) = device.reason.filter(|_| !device.healthy) {
            let since = device.since.and_then(|text| text.parse().ok()).unwrap_or(now);
            health.resume(&word, device.message.unwrap_or_default(), since, now);
        }
        let some = |text: String| (!text.is_empty()).then_some(text);
        let instance = |i: MigInstance| facts::Instance { uuid: i.uuid, profile: i.profile, memory: i.memory };
        let known = facts::Device {
            index: UNKNOWN,
            uuid: some(device.uuid),
            pci: some(device.pci),
            name: some(device.product),
            compute: some(device.compute),
            numa: device.numa,
            memory: (device.memory > 0).then_some(device.memory),
            mig: Some(device.mig),
            instances: Some(device.instances.into_iter().map(instance).collect()),
            links: Some(device.nvlink.into_iter().map(FarEnd::At).collect()),
            ..facts::Device::default()
        };
        Self { known, health }
    }

    fn status(&self, peers: &BTreeMap<String, Vec<String>>, allocation: &Allocation) -> GpuDevice {
        let product = product(&self.known);
        let known = self.known.clone();
        let mig = known.mig.unwrap_or(false);
        let instances = known.instances.filter(|_| mig).unwrap_or_default();
        let instances = instances.into_iter().map(|instance| MigInstance {
            allocated: allocation.holds(&instance.uuid),
            uuid: instance.uuid,
            profile: instance.profile,
            memory: instance.memory,
        });
        let instances: Vec<MigInstance> = instances.collect();
        let uuid = known.uuid.unwrap_or_default();
        let pci = known.pci.unwrap_or_default();
        let worst = self.health.worst();
        GpuDevice {
            product,
            memory: known.memory.unwrap_or(0),
            compute: known.compute.unwrap_or_default(),
            numa: known.numa,
            nvlink: peers.get(&pci).cloned().unwrap_or_default(),
            mig,
            healthy: worst.is_none(),
            reason: worst.map(|(reason, _)| reason.word()),
            message: worst.map(|(_, fault)| fault.message.clone()),
            since: worst.map(|(_, fault)| fault.since.to_string()),
            allocated: allocation.holds(&uuid) || instances.iter().any(|instance| instance.allocated),
            instances,
            uuid,
            pci,
        }
    }
}

/// A device's product as placement reads it, `A100-SXM4-80GB`; what the driver calls it, where that says nothing.
fn product(known: &facts::Device) -> String {
    let name = known.name.as_deref().unwrap_or_default();
    Product::of_device(name, known.memory.unwrap_or(0)).map_or_else(|| name.trim().to_owned(), |p| p.to_string())
}

/// The status to write, if anything in it has changed since the last one.
pub fn change(last: Option<&GpuNodeStatus>, mut new: GpuNodeStatus, now: Timestamp) -> Option<GpuNodeStatus> {
    new.changed_at = last.and_then(|last| last.changed_at.clone());
    if last == Some(&new) {
        return None;
    }
    new.changed_at = Some(now.to_string());
    Some(new)
}
