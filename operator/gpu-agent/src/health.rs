//! When a device is healthy.
//!
//! A fault stays until it has not been seen for the clean time, or until another driver is loaded. An event (an XID, an ECC error)
//! is seen once, a condition (lost, a row that waits) for as long as it holds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::facts::{self, Recovery, Trouble};
use crate::xid::{self, Class};

/// A device that slows down for so long is badly cooled, not merely busy.
const HOT_FOR: SignedDuration = SignedDuration::from_secs(60);

/// Why work cannot be trusted to a device, in the order in which one wants to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is gone.
    Lost,
    /// The driver asks for a reset or a reboot.
    ResetRequired,
    /// A fatal XID.
    Xid(u64),
    /// The driver does not return from a call.
    DriverHung,
    /// A row of memory could not be remapped.
    RowRemapFailed,
    /// Uncorrected ECC errors.
    EccUncorrected,
    /// A row of memory waits for a reset.
    RowRemapPending,
    /// The hardware slows down because it is too hot.
    Thermal,
    /// The driver gives no handle of it.
    Unreadable,
    /// What an agent of another version wrote.
    Other(String),
}

impl Reason {
    /// The word in the status.
    pub fn word(&self) -> String {
        match self {
            Self::Lost => "Lost".to_owned(),
            Self::ResetRequired => "ResetRequired".to_owned(),
            Self::Xid(number) => format!("Xid{number}"),
            Self::DriverHung => "DriverHung".to_owned(),
            Self::RowRemapFailed => "RowRemapFailed".to_owned(),
            Self::EccUncorrected => "EccUncorrected".to_owned(),
            Self::RowRemapPending => "RowRemapPending".to_owned(),
            Self::Thermal => "Thermal".to_owned(),
            Self::Unreadable => "Unreadable".to_owned(),
            Self::Other(word) => word.clone(),
        }
    }

    /// The reason of a word in a status.
    pub fn of_word(word: &str) -> Self {
        let simple =
            [Self::Lost, Self::ResetRequired, Self::RowRemapFailed, Self::EccUncorrected, Self::RowRemapPending];
        let simple = simple.into_iter().chain([Self::DriverHung, Self::Thermal, Self::Unreadable]);
        let number = word.strip_prefix("Xid").and_then(|digits| digits.parse().ok()).map(Self::Xid);
        number.or_else(|| simple.into_iter().find(|r| r.word() == word)).unwrap_or_else(|| Self::Other(word.to_owned()))
    }
}

/// What is wrong with a device, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In a sentence, without anything that counts up: it is written once.
    pub message: String,
    /// When it was seen first.
    pub since: Timestamp,
    last: Timestamp,
}

/// The health of a device.
#[derive(Clone, Debug, Default)]
pub struct Health {
    faults: BTreeMap<Reason, Fault>,
    ecc: Option<u64>,
    hot_since: Option<Timestamp>,
}

impl Health {
    /// A fault is seen.
    pub fn fault(&mut self, reason: Reason, message: impl Into<String>, now: Timestamp) {
        let new = || Fault { message: message.into(), since: now, last: now };
        self.faults.entry(reason).or_insert_with(new).last = now;
    }

    /// A fault that an earlier agent saw.
    pub fn resume(&mut self, word: &str, message: String, since: Timestamp, now: Timestamp) {
        self.faults.insert(Reason::of_word(word), Fault { message, since, last: now });
    }

    /// An XID is seen.
    pub fn xid(&mut self, number: u64, now: Timestamp) {
        if xid::class(number) != Class::Fatal {
            return;
        }
        let about = xid::entry(number).map_or("", |entry| entry.about);
        self.fault(Reason::Xid(number), format!("XID {number}: {about}"), now);
    }

