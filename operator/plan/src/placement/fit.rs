//! Whether one node fits one demand, for how many pods, and if not, why.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Bar, Cut, Shape, Unit};
use super::product::Product;
use super::sources::named;
use super::why::Why;
use super::{Demand, Resource};

/// What a node can do for a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// What a pod is given: `A100-SXM4-80GB`, with `-SHARED` or `-MIG-3g.40gb` behind it where it is a part.
    pub unit: Arc<str>,
    /// GPUs, slices or instances that pods can be given.
    pub gpus: u32,
    /// Pods at once if nobody else were there.
    pub empty: u32,
    /// Pods at once beside what runs now, where that is known.
    pub now: Option<u32>,
    /// Of the pods at once, how many could have their GPUs on one NUMA node each, where those are known.
    pub one_numa: Option<u32>,
}

/// Judges a node. The device plugin hands out any of a resource's units, so all that are healthy must do.
pub(super) fn fit(shape: &Shape, demand: &Demand, resource: &Resource) -> Result<Fit, Why> {
    barred(shape, demand)?;
    let units: Vec<&(Unit, u32)> = shape.units.iter().filter(|(unit, _)| unit.resource == *resource).collect();
    let offered = shape.offers(resource);
    if units.is_empty() || offered == 0 {
        return Err(not_offered(shape, demand, resource));
    }
    let (healthy, ill): (Vec<_>, Vec<_>) = units.into_iter().partition(|(unit, _)| unit.unhealthy.is_empty());
    let Some((first, _)) = healthy.first() else {
        return Err(Why::AllUnhealthy(ill[0].0.unhealthy.clone()));
    };
    every_unit_will_do(&healthy, demand, offered)?;
    let has = total(&healthy);
    if offered > has && !ill.is_empty() {
        return Err(Why::Unhealthy(ill[0].0.unhealthy.clone()));
    }
    let gpus = offered.min(has);
    if gpus < demand.count {
        return Err(Why::Few { offered: gpus, needed: demand.count, unhealthy: total(&ill) });
    }
    // Units that exist and are not offered may be any.
    let withheld = has - gpus;
    let pods = |group: &dyn Fn(&Unit) -> u64, free_only: bool| {
        let counted = healthy.iter().filter(|(unit, _)| !free_only || unit.free == Some(true));
        groups_of(demand.count, counted.map(|(unit, n)| (group(unit), *n)), withheld)
    };
    let island = |unit: &Unit| unit.island.map_or(u64::MAX, u64::from);
    if demand.nvlink && healthy.iter().any(|(unit, _)| unit.island.is_none()) {
        return Err(Why::IslandsUnknown);
    }
    let together: &dyn Fn(&Unit) -> u64 = if demand.nvlink { &island } else { &|_| 0 };
    let empty = pods(together, false);
    if empty == 0 {
        let mut sizes = BTreeMap::<u64, u32>::new();
        healthy.iter().for_each(|(unit, n)| *sizes.entry(island(unit)).or_default() += n);
        let largest = sizes.into_values().max().unwrap_or(0).min(gpus);
        return Err(Why::Island { largest, needed: demand.count });
    }
    let now = healthy.iter().all(|(unit, _)| unit.free.is_some()).then(|| pods(together, true));
    let near = |unit: &Unit| together(unit) << 32 | unit.numa.map_or(0, u64::from);
    let one_numa = healthy.iter().all(|(unit, _)| unit.numa.is_some()).then(|| pods(&near, false));
    Ok(Fit { unit: handed_out(first, &healthy).into(), gpus, empty, now, one_numa })
}

fn barred(shape: &Shape, demand: &Demand) -> Result<(), Why> {
    if shape.units.is_empty() && shape.offered.is_empty() && shape.bar.as_ref().is_none_or(|b| !speaks(b)) {
        return Err(Why::NoGpus);
    }
    match &shape.bar {
        Some(Bar::Quarantined(why)) => return Err(Why::Quarantined(why.clone())),
        Some(Bar::Agent(message)) => return Err(Why::Agent(message.clone())),
        Some(Bar::NotReady) => return Err(Why::NotReady),
        Some(Bar::Cordoned) => return Err(Why::Cordoned),
        None => {}
    }
    let strange = shape.taints.iter().find(|taint| !demand.tolerations.iter().any(|t| t.covers(taint)));
    strange.map_or(Ok(()), |t| {
        let value = if t.value.is_empty() { String::new() } else { format!("={}", t.value) };
        Err(Why::Tainted(format!("{}{value}:{}", t.key, t.effect)))
    })
}

/// Whether a bar says more of a node without GPUs than that it has none.
fn speaks(bar: &Bar) -> bool {
    matches!(bar, Bar::Quarantined(_) | Bar::Agent(_))
}

