//! The agent of one node with GPUs: what NVML and kubelet say becomes the status of the node's `GpuNode`.
//!
//! `reader` asks NVML in a thread of its own and gets `facts`; `node` (pure) keeps what must be remembered of them and turns it
//! into a status; `writer` writes it when it has changed. Everything between facts and status can be tested without a device.

pub mod agent;
pub mod allocation;
pub mod facts;
pub mod health;
pub mod kubelet;
pub mod links;
pub mod metrics;
pub mod mig;
pub mod node;
mod observe;
pub mod probes;
pub mod reader;
pub mod summary;
pub mod writer;
pub mod xid;
