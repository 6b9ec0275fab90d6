//! Hours and cost of the stages that a plan has ahead, from what the pod that reads the store measured.

use std::collections::BTreeMap;

use realsyn_crds::Stage;
use realsyn_objects::text::sentence;
use realsyn_plan::StepId;
use realsyn_plan::placement::{Ahead, Finish, Placement, Rates};
use realsyn_plan::report::step_named;

use crate::format::exact;

/// Before what was measured, on a line of its own; the worker writes it.
const MEASURED: &[u8] = b"realsyn-measured: ";
/// What asks the worker for that line.
pub const SWITCH: &str = "REALSYN_PLAN_MEASURED";
/// Nobody measures more.
const LONGEST: usize = 1 << 20;
/// Products whose rates are shown of a stage.
const SHOWN: usize = 4;

/// Takes the line with what was measured out of what a pod prints.
#[derive(Debug, Default)]
pub struct Measured {
    /// The line that has begun.
    line: Vec<u8>,
    found: Vec<u8>,
}

impl Measured {
    /// More of what the pod prints: whole lines go on to `sink`.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn take(&mut self, text: &[u8], sink: &mut impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") || self.line.len() > LONGEST {
                self.end(sink)?;
            }
        }
        Ok(())
    }

    /// The pod prints no more.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn end(&mut self, sink: &mut impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        match line.strip_prefix(MEASURED) {
            Some(measured) => self.found = measured.to_vec(),
            None if line.is_empty() => {}
            None => sink(&line)?,
        }
        Ok(())
    }

    /// What is ahead; `None` if the worker is older than this.
    pub fn ahead(&self) -> Option<Vec<Ahead>> {
        serde_json::from_slice(&self.found).ok()
    }
}

/// What is expected of the stages ahead.
#[derive(Debug, Default)]
pub struct Forecast {
    rates: Rates,
    /// Whether the worker told what is ahead.
    told: bool,
    /// Steps by stage, with the shards that are left of them, where that is known.
    ahead: BTreeMap<Stage, Vec<(StepId, Option<u64>)>>,
}

/// What is expected of one stage.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// It is sealed.
    Nothing,
    /// It was not measured on every GPU that it fits, or nobody knows yet how much there is to do.
    Unknown,
    /// So much.
    Known(Finish),
}

impl Forecast {
    /// From what a pod measured, if it did, and prices of a GPU-hour.
    pub fn new(ahead: Option<&[Ahead]>, prices: &BTreeMap<String, f64>) -> Self {
        let mut forecast = Self { told: ahead.is_some(), ..Self::default() };
        forecast.rates.prices = prices.clone();
        for step in ahead.unwrap_or_default() {
            let Some(id) = step_named(&step.step).map(|step| step.id) else { continue };
            forecast.ahead.entry(id.stage).or_default().push((id, step.shards));
            for (product, spent) in &step.gpus {
                forecast.rates.spent.insert((id, sentence(product, 63)), *spent);
            }
        }
        forecast
    }

    /// What is expected of a stage where it fits.
    pub fn of(&self, stage: Stage, placement: &Placement) -> Expected {
        if !self.told {
            return Expected::Unknown;
        }
        let Some(steps) = self.ahead.get(&stage) else { return Expected::Nothing };
        let steps: Option<Vec<(StepId, u64)>> = steps.iter().map(|(id, shards)| Some((*id, (*shards)?))).collect();
        let finish = steps.and_then(|steps| self.rates.finish(placement, &steps));
        finish.map_or(Expected::Unknown, Expected::Known)
    }

    /// What an hour of a GPU costs where a placement says, if that is known.
    pub fn price(&self, placement: &Placement) -> Option<f64> {
        self.rates.price_where(placement)
    }

