//! Which GPUs a stage's pods can have: demand × inventory → placement.
//!
//! - [`Product`]: what a GPU is, whatever the spelling
//! - [`NodeGpus`]: what is known of one node, from its `GpuNode`, its labels, or what it offers
//! - [`Inventory`]: the nodes of a cluster, equal ones held once
//! - [`Demand`]: what the pods of a stage need
//! - [`Placement`]: where they fit, what the scheduler is told, and one sentence for each node that does not fit
//! - [`Rates`]: when it will be done, by rates that were measured
//!
//! A placement advises and gates nothing, unless a stage forbids an autoscaler's help: the Job is made all the same, and
//! the scheduler decides. Devices are not reserved between stages, because their tasks are pulled by whoever is free.

mod affinity;
mod allocation;
mod catalogue;
mod demand;
mod finish;
mod fit;
mod inventory;
mod islands;
mod node;
mod place;
mod product;
mod sources;
mod why;

/// A compute capability: `(8, 0)` is that of an A100.
pub type Capability = (u32, u32);

pub use affinity::{Affinity, Expression, Operator, Term};
pub use allocation::{Allocation, Resource};
pub use demand::{Demand, VECTORS};
pub use finish::{Ahead, Finish, Rates};
pub use fit::bytes_of;
pub use inventory::Inventory;
pub use islands::thin_links;
pub use node::{GPU_TAINT, NodeFacts, NodeGpus, QUARANTINE_TAINT, Source, Taint, Toleration};
pub use place::{NodeFit, Placeable, Placement, Unfit};
pub use product::{FormFactor, Product};
