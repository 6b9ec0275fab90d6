//! What the GPUs of a build have cost, and what is expected of what is left: the same arithmetic as that of `plan`.

use anyhow::{Context, Result, bail};
use kube::api::DynamicObject;
use realsyn_objects::kinds::Kind;
use realsyn_objects::plan::Plan;
use serde::Serialize;

use super::forecast::{Forecast, Measured, SWITCH};
use super::placement::Places;
use super::prices::prices;
use crate::args::StatusArgs;
use crate::cluster::Cluster;
use crate::status::StageLine;
use crate::store::{Store, must_tell};

/// What GPUs have cost and will.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spending {
    /// The cost of the GPU-hours so far; `None` unless the price is known of everything that they may have been spent on.
    pub cost: Option<f64>,
    /// What is to come, if the store was asked.
    pub to_come: Option<ToCome>,
}

/// What the stages that are left will take.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToCome {
    /// Of the stages of which it is known; `None` if of none.
    pub gpu_hours: Option<f64>,
    /// What they cost; `None` unless every price is known.
    pub cost: Option<f64>,
    /// Stages of which nothing is known: they were not measured with the same settings, or it is not known how much they have
    /// to do.
    pub unknown_stages: usize,
}

/// Asks for prices, for the nodes and, with `--forecast`, for what was measured.
///
/// # Errors
/// With `--forecast`: a release, which holds no GPUs, and a pod that does not tell.
pub async fn spending(
    cluster: &Cluster,
    kind: Kind,
    object: &DynamicObject,
    stages: &[StageLine],
    args: &StatusArgs,
) -> Result<Option<Spending>> {
    if kind == Kind::Release {
        return match args.forecast {
            true => bail!("a release holds no GPUs; ask for the forecast of its build"),
            false => Ok(None),
        };
    }
    if !args.forecast && stages.iter().all(|stage| stage.gpu_seconds == 0) {
        return Ok(None);
    }
    let prices = prices(cluster, &args.gpus.prices).await;
    if !args.forecast && prices.is_empty() {
        return Ok(None);
    }
    let spec = serde_json::from_value(object.data["spec"].clone()).context("the build's spec cannot be read")?;
    let places = Places::of(cluster, &Plan::of_build(&spec), args.gpus.agents.as_deref()).await;
    let ahead = if args.forecast { ahead(cluster, object, args).await? } else { None };
    let forecast = Forecast::new(ahead.as_deref(), &prices);
    Ok(Some(Spending {
        cost: cost(stages, &places, &forecast),
        to_come: args.forecast.then(|| {
            let sum = places.sum(&forecast);
            ToCome { gpu_hours: sum.gpu_hours(), cost: sum.cost(), unknown_stages: sum.unknown() }
        }),
    }))
}

/// The GPU-hours so far, at the prices of where each stage fits.
fn cost(stages: &[StageLine], places: &Places, forecast: &Forecast) -> Option<f64> {
    let held = stages.iter().filter(|stage| stage.gpu_seconds > 0);
    let each = held.map(|stage| {
        let price = forecast.price(places.placement(stage.name)?)?;
        Some(stage.gpu_seconds as f64 / 3600.0 * price)
    });
    each.sum()
}

/// What the store says of the steps that are left, by a pod.
async fn ahead(
    cluster: &Cluster,
    build: &DynamicObject,
    args: &StatusArgs,
) -> Result<Option<Vec<realsyn_plan::placement::Ahead>>> {
    let store = Store { switch: Some(SWITCH), ..Store::of_build(cluster, build, &args.pod).await? };
    let mut measured = Measured::default();
    // The plan itself is not asked for.
    let mut nobody = |_: &[u8]| Ok(());
    let ended = store.run("plan", &["plan".to_owned()], &mut |text| measured.take(text, &mut nobody)).await?;
    measured.end(&mut nobody)?;
    must_tell(&ended)?;
    if ended.code != 0 {
        bail!("the pod that was to read the store ended with {}: {}", ended.code, ended.message);
    }
    Ok(measured.ahead())
}

impl Spending {
    /// Behind the GPU-hours so far: `, 31.5 to come`.
    pub fn hours(&self) -> String {
        let Some(to_come) = &self.to_come else { return String::new() };
        match (to_come.gpu_hours, to_come.unknown_stages) {
            (Some(hours), 0) => format!(", {hours:.1} to come"),
            (None, 0) => ", none to come".to_owned(),
            (hours, unknown) => {
                let known = hours.map_or_else(String::new, |hours| format!(", {hours:.1} to come"));
                let s = if unknown == 1 { "" } else { "s" };
                format!("{known}, unknown of {unknown} stage{s} to come")
            }
        }
    }

    /// What they cost: `35.50 so far, 78.75 to come`. Nothing, of what has cost nothing.
    pub fn costs(&self) -> Option<String> {
        let said =
            |cost: Option<f64>, when: &str| cost.filter(|cost| *cost > 0.0).map(|cost| format!("{cost:.2} {when}"));
        let to_come = self.to_come.as_ref().and_then(|to_come| to_come.cost);
        let parts: Vec<String> = [said(self.cost, "so far"), said(to_come, "to come")].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_come_is_told_as_far_as_it_is_known() {
        let of = |gpu_hours, cost, unknown_stages| Spending {
            cost: Some(35.5),
            to_come: Some(ToCome { gpu_hours, cost, unknown_stages }),
        };
        assert_eq!(of(Some(31.46), Some(78.75), 0).hours(), ", 31.5 to come");
        assert_eq!(of(Some(31.46), Some(78.75), 0).costs().unwrap(), "35.50 so far, 78.75 to come");
        let partly = of(Some(31.46), None, 2);
        assert_eq!(partly.hours(), ", 31.5 to come, unknown of 2 stages to come");
        assert_eq!(partly.costs().unwrap(), "35.50 so far");
        assert_eq!(of(None, None, 0).hours(), ", none to come");
        assert_eq!(of(None, None, 1).hours(), ", unknown of 1 stage to come");
        let at_first = Spending { cost: Some(0.0), ..of(Some(31.46), Some(78.75), 0) };
        assert_eq!(at_first.costs().unwrap(), "78.75 to come");
        assert_eq!(Spending { cost: Some(0.0), to_come: None }.costs(), None);
        assert_eq!((Spending::default().hours(), Spending::default().costs()), (String::new(), None));
    }
}
