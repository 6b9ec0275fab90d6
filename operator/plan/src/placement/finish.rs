//! When a stage will be done and what it will cost, by rates that were measured. Nothing is guessed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Placement, Product};
use crate::StepId;
use crate::records::Spent;

/// Of a step that is to run: what is left of it, and what was measured of it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// The step, as `stage/step`.
    pub step: String,
    /// Shards that are to run, where that is known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
    /// By product: what shards took that were made with the same settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpus: BTreeMap<String, Spent>,
}

/// What was measured, and what GPUs cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// What shards took, by step and by what the pods were given ([`NodeFit::unit`](super::NodeFit::unit)).
    pub spent: BTreeMap<(StepId, String), Spent>,
    /// Cost of a GPU-hour, by product, as much of its name as one cares to write.
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
    /// When so many shards of steps, one after the other, will be done where a placement says; `None` unless every product
    /// that it may use was measured at each of them. Pods are taken to be spread over products as the GPUs are, because
    /// the scheduler picks, and shards to be like those before.
    pub fn finish(&self, placement: &Placement, steps: &[(StepId, u64)]) -> Option<Finish> {
        let pods_by_unit = pods_by_unit(placement);
        let all: u32 = pods_by_unit.values().sum();
        if all == 0 || placement.at_once == 0 || steps.is_empty() {
            return None;
        }
        let count = f64::from(placement.allocation.amount);
        let mut finish = Finish { hours: 0.0, gpu_hours: 0.0, cost: Some(0.0) };
        for (step, shards) in steps {
            // No more pods than shards have work.
            let pods_at_once = f64::from(placement.at_once).min(*shards as f64);
            let (mut per_second, mut per_hour) = (0.0, Some(0.0));
            for (unit, pods) in &pods_by_unit {
                let gpus = f64::from(*pods) / f64::from(all) * pods_at_once * count;
                let rate = self.spent.get(&(*step, (*unit).to_owned())).and_then(Spent::shards_per_second)?;
                per_second += gpus * rate;
                per_hour = per_hour.zip(self.price(unit)).map(|(sum, price)| sum + gpus * price);
            }
            let hours = if *shards == 0 { 0.0 } else { *shards as f64 / per_second / 3600.0 };
            finish.hours += hours;
            finish.gpu_hours += hours * pods_at_once * count;
            finish.cost = finish.cost.zip(per_hour).map(|(sum, per_hour)| sum + per_hour * hours);
        }
        Some(finish)
    }

    /// What an hour of a GPU costs where a placement says, with pods spread as [`finish`](Self::finish) takes them to be;
    /// `None` unless the price of every product is known, and where nothing fits.
    pub fn price_where(&self, placement: &Placement) -> Option<f64> {
        let pods_by_unit = pods_by_unit(placement);
        let all: u32 = pods_by_unit.values().sum();
        let mut mean = (all > 0).then_some(0.0);
        for (unit, pods) in pods_by_unit {
            mean = mean.zip(self.price(unit)).map(|(mean, price)| mean + price * f64::from(pods) / f64::from(all));
        }
        mean
    }

    /// The price of a GPU-hour: that of exactly this name, else that of whole GPUs which says most of it. A part of a GPU has
    /// a price of its own or none.
    pub fn price(&self, unit: &str) -> Option<f64> {
        if let Some(price) = self.prices.get(unit) {
            return Some(*price);
        }
        if unit.contains("-MIG-") || unit.ends_with("-SHARED") {
            return None;
        }
        let product = Product::parse(unit)?;
        let said = |wanted: &Product| u8::from(wanted.form_factor.is_some()) + u8::from(wanted.memory_gb.is_some());
        let named = self.prices.iter().filter_map(|(name, price)| Some((Product::parse(name)?, *price)));
        let fitting = named.filter(|(wanted, _)| product.is_a(wanted));
        fitting.max_by_key(|(wanted, _)| said(wanted)).map(|(_, price)| price)
    }
}

/// Pods that fit at once, by what each is given.
fn pods_by_unit(placement: &Placement) -> BTreeMap<&str, u32> {
    let mut pods = BTreeMap::<&str, u32>::new();
    for node in &placement.nodes {
        *pods.entry(&*node.unit).or_default() += node.empty;
    }
    pods
}

impl Spent {
    /// Shards in a second of one GPU; `None` where too little was measured to tell.
    pub fn shards_per_second(&self) -> Option<f64> {
        (self.gpu_millis > 0 && self.shards > 0).then(|| self.shards as f64 * 1000.0 / self.gpu_millis as f64)
    }

    /// Records in a second of one GPU, where the step counts them.
    pub fn records_per_second(&self) -> Option<f64> {
        (self.gpu_millis > 0 && self.records > 0).then(|| self.records as f64 * 1000.0 / self.gpu_millis as f64)
    }
}
