//! The report: one HTML file that shows what a build did, readable without a network.
//!
//! - `data`: plain structs, all that is shown
//! - `collect`: fills them from the records and tables of a run, shard by shard
//! - `render`: turns them into HTML; knows nothing of stores and steps

mod collect;
mod data;
#[cfg(test)]
mod fixture;
mod render;
#[cfg(test)]
mod tests;

use crate::run::Run;

pub use render::text::bytes;

/// The report of a run as one HTML file, from whatever is sealed so far; steps that are not sealed are shown as not run.
///
/// # Errors
/// An object that a seal names is gone or unreadable.
pub fn html(run: &Run) -> anyhow::Result<String> {
    Ok(render::page(&collect::collect(run)?))
}
