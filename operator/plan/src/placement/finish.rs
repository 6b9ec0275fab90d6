//! When a stage will be done, by rates that were measured. Nothing is guessed.

use std::collections::BTreeMap;

use realsyn_crds::Stage;

use super::Placement;

/// What was measured, and what GPUs cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Shards per GPU-second, by stage and by what the pods were given ([`NodeFit::unit`](super::NodeFit::unit)).
    pub shards: BTreeMap<(Stage, String), f64>,
    /// Cost of a GPU-hour, by the same.
    pub prices: BTreeMap<String, f64>,
}

/// What is expected of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finish {
    /// Hours from now, if it had all the GPUs that it fits on.
    pub hours: f64,
    /// GPUs times hours.
    pub gpu_hours: f64,
    /// What they cost; `None` unless the price of every product is known.
    pub cost: Option<f64>,
}

impl Rates {
    /// When so many shards will be done where a placement says; `None` unless every product that it may use was measured
    /// at this stage. Pods are taken to be spread over products as the GPUs are, because the scheduler picks.
    pub fn finish(&self, placement: &Placement, stage: Stage, shards: u64) -> Option<Finish> {
        let mut pods_by_unit = BTreeMap::<&str, u32>::new();
        for node in &placement.nodes {
            *pods_by_unit.entry(&*node.unit).or_default() += node.empty;
        }
        let all: u32 = pods_by_unit.values().sum();
        if all == 0 || placement.at_once == 0 {
            return None;
        }
        let count = f64::from(placement.allocation.amount);
        let (mut per_second, mut per_hour) = (0.0, Some(0.0));
        for (unit, pods) in pods_by_unit {
            let gpus = f64::from(pods) / f64::from(all) * f64::from(placement.at_once) * count;
            let rate = self.shards.get(&(stage, unit.to_owned())).filter(|rate| **rate > 0.0)?;
            per_second += gpus * rate;
            per_hour = per_hour.zip(self.prices.get(unit)).map(|(sum, price)| sum + gpus * price);
        }
        let hours = shards as f64 / per_second / 3600.0;
        let gpu_hours = hours * f64::from(placement.at_once) * count;
        Some(Finish { hours, gpu_hours, cost: per_hour.map(|c| c * hours) })
    }
}
