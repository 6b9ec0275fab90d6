//! Why a node does not fit, in a sentence that a person understands at night.

use std::fmt;

use super::{Capability, Resource};
use crate::text::sentence;

/// Why a node does not fit. The nearest to fitting comes first: that is where a person can do something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    Quarantined(String),
    Cordoned,
    NotReady,
    Tainted(String),
    Unhealthy(String),
    AllUnhealthy(String),
    Few { offered: u32, needed: u32, unhealthy: u32 },
    Island { largest: u32, needed: u32 },
    IslandsUnknown,
    Memory { what: String, has: u64, needed: u64 },
    Compute { what: String, has: Capability, needed: Capability },
    Mixed { good: String, bad: String },
    Sliced,
    Cut { into: String },
    NotCut { needed: String },
    OtherProfiles { has: String, needed: String },
    NotOffered(Resource),
    Product { has: String, wanted: String },
    Unknown { offered: u32 },
    Agent(String),
    NoGpus,
}

impl Why {
    /// Whether the scheduler keeps pods away by itself, for as long as it holds.
    pub fn is_known_to_the_scheduler(&self) -> bool {
        matches!(self, Self::Cordoned | Self::NotReady | Self::Tainted(_))
    }

    /// Whether it says something of the kind of GPU, and so of every node with GPUs of that kind.
    pub fn is_of_the_product(&self) -> bool {
        matches!(
            self,
            Self::Memory { .. }
                | Self::Compute { .. }
                | Self::Sliced
                | Self::Cut { .. }
                | Self::NotCut { .. }
                | Self::OtherProfiles { .. }
        )
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined(why) => write!(f, "quarantined, {why}"),
            Self::Cordoned => f.write_str("cordoned"),
            Self::NotReady => f.write_str("not ready"),
            Self::Tainted(taint) => write!(f, "tainted {taint}, which the pods do not tolerate"),
            Self::Unhealthy(which) => write!(f, "unhealthy GPU {which}, and the device plugin still offers it"),
            Self::AllUnhealthy(which) => write!(f, "no healthy GPU: {which}"),
            Self::Few { offered, needed, unhealthy } => {
                write!(f, "{offered} GPU{} for a pod that needs {needed}", if *offered == 1 { "" } else { "s" })?;
                if *unhealthy > 0 { write!(f, "; {unhealthy} more unhealthy") } else { Ok(()) }
            }
            Self::Island { largest: 1, needed } => write!(f, "NVLink joins none of its GPUs, {needed} joined needed"),
            Self::Island { largest, needed } => write!(f, "NVLink joins at most {largest} GPUs, {needed} needed"),
            Self::IslandsUnknown => f.write_str("nothing says which of its GPUs NVLink joins; the GPU agent would"),
            Self::Memory { what, has, needed } => write!(f, "{what} has {} GiB, {} needed", gib(*has), gib(*needed)),
            Self::Compute { what, has, needed } => {
                write!(f, "{what} has compute capability {}.{}, {}.{} needed", has.0, has.1, needed.0, needed.1)
            }
            Self::Mixed { good, bad } => write!(f, "has {bad} beside {good}, and a pod may be given either"),
            Self::Sliced => f.write_str("its GPUs are time-sliced, and `sharing: exclusive` needs one alone"),
            Self::Cut { into } => write!(f, "its GPUs are cut into MIG {into}, and whole ones are needed"),
            Self::NotCut { needed } => write!(f, "its GPUs are not cut into MIG instances, {needed} needed"),
            Self::OtherProfiles { has, needed } => write!(f, "its GPUs are cut into MIG {has}, {needed} needed"),
            Self::NotOffered(resource) => write!(f, "its device plugin offers no {resource}"),
            Self::Product { has, wanted } => write!(f, "has {has}, {wanted} wanted"),
            Self::Unknown { offered } => {
                write!(f, "{offered} GPUs of unknown product; the GPU agent or GPU Feature Discovery would tell")
            }
            Self::Agent(message) => f.write_str(message),
            Self::NoGpus => f.write_str("no GPUs"),
        }
    }
}

/// GiB with at most one digit behind the point.
pub(super) fn gib(bytes: u64) -> String {
    let text = format!("{:.1}", bytes as f64 / (1u64 << 30) as f64);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// `XID 79 at 10:12 on 2025-11-22`, from `Xid79` and `2025-11-22T10:12:33Z`.
pub(super) fn incident(reason: &str, since: Option<&str>) -> String {
    let reason = match reason.strip_prefix("Xid").map(|n| (n, n.parse::<u32>())) {
        Some((number, Ok(_))) => format!("XID {number}"),
        _ => plain(reason),
    };
    match since.and_then(split) {
        Some((day, time)) => format!("{reason} at {time} on {day}"),
        None => reason,
    }
}

/// `10:12 on 2025-11-22`, from `2025-11-22T10:12:33Z`; what is no time as it is.
pub(super) fn moment(since: &str) -> String {
    split(since).map_or_else(|| plain(since), |(day, time)| format!("{time} on {day}"))
}

fn split(time: &str) -> Option<(String, String)> {
    let (day, time) = time.split_once('T')?;
    Some((plain(day), plain(time.get(..5)?)))
}

/// Others' words in one short line.
pub(super) fn plain(text: &str) -> String {
    sentence(text, 160)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!((gib(70 << 30), gib(42_505_273_344)), ("70".into(), "39.6".into()));
        assert_eq!(incident("Xid79", Some("2025-11-22T10:12:33Z")), "XID 79 at 10:12 on 2025-11-22");
        assert_eq!(incident("Xidious", None), "Xidious");
        assert_eq!(incident("EccUncorrected", Some("lately")), "EccUncorrected");
        assert_eq!(incident("a\nb", Some("2025-11-22T1")), "a b");
        assert_eq!(moment("2025-11-22T10:12:33Z"), "10:12 on 2025-11-22");
        assert_eq!(moment("lately\n"), "lately");
    }
}
