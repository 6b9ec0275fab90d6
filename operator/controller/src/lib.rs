//! The operator's controller: it watches builds and releases, runs their steps as Indexed Jobs, and reports how far they
//! are.
//!
//! It holds no storage credentials and reads no Secrets: what it must know of the data comes in the termination messages
//! of `advance` pods. [`machine`] is the pure heart; [`reconcile`] carries it out in named steps.

#![forbid(unsafe_code)]

pub mod cache;
pub mod clean_up;
pub mod context;
pub mod gpu;
pub mod health;
pub mod kueue;
pub mod lease;
pub mod machine;
pub mod metrics;
pub mod queues;
pub mod reconcile;
pub mod run;
pub mod watches;

pub use realsyn_objects::{kinds, names, plan, text};
