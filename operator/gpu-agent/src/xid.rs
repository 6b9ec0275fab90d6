//! What an XID says of a device: NVIDIA's catalogue, in three classes.
//!
//! Source: the column "Resolution Bucket (Immediate Action)" of the Xid catalogue for Ampere and later,
//! <https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>. `RESET_GPU`, `RESTART_BM`, `RESTART_VM`, and the
//! workflows that end there, are the device's fault; `RESTART_APP` is the application's; `IGNORE` asks for nothing.

/// Whose fault an XID is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The device's: no work can be trusted to it.
    Fatal,
    /// The application's: it fails, the device goes on.
    Application,
    /// Nobody's, or not to be told from the number alone; counted, and what else is read decides.
    Noted,
}

/// An XID, or a run of them, of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
    /// Whose fault.
    pub class: Class,
    /// What happened.
    pub about: &'static str,
    /// What the catalogue asks for.
    pub action: &'static str,
}

/// What the catalogue says of a number.
pub fn entry(xid: u64) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| (entry.first..=entry.last).contains(&xid))
}

/// Whose fault a number is. One that is not in the catalogue is noted.
pub fn class(xid: u64) -> Class {
    entry(xid).map_or(Class::Noted, |entry| entry.class)
}

const fn one(xid: u64, class: Class, about: &'static str, action: &'static str) -> Entry {
    run(xid, xid, class, about, action)
}

const fn run(first: u64, last: u64, class: Class, about: &'static str, action: &'static str) -> Entry {
    Entry { first, last, class, about, action }
}

use Class::{Application, Fatal, Noted};

/// The catalogue, without the numbers that it calls unused.
pub const CATALOGUE: &[Entry] = &[
    one(8, Application, "the GPU stopped processing", "RESTART_APP"),
    one(11, Application, "an invalid or corrupted push buffer", "RESTART_APP"),
    one(13, Application, "an exception of the graphics engine", "RESTART_APP"),
    one(14, Noted, "an error that was injected for a test", "IGNORE"),
    one(25, Application, "an invalid or illegal push buffer", "RESTART_APP"),
    one(31, Application, "a fault of the memory management unit", "RESTART_APP"),
    one(32, Application, "an invalid or corrupted push buffer stream", "RESTART_APP"),
    run(37, 38, Noted, "a firmware method or watchdog", "IGNORE"),
    run(39, 41, Application, "an error of a copy engine", "RESTART_APP"),
    one(43, Noted, "an application's channel was reset", "IGNORE"),
    one(44, Noted, "a fault while contexts were switched", "IGNORE"),
    one(45, Noted, "channels were removed after another error or a kill", "WORKFLOW_XID_45"),
    one(46, Fatal, "the GPU stopped processing", "RESET_GPU"),
    one(48, Fatal, "a double-bit ECC error", "WORKFLOW_XID_48"),
    one(54, Noted, "auxiliary power is not connected", "CHECK_MECHANICALS"),
    one(60, Application, "an error of the security engine", "RESTART_APP"),
    one(62, Fatal, "the power management unit halted", "RESET_GPU"),
    one(63, Noted, "a row was remapped or a page retired", "IGNORE"),
    one(64, Fatal, "a row could not be remapped or a page not be retired", "RESET_GPU"),
    run(66, 67, Noted, "an access that the firmware refused", "IGNORE"),
    one(68, Application, "an error of the video decoder", "RESTART_APP"),
    one(69, Application, "an error of the graphics engine's class", "RESTART_APP"),
    run(70, 72, Application, "an error of a copy engine", "RESTART_APP"),
    one(74, Fatal, "an NVLink error", "WORKFLOW_NVLINK_ERR"),
    run(75, 77, Application, "an error of a copy engine", "RESTART_APP"),
    one(78, Noted, "a vGPU could not start", "UPDATE_SWFW"),
    one(79, Fatal, "the GPU has fallen off the bus", "RESTART_BM"),
    one(80, Application, "data of a push buffer arrived corrupted", "RESTART_APP"),
    run(82, 86, Application, "an error of a decoder, copy or optical flow engine", "RESTART_APP"),
    run(88, 89, Application, "an error of the video decoder", "RESTART_APP"),
    one(92, Noted, "many single-bit ECC errors", "IGNORE"),
    one(93, Noted, "the inforom was written too often", "IGNORE"),
    one(94, Application, "an uncorrected error that one application contains", "RESTART_APP"),
    one(95, Fatal, "an uncorrected error that reached beyond one application", "RESET_GPU"),
    run(96, 105, Application, "an error of a video or JPEG decoder", "RESTART_APP"),
    run(106, 107, Noted, "a test of the management bus", "IGNORE"),
    one(108, Noted, "an address that NVLink could not translate", "IGNORE"),
    one(109, Fatal, "switching contexts took too long", "RESET_GPU"),
    one(110, Fatal, "a fault of the security processor", "RESET_GPU"),
    one(119, Fatal, "the GPU's system processor did not answer in time", "RESET_GPU"),
    one(120, Fatal, "an error of the GPU's system processor", "RESET_GPU"),
    one(121, Noted, "a corrected error of the link to the CPU", "IGNORE"),
    run(126, 135, Application, "an error of a copy engine", "RESTART_APP"),
    one(136, Fatal, "NVLink could not be trained", "RESET_GPU"),
    one(137, Noted, "a fault that came over NVLink from another GPU", "IGNORE"),
    one(139, Application, "an error of the optical flow engine", "RESTART_APP"),
    one(140, Fatal, "an unrecovered ECC error", "RESET_GPU"),
    one(141, Noted, "an error of a fast path", "IGNORE"),
    one(142, Noted, "an error of the video encoder", "CONTACT_SUPPORT"),
    one(143, Fatal, "the GPU could not be initialised", "RESET_GPU"),
    run(
        144,
        150,
        Noted,
        "an NVLink 5 error; its sub-code, which NVML does not tell, says how bad",
        "WORKFLOW_NVLINK5_ERR",
    ),
    one(151, Fatal, "an error while keys were rotated", "RESTART_VM"),
    run(152, 153, Noted, "a deep learning accelerator", "IGNORE"),
    one(154, Noted, "what the driver asks for has changed, which is read by itself", "XID_154"),
    one(155, Fatal, "an NVLink error that software defines", "RESET_GPU"),
    one(156, Fatal, "a resource was retired", "RESET_GPU"),
    one(157, Noted, "a resource could not be retired", "IGNORE"),
    one(158, Fatal, "a timeout that the GPU does not survive", "RESET_GPU"),
    one(159, Noted, "an error of the coherent link", "CHECK_UVM"),
    run(160, 161, Noted, "a channel was retired, or could not be", "IGNORE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_order_and_says_each_number_once() {
        for pair in CATALOGUE.windows(2) {
            assert!(pair[0].first <= pair[0].last && pair[0].last < pair[1].first, "{pair:?}");
        }
    }

    /// The class follows from the action, but for workflows, which the catalogue ends in prose.
    #[test]
    fn classes_follow_from_actions() {
        for entry in CATALOGUE {
            let expected = match entry.action {
                "RESTART_APP" => Application,
                "RESET_GPU" | "RESTART_BM" | "RESTART_VM" | "WORKFLOW_XID_48" | "WORKFLOW_NVLINK_ERR" => Fatal,
                _ => Noted,
            };
            assert_eq!(entry.class, expected, "{entry:?}");
        }
        assert_eq!((class(79), class(94), class(63), class(4711)), (Fatal, Application, Noted, Noted));
    }
}
