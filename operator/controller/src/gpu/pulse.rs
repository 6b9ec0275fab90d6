//! Which agents are silent. Pure: time and Leases come from outside.
//!
//! Clocks of two machines are not compared: what counts is when a Lease was last seen to change by our own clock. Only
//! crossing a threshold is news, so thousands of renewals cause nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use realsyn_objects::nodes::DEAD_AFTER;

/// An agent whose Lease does not change for so long is silent: three renewals, and the time in which an agent that ends
/// is started anew, by an update or after a fault.
const SILENT_AFTER: Duration = Duration::from_secs(90);
/// A silent agent is heard again once it has renewed for so long: one that dies again and again at its start is not.
const HEARD_AFTER: Duration = Duration::from_secs(30);
/// Between two readings so far apart some failed.
const MISSED: Duration = Duration::from_secs(50);

/// What was seen of the agents' Leases: a few words for each node.
#[derive(Debug, Default)]
pub struct Pulses {
    agents: BTreeMap<String, Pulse>,
    read: Option<Instant>,
}

#[derive(Debug)]
struct Pulse {
    /// What the Lease said when it changed last, and when that was.
    renewed: Option<Timestamp>,
    at: Instant,
    silent: Option<Silent>,
}

#[derive(Debug)]
struct Silent {
    since: Timestamp,
    /// When it was heard for the first time since then, if it was.
    heard: Option<Instant>,
}

impl Pulses {
    /// All Leases of agents as they were just read: nodes, and when each was renewed by its own clock. Tells which agents
    /// fell silent or are heard again. A reading that failed must not be told: it says nothing of any agent.
    pub fn read(
        &mut self,
        leases: impl IntoIterator<Item = (String, Option<Timestamp>)>,
        at: Instant,
        now: Timestamp,
    ) -> Vec<String> {
        let mut turns = Vec::new();
        if self.read.replace(at).is_some_and(|before| at.duration_since(before) > MISSED) {
            // Agents could not reach the API server either; their time begins anew.
            self.agents.values_mut().for_each(|pulse| pulse.at = at);
        }
        for (node, renewed) in leases {
            let Some(pulse) = self.agents.get_mut(&node) else {
                let silent = renewed.filter(|renewed| now.duration_since(*renewed) > DEAD_AFTER);
                let silent = silent.map(|since| Silent { since: whole(since), heard: None });
                if silent.is_some() {
                    turns.push(node.clone());
                }
                self.agents.insert(node, Pulse { renewed, at, silent });
                continue;
            };
            if pulse.renewed != renewed {
                (pulse.renewed, pulse.at) = (renewed, at);
                let Some(silent) = &mut pulse.silent else { continue };
                if at.duration_since(*silent.heard.get_or_insert(at)) >= HEARD_AFTER {
                    pulse.silent = None;
                    turns.push(node);
                }
            }
        }
        // An agent without a Lease was heard once, and is not now.
        for (node, pulse) in &mut self.agents {
            let quiet = at.duration_since(pulse.at);
            if quiet < SILENT_AFTER {
                continue;
            }
            match &mut pulse.silent {
                Some(silent) => silent.heard = None,
                None => {
                    let since = now - SignedDuration::try_from(quiet).unwrap_or(SignedDuration::ZERO);
                    pulse.silent = Some(Silent { since: whole(since), heard: None });
                    turns.push(node.clone());
                }
            }
        }
        turns
    }

