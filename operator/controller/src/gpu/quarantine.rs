//! Which devices get no work, and why. Pure.
//!
//! The agent judges a device by what NVML says; the controller adds what only it can see: tasks that fail again and again
//! on one device, or whose servers do on one node. Its own entries come and go with the reasons; what a person wrote stays
//! until a person takes it back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{GpuNodeStatus, Quarantine};

use crate::text::sentence;

/// Who writes the entries that are taken back by themselves.
pub const CONTROLLER: &str = "controller";
/// Different tasks that fail on one device, or one node, before it is suspected.
const FAILURES: usize = 3;
/// The time within which they fail, and for which a suspicion lasts.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// The reason of a suspicion.
const REPEATED: &str = "RepeatedFailures";

/// The quarantine that a node should have: what others wrote, then one entry per device that its agent or the failures of
/// tasks speak against, and one for the node where the failures speak against none of them.
pub fn wanted(
    node: &str,
    before: &[Quarantine],
    status: &GpuNodeStatus,
    suspected: &BTreeMap<String, Timestamp>,
) -> Vec<Quarantine> {
    let mut entries: Vec<Quarantine> = before.iter().filter(|e| e.by != CONTROLLER).cloned().collect();
    let entry = |device: Option<&String>, reason: &str, message: String, since: Option<String>| Quarantine {
        device: device.cloned(),
        reason: reason.to_owned(),
        message,
        since,
        by: CONTROLLER.to_owned(),
    };
    for device in &status.devices {
        let uuid = Some(&device.uuid);
        if !device.healthy {
            let reason = device.reason.as_deref().unwrap_or("Unhealthy");
            entries.push(entry(uuid, reason, device.message.clone().unwrap_or_default(), device.since.clone()));
        } else if let Some(since) = suspected.get(&device.uuid) {
            let message = format!("{FAILURES} different tasks failed on it within an hour, without an XID");
            entries.push(entry(uuid, REPEATED, message, Some(since.to_string())));
        }
    }
    // A device that is known to be sick explains what failed.
    let well = status.devices.iter().all(|device| device.healthy);
    if let Some(since) = suspected.get(node).filter(|_| well) {
        let message = format!("the servers of {FAILURES} different tasks died on it that ended well on other nodes");
        entries.push(entry(None, REPEATED, message, Some(since.to_string())));
    }
    entries
}

/// What was seen to fail on each device, and on each node.
#[derive(Debug, Default)]
pub struct Failures {
    /// By device or node: the tasks, and when each was first seen to speak against it.
    seen: BTreeMap<String, BTreeMap<String, Timestamp>>,
}

impl Failures {
    /// A task failed on the device that its message names, if it names one.
    pub fn add(&mut self, task: &str, message: &str, at: Timestamp) {
        if let Some(device) = device_in(message) {
            self.count(device, task, at);
        }
    }

    /// The server of a task died on a node, and the task has ended well on another. Without the second it may be the task, its
    /// model or its settings that no server bears.
    pub fn add_server(&mut self, task: &str, node: &str, at: Timestamp) {
        self.count(node, task, at);
    }

    fn count(&mut self, what: &str, task: &str, at: Timestamp) {
        self.seen.entry(what.to_owned()).or_default().entry(task.to_owned()).or_insert(at);
    }

    /// The devices and nodes that are suspected, and since when. What is older than an hour counts no more.
    pub fn suspected(&mut self, now: Timestamp) -> BTreeMap<String, Timestamp> {
        for tasks in self.seen.values_mut() {
            tasks.retain(|_, at| now.duration_since(*at) < WINDOW);
        }
        self.seen.retain(|_, tasks| !tasks.is_empty());
        let suspected = self.seen.iter().filter(|(_, tasks)| tasks.len() >= FAILURES);
        suspected.filter_map(|(device, tasks)| Some((device.clone(), *tasks.values().max()?))).collect()
    }
}

/// The device that a worker's last words name: `GPU-` and a UUID, as NVML writes it.
fn device_in(message: &str) -> Option<&str> {
    const LENGTH: usize = "GPU-00000000-0000-0000-0000-000000000000".len();
    let is_uuid = |text: &&str| text.bytes().skip(4).all(|b| b.is_ascii_hexdigit() || b == b'-');
    message.match_indices("GPU-").find_map(|(at, _)| message.get(at..at + LENGTH).filter(is_uuid))
}

/// The reasons of a quarantine in one line, each once: `Xid79 x2, Fan`. None if there is none.
pub fn in_a_line(entries: &[Quarantine]) -> Option<String> {
    const MOST: usize = 120;
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for entry in entries {
        match counts.iter_mut().find(|(reason, _)| *reason == entry.reason) {
            Some((_, n)) => *n += 1,
            None => counts.push((&entry.reason, 1)),
        }
    }
    let said = |(reason, n): &(&str, usize)| if *n == 1 { (*reason).to_owned() } else { format!("{reason} x{n}") };
    let line = counts.iter().map(said).collect::<Vec<_>>().join(", ");
    (!counts.is_empty()).then(|| sentence(&line, MOST))
}

/// The devices whose entry appeared or went between two quarantines, for those who are told of it.
pub fn changes(before: &[Quarantine], after: &[Quarantine]) -> (Vec<Quarantine>, Vec<Quarantine>) {
    let key = |e: &Quarantine| (e.device.clone(), e.reason.clone(), e.by.clone());
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.iter().map(key).collect(), after.iter().map(key).collect());
    let begun = after.iter().filter(|e| !old.contains(&key(e))).cloned().collect();
    let ended = before.iter().filter(|e| !new.contains(&key(e))).cloned().collect();
    (begun, ended)
}

