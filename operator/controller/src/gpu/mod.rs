//! GPUs: what nodes have, and which of them get no work.
//!
//! [`nodes`] keeps what is known of the nodes for the planner. [`quarantine`] decides, purely, what a node's agent and the
//! workers' failures call for; [`guard`] carries it out. [`pulse`] tells, purely, whose agent is silent; [`agents`] reads
//! their Leases.

pub mod agents;
pub mod guard;
pub mod nodes;
pub mod pulse;
pub mod quarantine;
