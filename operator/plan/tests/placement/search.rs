//! What can be placed, found by trying everything. It knows the truth of [`world`](crate::world), not what the planner reads.

use realsyn_plan::placement::Capability;

use crate::world::{Cut, Item, Node, PRODUCTS};

/// Which pods count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Those that can be had, whichever items are handed out.
    All,
    /// Those of items that nobody holds.
    Free,
    /// Those whose items lie on one NUMA node.
    Near,
}

/// A demand, with the truth of what it accepts.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// As a person writes it.
    pub products: &'static [&'static str],
    /// What that accepts of [`PRODUCTS`](crate::world::PRODUCTS).
    pub accepts: &'static [usize],
    pub compute: Option<Capability>,
    pub gib: u64,
    pub count: usize,
    pub nvlink: bool,
    pub mig: Option<usize>,
    pub shared: bool,
    pub tolerates: bool,
}

/// Where an item is: its island, and its NUMA node where that matters.
type Place = (u64, Option<u32>);

impl Wanted {
    fn likes(&self, item: &Item) -> bool {
        let cut = match item.cut {
            Cut::Mig(profile) => self.mig == Some(profile),
            Cut::Slice => self.mig.is_none() && self.shared,
            Cut::Whole => self.mig.is_none(),
        };
        let product = self.products.is_empty() || item.product.is_some_and(|p| self.accepts.contains(&p));
        // MiB are compared with 95 hundredths of the GiB asked for.
        let memory = self.gib == 0 || item.mib.is_some_and(|mib| mib * 100 >= self.gib * 1024 * 95);
        let compute = self.compute.zip(item.product).is_none_or(|(needed, p)| PRODUCTS[p].4 >= needed);
        cut && product && memory && compute
    }

    /// Pods at once on a node, whichever items its device plugin withholds.
    pub fn pods(&self, node: &Node, resource: &str, counted: Counted) -> u32 {
        let barred = node.quarantined || !node.facts.ready || node.facts.unschedulable;
        let offered = node.offered.get(resource).copied().unwrap_or(0) as usize;
        let items: Vec<(usize, &Item)> =
            node.items.iter().enumerate().filter(|(_, i)| i.resource == resource).collect();
        let (healthy, ill): (Vec<_>, Vec<_>) = items.into_iter().partition(|(_, item)| item.healthy);
        if barred || (node.tainted() && !self.tolerates) || offered == 0 {
            return 0;
        }
        if healthy.iter().any(|(_, item)| !self.likes(item)) || (offered > healthy.len() && !ill.is_empty()) {
            return 0;
        }
        if self.nvlink && healthy.iter().any(|(_, item)| item.peers.is_none()) {
            return 0;
        }
        let island = |i: usize| reach(node, &healthy, i);
        let usable: Vec<Place> = healthy
            .iter()
            .filter(|(_, item)| counted != Counted::Free || item.free == Some(true))
            .map(|(i, item)| (island(*i), item.numa.filter(|_| counted == Counted::Near)))
            .collect();
        let withheld = healthy.len().saturating_sub(offered);
        if self.count == 1 {
            return usable.len().saturating_sub(withheld) as u32;
        }
        (0u32..1 << usable.len())
            .filter(|left_out| left_out.count_ones() as usize == withheld.min(usable.len()))
            .map(|left_out| {
                let left: Vec<Place> =
                    (0..usable.len()).filter(|i| left_out >> i & 1 == 0).map(|i| usable[i]).collect();
                self.most_groups(&left)
            })
            .min()
            .unwrap_or(0)
    }

    /// The most disjoint groups of `count` items, of one NUMA node each, and of one island if NVLink is asked for.
    fn most_groups(&self, places: &[Place]) -> u32 {
        let Some((first, rest)) = places.split_first() else { return 0 };
        let mut best = self.most_groups(rest);
        for others in 0u32..1 << rest.len() {
            if others.count_ones() as usize + 1 != self.count {
                continue;
            }
            let taken = |i: &usize| others >> i & 1 == 1;
            let apart = |(island, numa): Place| (self.nvlink && island != first.0) || numa != first.1;
            if (0..rest.len()).filter(taken).any(|i| apart(rest[i])) {
                continue;
            }
            let left: Vec<Place> = (0..rest.len()).filter(|i| !taken(i)).map(|i| rest[i]).collect();
            best = best.max(1 + self.most_groups(&left));
        }
        best
    }
}

/// The items that NVLink joins to this one through healthy items, as bits.
fn reach(node: &Node, healthy: &[(usize, &Item)], from: usize) -> u64 {
    let mut found = 1u64 << from;
    loop {
        let before = found;
        for (i, item) in healthy.iter().filter(|(i, _)| before >> i & 1 == 1) {
            let peers = item.peers.iter().flatten();
            peers.filter(|p| node.items[**p].healthy).for_each(|p| found |= 1 << p);
            found |= 1 << i;
        }
        if found == before {
            return found;
        }
    }
}
