//! The kubectl plugin: how far a build is, why it waits, and what a person can do about it.
//!
//! - [`status`]: an object as a page of text; the text is a pure function of the object and the time
//! - [`store`]: commands that need the store, as a pod of the worker image with the user's own rights
//! - [`commands`]: one file for each thing that a user types
//! - [`cluster`], [`errors`]: the API server, and its refusals in words

#![forbid(unsafe_code)]

pub mod args;
pub mod cluster;
pub mod commands;
pub mod errors;
pub mod format;
pub mod status;
pub mod store;
pub mod style;
pub mod target;
