//! Placement: what a person reads, and what holds for any cluster.

mod cases;
mod cluster;
mod properties;
mod search;
mod sources;
#[path = "../support/mod.rs"]
mod support;
mod world;
