//! What runs, in which order, under which digest, and why.
//!
//! Everything here is a pure function: no I/O, no clock, no async. The controller and the local run carry out the same
//! plan, so they publish the same data.
//!
//! - [`graph`]: stages and steps, what each reads, how it is cut into shards
//! - [`recipe`]: settings to recipe and stage digests
//! - [`records`]: commit, seal, void, and the names under which they are stored
//! - [`layout`]: the shards of a step and their keys, once its inputs are sealed
//! - [`shuffle`]: where the partitions of a shuffled object lie
//! - [`judge`]: sealed, to be sealed, to be run, or to be voided
//! - [`why`]: which changed field makes which stage run again
//! - [`cost`]: bytes to move and work to do
//! - [`placement`]: which GPUs a stage's pods can have, and why not others
//! - [`memory`]: how much memory of a GPU a model needs, and which batch fits
//! - [`mounts`]: where a pod finds what lies on a volume
//! - [`report`]: what a look at the store tells the controller
//! - [`trace`]: the trace to which everything about a generation belongs
//! - [`text`]: strangers' words, made fit for a status

#![forbid(unsafe_code)]

pub mod cost;
pub mod digest;
pub mod graph;
pub mod ids;
pub mod judge;
pub mod layout;
pub mod memory;
pub mod mounts;
pub mod placement;
pub mod recipe;
pub mod records;
pub mod report;
pub mod shuffle;
pub mod text;
pub mod trace;
pub mod why;

/// The name by which a language model's server beside a worker knows its model.
pub const SERVED_MODEL: &str = "llm";

pub use digest::Digest;
pub use graph::{Step, StepId};
pub use ids::Id;