    /// What was measured at a stage that has one step, in words.
    pub fn rates(&self, stage: Stage) -> Vec<String> {
        let Some([(step, _)]) = self.ahead.get(&stage).map(Vec::as_slice) else { return Vec::new() };
        let of_step = self.rates.spent.iter().filter(|((id, _), _)| id == step);
        let rates = of_step.filter_map(|((_, product), spent)| {
            let rate = spent.records_per_second()?;
            let rate = if rate < 10.0 { format!("{rate:.2}") } else { exact(rate.round() as u64) };
            Some(format!("{rate} records a second were measured on each {product}"))
        });
        rates.take(SHOWN).collect()
    }
}

impl Expected {
    /// Hours, GPU-hours and cost.
    pub fn columns(&self) -> String {
        let (hours, gpu_hours, cost) = match self {
            Self::Nothing => (String::new(), String::new(), String::new()),
            Self::Unknown => ("–".to_owned(), "–".to_owned(), "–".to_owned()),
            Self::Known(finish) => {
                let cost = finish.cost.map_or_else(|| "–".to_owned(), |cost| format!("{cost:.2}"));
                (short(finish.hours), short(finish.gpu_hours), cost)
            }
        };
        format!("{hours:>7} {gpu_hours:>7} {cost:>9}")
    }
}

fn short(hours: f64) -> String {
    if hours > 0.0 && hours < 0.1 { "<0.1".to_owned() } else { format!("{hours:.1}") }
}

/// What is expected of all stages.
#[derive(Debug, Default)]
pub struct Sum {
    gpu_hours: f64,
    cost: f64,
    known: bool,
    /// Stages of which nothing is known, and stages whose cost is not.
    unknown: usize,
    unpriced: usize,
}

impl Sum {
    /// Adds a stage.
    pub fn add(&mut self, expected: &Expected) {
        match expected {
            Expected::Nothing => {}
            Expected::Unknown => self.unknown += 1,
            Expected::Known(finish) => {
                self.known = true;
                self.gpu_hours += finish.gpu_hours;
                match finish.cost {
                    Some(cost) => self.cost += cost,
                    None => self.unpriced += 1,
                }
            }
        }
    }

    /// GPU-hours of the stages of which they are known; `None` if of none.
    pub fn gpu_hours(&self) -> Option<f64> {
        self.known.then_some(self.gpu_hours)
    }

    /// What they cost; `None` unless every price is known.
    pub fn cost(&self) -> Option<f64> {
        (self.known && self.unpriced == 0).then_some(self.cost)
    }

    /// Stages of which nothing is known.
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        const ONLY: &str = "Hours and cost are told only of what was measured with the same settings.";
        if !self.known {
            return if self.unknown == 0 { "Nothing of it is left to run.".to_owned() } else { ONLY.to_owned() };
        }
        let hours = short(self.gpu_hours);
        let cost = if self.unpriced == 0 { format!(", which cost {:.2}", self.cost) } else { String::new() };
        let rest = if self.unknown == 0 { String::new() } else { format!(" {ONLY}") };
        format!("Together {hours} GPU-hours{cost}.{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_taken_out_wherever_the_log_is_cut() {
        let printed = b"stage\nrealsyn-measured: [{\"step\":\"caption/caption\",\"shards\":3}]\nrest";
        for cut in 0..printed.len() {
            let (mut measured, mut seen) = (Measured::default(), Vec::new());
            let mut sink = |text: &[u8]| {
                seen.extend_from_slice(text);
                Ok(())
            };
            measured.take(&printed[..cut], &mut sink).unwrap();
            measured.take(&printed[cut..], &mut sink).unwrap();
            measured.end(&mut sink).unwrap();
            assert_eq!(seen, b"stage\nrest");
            let ahead = measured.ahead().unwrap();
            assert_eq!((ahead.len(), ahead[0].shards), (1, Some(3)), "cut at {cut}");
        }
        assert!(Measured::default().ahead().is_none(), "an older worker measures nothing");
        let strange = Ahead { step: "../x".to_owned(), shards: Some(1), gpus: BTreeMap::new() };
        assert!(Forecast::new(Some(&[strange]), &BTreeMap::new()).ahead.is_empty());
    }
}
