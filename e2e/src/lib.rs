//! End-to-end tests of whole builds, and what tests run against: a real S3 server in a process of its own, a proxy that
//! injects faults, a collector of spans, and the suite that every store passes.
//!
//! Crates whose tests need these name this one in `dev-dependencies`; so its own `dependencies` stay small, and what
//! only whole builds need belongs in its `dev-dependencies`.

#![forbid(unsafe_code)]

mod collector;
mod conformance;
mod device_plugin;
mod faults;
mod proxy;
mod s3_server;
mod sample;

pub use collector::{Collector, Span};
pub use conformance::conformance;
pub use device_plugin::DevicePlugin;
pub use faults::{Fault, Seeded, Seen};
pub use proxy::FaultProxy;
pub use s3_server::{S3Server, binary};
pub use sample::{Obelics, sample, write_corpus};