    /// What a look at the device said.
    pub fn look(&mut self, device: &facts::Device, now: Timestamp) {
        let faults = &device.faults;
        match &device.trouble {
            Some(Trouble::Lost) => self.fault(Reason::Lost, "the device has fallen off the bus", now),
            Some(Trouble::ResetRequired) => self.fault(Reason::ResetRequired, "the device must be reset", now),
            Some(Trouble::Unreadable(error)) => {
                self.fault(Reason::Unreadable, format!("the driver gives no handle of the device: {error}"), now);
            }
            None => {}
        }
        match faults.recovery {
            Some(Recovery::Reset) => self.fault(Reason::ResetRequired, "the driver asks for a reset", now),
            Some(Recovery::Reboot) => {
                self.fault(Reason::ResetRequired, "the driver asks for a reboot of the node", now)
            }
            _ => {}
        }
        if faults.remap_failed == Some(true) {
            self.fault(Reason::RowRemapFailed, "a row of memory could not be remapped", now);
        }
        if faults.remap_pending == Some(true) {
            self.fault(Reason::RowRemapPending, "bad memory waits for a reset to be put aside", now);
        }
        // Errors from before the agent looked are old news: their rows are remapped by now, or pending.
        if let (Some(before), Some(count)) = (self.ecc, faults.ecc_uncorrected)
            && count > before
        {
            self.fault(Reason::EccUncorrected, "uncorrected ECC errors", now);
        }
        self.ecc = faults.ecc_uncorrected.or(self.ecc);
        match faults.hot {
            Some(true) => {
                let since = *self.hot_since.get_or_insert(now);
                if now.duration_since(since) >= HOT_FOR {
                    self.fault(Reason::Thermal, "the hardware slows down because it is too hot", now);
                }
            }
            Some(false) => self.hot_since = None,
            None => {}
        }
    }

    /// Forgets what has not been seen for the clean time.
    pub fn clean(&mut self, clean: SignedDuration, now: Timestamp) {
        self.faults.retain(|_, fault| now.duration_since(fault.last) < clean);
    }

    /// Another driver has been loaded.
    pub fn reloaded(&mut self) {
        *self = Self::default();
    }

    /// What one wants to know first, if anything is wrong.
    pub fn worst(&self) -> Option<(&Reason, &Fault)> {
        self.faults.first_key_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn looked(change: impl FnOnce(&mut facts::Device)) -> facts::Device {
        let mut device = facts::Device::default();
        device.faults.ecc_uncorrected = Some(3);
        change(&mut device);
        device
    }

    fn word(health: &Health) -> Option<String> {
        health.worst().map(|(reason, _)| reason.word())
    }

    #[test]
    fn fatal_xids_last_for_the_clean_time() {
        let mut health = Health::default();
        health.xid(13, at(0));
        health.xid(94, at(0));
        assert_eq!(word(&health), None);
        health.xid(48, at(0));
        health.xid(79, at(5));
        assert_eq!(word(&health).as_deref(), Some("Xid48"));
        let clean = SignedDuration::from_secs(600);
        health.clean(clean, at(600));
        assert_eq!(word(&health).as_deref(), Some("Xid79"));
        health.clean(clean, at(605));
        assert_eq!(word(&health), None);
    }

    #[test]
    fn a_condition_is_clean_only_after_it_ended() {
        let mut health = Health::default();
        let clean = SignedDuration::from_secs(600);
        for second in [0, 300, 900] {
            health.look(&looked(|d| d.faults.remap_pending = Some(true)), at(second));
            health.clean(clean, at(second));
            let (reason, fault) = health.worst().unwrap();
            assert_eq!((reason, fault.since), (&Reason::RowRemapPending, at(0)));
        }
        health.look(&looked(|_| ()), at(1000));
        health.clean(clean, at(1499));
        assert!(health.worst().is_some());
        health.clean(clean, at(1500));
        assert!(health.worst().is_none());
    }

    #[test]
    fn only_new_ecc_errors_count() {
        let mut health = Health::default();
        health.look(&looked(|_| ()), at(0));
        health.look(&looked(|d| d.faults.ecc_uncorrected = None), at(15));
        health.look(&looked(|_| ()), at(30));
        assert_eq!(word(&health), None);
        health.look(&looked(|d| d.faults.ecc_uncorrected = Some(4)), at(45));
        assert_eq!(word(&health).as_deref(), Some("EccUncorrected"));
    }

    #[test]
    fn heat_must_last() {
        let mut health = Health::default();
        let hot = looked(|d| d.faults.hot = Some(true));
        health.look(&hot, at(0));
        health.look(&looked(|d| d.faults.hot = Some(false)), at(30));
        health.look(&hot, at(45));
        health.look(&hot, at(100));
        assert_eq!(word(&health), None);
        health.look(&hot, at(105));
        assert_eq!(word(&health).as_deref(), Some("Thermal"));
    }

    #[test]
    fn lost_is_told_before_everything_else() {
        let mut health = Health::default();
        health.xid(79, at(0));
        health.look(&looked(|d| d.trouble = Some(Trouble::Lost)), at(1));
        assert_eq!(word(&health).as_deref(), Some("Lost"));
    }

    #[test]
    fn words_are_read_back() {
        for reason in [Reason::Lost, Reason::Xid(119), Reason::Thermal, Reason::Other("Haunted".to_owned())] {
            assert_eq!(Reason::of_word(&reason.word()), reason);
        }
    }
}
