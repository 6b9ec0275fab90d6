//! A stand-in for NVIDIA's management library: `libnvidia-ml.so.1` with devices that a JSON file describes.
//!
//! The library reads the file again whenever it changes, so a test scripts what happens: a device that is lost, an XID, a
//! call that hangs or fails, a driver that is loaded anew. Its file is named by `REALSYN_NVML_SCENARIO`, or is
//! `scenario.json` beside the library: several copies of the library in one process don't see each other.

mod exports;
mod install;
pub mod inventory;
mod scenario;
mod state;

pub use exports::CALLS;
pub use install::StandIn;
pub use scenario::{Device, Driver, Instance, Link, Scenario, Xid};