    /// Forgets the agents of nodes that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.agents.retain(|node, _| is_there(node));
    }

    /// The agents that are silent, and since when.
    pub fn silent(&self) -> BTreeMap<String, Timestamp> {
        let silent = self.agents.iter().filter_map(|(node, pulse)| Some((node.clone(), pulse.silent.as_ref()?.since)));
        silent.collect()
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour by the controller's clock; the nodes' clocks are wrong by `ahead` seconds.
    struct Clock {
        start: Instant,
        ahead: i64,
    }

    const START: i64 = 1_700_000_000;

    impl Clock {
        fn new(ahead: i64) -> Self {
            Self { start: Instant::now(), ahead }
        }

        fn read(&self, pulses: &mut Pulses, second: u64, leases: &[(&str, i64)]) -> Vec<String> {
            let lease = |(node, second): &(&str, i64)| {
                ((*node).to_owned(), Some(Timestamp::from_second(START + second + self.ahead).unwrap()))
            };
            let now = Timestamp::from_second(START + second as i64).unwrap();
            pulses.read(leases.iter().map(lease), self.start + Duration::from_secs(second), now)
        }
    }

    impl Clock {
        /// The same Leases, read again and again.
        fn keep(&self, pulses: &mut Pulses, seconds: std::ops::Range<u64>, leases: &[(&str, i64)]) -> Vec<String> {
            seconds.step_by(20).flat_map(|second| self.read(pulses, second, leases)).collect()
        }
    }

    fn since(pulses: &Pulses, node: &str) -> Option<i64> {
        pulses.silent().get(node).map(|since| since.as_second() - START)
    }

    #[test]
    fn an_agent_that_renews_is_no_news_whatever_its_clock() {
        for ahead in [-500, 0, 100_000] {
            let (clock, mut pulses) = (Clock::new(ahead), Pulses::default());
            for second in (0..3600).step_by(20) {
                assert!(clock.read(&mut pulses, second, &[("a", second as i64)]).is_empty());
            }
        }
    }

    #[test]
    fn a_restart_is_no_news_and_silence_is_told_once() {
        let (clock, mut pulses) = (Clock::new(-300), Pulses::default());
        // 80 seconds for another image of a.
        assert!(clock.keep(&mut pulses, 0..80, &[("a", 0)]).is_empty());
        assert!(clock.read(&mut pulses, 80, &[("a", 80), ("b", 80)]).is_empty());
        // b dies at 80.
        for second in [100, 120, 140, 160] {
            assert!(clock.read(&mut pulses, second, &[("a", second as i64), ("b", 80)]).is_empty());
        }
        assert_eq!(clock.read(&mut pulses, 180, &[("a", 170), ("b", 80)]), ["b"]);
        assert_eq!(since(&pulses, "b"), Some(80));
        assert!(clock.read(&mut pulses, 200, &[("a", 190), ("b", 80)]).is_empty(), "told already");
        assert_eq!(pulses.silent().into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn who_dies_at_every_start_stays_silent_and_who_goes_on_is_heard() {
        let (clock, mut pulses) = (Clock::new(0), Pulses::default());
        assert_eq!(clock.keep(&mut pulses, 0..300, &[("a", 0)]), ["a"]);
        assert_eq!(since(&pulses, "a"), Some(0));
        // One renewal every five minutes: the container's backoff.
        for start in [300, 600, 900] {
            assert!(clock.keep(&mut pulses, start..start + 300, &[("a", start as i64)]).is_empty(), "at {start}");
        }
        assert!(clock.read(&mut pulses, 1200, &[("a", 1200)]).is_empty());
        assert!(clock.read(&mut pulses, 1220, &[("a", 1220)]).is_empty());
        assert_eq!(clock.read(&mut pulses, 1240, &[("a", 1240)]), ["a"]);
        assert!(pulses.silent().is_empty());
    }

    #[test]
    fn what_is_old_at_first_sight_is_dead_and_what_was_never_there_is_no_news() {
        let (clock, mut pulses) = (Clock::new(0), Pulses::default());
        // After the controller itself was away.
        assert_eq!(clock.read(&mut pulses, 5000, &[("a", 100), ("b", 4500)]), ["a"]);
        assert_eq!(since(&pulses, "a"), Some(100));
        // A Lease that somebody deletes is an agent that is not heard.
        assert!(clock.keep(&mut pulses, 5020..5100, &[]).is_empty());
        assert_eq!(clock.read(&mut pulses, 5100, &[]), ["b"]);
        assert_eq!(since(&pulses, "b"), Some(5000));
        pulses.retain(|node| node == "a");
        assert_eq!(pulses.silent().into_keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn while_nothing_can_be_read_nobody_is_silent() {
        let (clock, mut pulses) = (Clock::new(0), Pulses::default());
        clock.read(&mut pulses, 0, &[("a", 0), ("b", 0)]);
        // The API server was away for ten minutes, and the agents try again within another.
        assert!(clock.keep(&mut pulses, 600..680, &[("a", 0), ("b", 0)]).is_empty());
        assert!(clock.read(&mut pulses, 680, &[("a", 660), ("b", 0)]).is_empty());
        assert_eq!(clock.read(&mut pulses, 700, &[("a", 690), ("b", 0)]), ["b"]);
    }
}