#[cfg(test)]
mod tests {
    use realsyn_crds::GpuDevice;

    use super::*;

    const NODE: &str = "gpu-1";
    const A: &str = "GPU-aaaaaaaa-0000-1111-2222-333333333333";
    const B: &str = "GPU-bbbbbbbb-0000-1111-2222-333333333333";

    fn device(uuid: &str, reason: Option<&str>) -> GpuDevice {
        GpuDevice {
            uuid: uuid.to_owned(),
            healthy: reason.is_none(),
            reason: reason.map(str::to_owned),
            message: reason.map(|r| format!("it is {r}")),
            since: reason.map(|_| "2026-01-01T10:12:00Z".to_owned()),
            ..GpuDevice::default()
        }
    }

    fn status(devices: Vec<GpuDevice>) -> GpuNodeStatus {
        GpuNodeStatus { devices, ..GpuNodeStatus::default() }
    }

    #[test]
    fn entries_come_and_go_with_their_reasons_and_a_persons_stays() {
        let by_hand = Quarantine { reason: "Fan".into(), by: "ops".into(), ..Quarantine::default() };
        let none = BTreeMap::new();
        let sick = wanted(
            NODE,
            std::slice::from_ref(&by_hand),
            &status(vec![device(A, Some("Xid79")), device(B, None)]),
            &none,
        );
        assert_eq!(sick.len(), 2);
        assert_eq!(sick[0], by_hand);
        assert_eq!((sick[1].device.as_deref(), sick[1].reason.as_str()), (Some(A), "Xid79"));
        assert_eq!(sick[1].since.as_deref(), Some("2026-01-01T10:12:00Z"));
        let suspects = BTreeMap::from([(B.to_owned(), Timestamp::UNIX_EPOCH)]);
        let both = wanted(NODE, &sick, &status(vec![device(A, Some("Xid79")), device(B, None)]), &suspects);
        assert_eq!(both.iter().map(|e| e.reason.as_str()).collect::<Vec<_>>(), ["Fan", "Xid79", "RepeatedFailures"]);
        let (begun, ended) = changes(&sick, &both);
        assert_eq!((begun.len(), ended.len(), begun[0].device.as_deref()), (1, 0, Some(B)));
        let well = wanted(NODE, &both, &status(vec![device(A, None), device(B, None)]), &none);
        assert_eq!(well, [by_hand]);
        assert_eq!(changes(&both, &well).1.len(), 2);
    }

    #[test]
    fn a_suspected_node_has_an_entry_unless_one_of_its_devices_is_sick() {
        let suspects = BTreeMap::from([(NODE.to_owned(), Timestamp::UNIX_EPOCH)]);
        let entries = |node: &str, reason: Option<&str>| {
            let entries = wanted(node, &[], &status(vec![device(A, reason), device(B, None)]), &suspects);
            entries.into_iter().map(|e| (e.device, e.reason)).collect::<Vec<_>>()
        };
        assert_eq!(entries(NODE, None), [(None, "RepeatedFailures".to_owned())]);
        assert_eq!(entries(NODE, Some("Xid79")), [(Some(A.to_owned()), "Xid79".to_owned())]);
        assert_eq!(entries("gpu-2", None), []);
    }

    #[test]
    fn every_reason_of_a_quarantine_stands_in_its_line() {
        let of = |reason: &str| Quarantine { reason: reason.into(), ..Quarantine::default() };
        assert_eq!(in_a_line(&[]), None);
        assert_eq!(in_a_line(&[of("Xid79"), of("Fan"), of("Xid79")]).as_deref(), Some("Xid79 x2, Fan"));
        let strange: Vec<Quarantine> = (0..64).map(|n| of(&format!("{n}\u{1b}{}", "x".repeat(60)))).collect();
        let line = in_a_line(&strange).unwrap();
        assert!(line.chars().count() <= 120 && !line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn three_tasks_on_one_device_or_node_within_an_hour_raise_suspicion() {
        let mut failures = Failures::default();
        let at = |minutes: i64| Timestamp::from_second(minutes * 60).unwrap();
        failures.add("job/1", &format!("lost {A} in the middle"), at(0));
        failures.add("job/1", &format!("lost {A} in the middle"), at(1));
        failures.add("job/2", &format!("lost {A}"), at(2));
        failures.add("job/3", &format!("lost {B}"), at(3));
        failures.add("job/4", "GPU-", at(3));
        failures.add("job/5", "GPU-zzzzzzzz-0000-1111-2222-333333333333", at(3));
        assert!(failures.suspected(at(4)).is_empty());
        failures.add("job/6", &format!("{A}: an illegal address"), at(5));
        assert_eq!(failures.suspected(at(5)), BTreeMap::from([(A.to_owned(), at(5))]));
        // An hour after the first of the three, two are left.
        assert!(failures.suspected(at(60)).is_empty());
        for minute in [61, 62] {
            failures.add_server(&format!("job/{minute}"), NODE, at(minute));
            failures.add_server("job/61", NODE, at(minute));
        }
        assert!(failures.suspected(at(63)).is_empty());
        failures.add_server("job/63", NODE, at(63));
        assert_eq!(failures.suspected(at(63)), BTreeMap::from([(NODE.to_owned(), at(63))]));
    }
}