/// Why a node hands out nothing under this name, from what it hands out under others.
fn not_offered(shape: &Shape, demand: &Demand, resource: &Resource) -> Why {
    let mut profiles: Vec<&str> = Vec::new();
    for (unit, _) in &shape.units {
        if let Cut::Mig(profile) = &unit.cut {
            profiles.push(profile);
        }
    }
    profiles.sort_unstable();
    profiles.dedup();
    let cut = profiles.join(", ");
    match &demand.mig {
        Some(needed) if profiles.is_empty() => Why::NotCut { needed: needed.clone() },
        Some(needed) if !profiles.contains(&needed.as_str()) => Why::OtherProfiles { has: cut, needed: needed.clone() },
        None if !profiles.is_empty() => Why::Cut { into: cut },
        None if !demand.shared && shape.offers(&Resource::Shared) > 0 => Why::Sliced,
        _ => Why::NotOffered(resource.clone()),
    }
}

fn every_unit_will_do(healthy: &[&(Unit, u32)], demand: &Demand, offered: u32) -> Result<(), Why> {
    let verdict = |unit: &Unit| will_do(unit, demand, offered);
    let Some(why) = healthy.iter().find_map(|(unit, _)| verdict(unit).err()) else {
        return Ok(());
    };
    let good = healthy.iter().find(|(unit, _)| verdict(unit).is_ok());
    let bad = healthy.iter().find(|(unit, _)| verdict(unit).is_err());
    match (good, bad) {
        (Some((good, _)), Some((bad, _))) => Err(Why::Mixed { good: name(good), bad: name(bad) }),
        _ => Err(why),
    }
}

fn will_do(unit: &Unit, demand: &Demand, offered: u32) -> Result<(), Why> {
    match (&unit.cut, &demand.mig) {
        (Cut::Mig(has), Some(needed)) if has == needed => {}
        (Cut::Mig(has), Some(needed)) => {
            return Err(Why::OtherProfiles { has: has.clone(), needed: needed.clone() });
        }
        (_, Some(needed)) => return Err(Why::NotCut { needed: needed.clone() }),
        (Cut::Mig(has), None) => return Err(Why::Cut { into: has.clone() }),
        (Cut::Slice, None) if !demand.shared => return Err(Why::Sliced),
        _ => {}
    }
    if !demand.products.is_empty() {
        let product = unit.product.as_ref().ok_or(Why::Unknown { offered })?;
        if !demand.products.iter().any(|wanted| product.is_a(wanted)) {
            let wanted: Vec<String> = demand.products.iter().map(Product::to_string).collect();
            return Err(Why::Product { has: name(unit), wanted: wanted.join(" or ") });
        }
    }
    if let (Some(has), Some(needed)) = (unit.compute, demand.compute)
        && has < needed
    {
        return Err(Why::Compute { what: name(unit), has, needed });
    }
    if demand.memory > 0 {
        let has = unit.memory.ok_or(Why::Unknown { offered })?;
        if !demand.enough(has) {
            return Err(Why::Memory { what: name(unit), has, needed: demand.memory });
        }
    }
    Ok(())
}

/// How many groups of `count` can be had, each from one of the `parts`, whichever `withheld` units are missing. Taking
/// units from the part that has fewest to spare costs a group soonest; the others then cost `count` each.
fn groups_of(count: u32, parts: impl Iterator<Item = (u64, u32)>, withheld: u32) -> u32 {
    let mut sizes = BTreeMap::<u64, u32>::new();
    parts.for_each(|(part, n)| *sizes.entry(part).or_default() += n);
    let mut groups: u32 = sizes.values().map(|n| n / count).sum();
    let mut spare: Vec<u32> = sizes.values().filter(|n| **n >= count).map(|n| n % count).collect();
    spare.sort_unstable();
    let mut left = withheld;
    for spare in spare {
        if left <= spare || groups == 0 {
            return groups;
        }
        left -= spare + 1;
        groups -= 1;
    }
    groups.saturating_sub(left / count)
}

fn total(units: &[&(Unit, u32)]) -> u32 {
    units.iter().map(|(_, n)| n).sum()
}

fn name(unit: &Unit) -> String {
    let product = unit.product.as_ref().map_or("GPU".to_owned(), |product| product.to_string());
    match &unit.cut {
        Cut::Whole => product,
        Cut::Slice => format!("{product}-SHARED"),
        Cut::Mig(profile) => format!("{product}-MIG-{profile}"),
    }
}

/// The bytes of what a pod is given, by its name ([`NodeFit::unit`](super::NodeFit::unit)): at least so many. `None` where the
/// name does not tell, as of a slice, whose GPU others use, too.
pub fn bytes_of(unit: &str) -> Option<u64> {
    match unit.split_once("-MIG-") {
        Some((_, profile)) => named(profile),
        None if unit.ends_with("-SHARED") => None,
        None => Product::parse(unit)?.memory_gb.map(|gb| u64::from(gb) * 1_000_000_000),
    }
}

fn handed_out(first: &Unit, healthy: &[&(Unit, u32)]) -> String {
    if healthy.iter().all(|(unit, _)| unit.product == first.product && unit.cut == first.cut) {
        return name(first);
    }
    let mut names: Vec<String> = healthy.iter().map(|(unit, _)| name(unit)).collect();
    names.sort_unstable();
    names.dedup();
    names.join(" or ")
}
