//! Which devices are held, without every pod that ends and begins.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

/// What kubelet says, once it has said so for a while. The pods of a Job follow each other on a device within seconds; nobody
/// wants to hear of that.
#[derive(Clone, Debug)]
pub struct Allocation {
    hold: SignedDuration,
    shown: Option<BTreeSet<String>>,
    next: Option<(Option<BTreeSet<String>>, Timestamp)>,
}

impl Allocation {
    /// Nothing is known. An answer counts when it has stayed the same for `hold`.
    pub fn new(hold: SignedDuration) -> Self {
        Self { hold, shown: None, next: None }
    }

    /// Kubelet's answer: the ids of all devices that containers hold, or nothing if it does not answer.
    pub fn tell(&mut self, answer: Option<BTreeSet<String>>, now: Timestamp) {
        if answer == self.shown {
            self.next = None;
        } else if self.shown.is_none() {
            // Anything is better than nothing.
            (self.shown, self.next) = (answer, None);
        } else {
            match &self.next {
                Some((next, since)) if *next == answer => {
                    if now.duration_since(*since) >= self.hold {
                        (self.shown, self.next) = (answer, None);
                    }
                }
                _ => self.next = Some((answer, now)),
            }
        }
    }

    /// Whether kubelet tells at all.
    pub fn is_known(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether a container holds the device or instance of this UUID.
    pub fn holds(&self, uuid: &str) -> bool {
        self.shown.as_ref().is_some_and(|ids| ids.contains(uuid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ids(ids: &[&str]) -> Option<BTreeSet<String>> {
        Some(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn an_answer_counts_when_it_lasts() {
        let mut allocation = Allocation::new(SignedDuration::from_secs(30));
        assert!(!allocation.is_known());
        allocation.tell(ids(&["a"]), at(0));
        assert!(allocation.is_known() && allocation.holds("a"));
        // A pod ends, and the next one gets the device 20 seconds later.
        allocation.tell(ids(&[]), at(10));
        allocation.tell(ids(&[]), at(20));
        allocation.tell(ids(&["a"]), at(30));
        allocation.tell(ids(&[]), at(40));
        assert!(allocation.holds("a"));
        allocation.tell(ids(&[]), at(70));
        assert!(allocation.is_known() && !allocation.holds("a"));
    }

    #[test]
    fn a_kubelet_that_restarts_is_waited_for() {
        let mut allocation = Allocation::new(SignedDuration::from_secs(30));
        allocation.tell(ids(&["a"]), at(0));
        allocation.tell(None, at(10));
        assert!(allocation.holds("a"));
        allocation.tell(None, at(40));
        assert!(!allocation.is_known() && !allocation.holds("a"));
    }
}
