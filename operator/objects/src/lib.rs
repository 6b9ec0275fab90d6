//! What the controller and the kubectl plugin both know of a build's objects in a cluster. Pure: nothing here asks an API
//! server.
//!
//! - [`kinds`], [`names`]: kinds, labels, annotations, and the names of what is made for a build
//! - [`nodes`]: nodes and their GPUs, as the planner takes them
//! - [`plan`]: what a spec asks for
//! - [`manifest`]: the ConfigMap that pods read
//! - [`pod`]: what a pod of the worker image is made of
//! - [`scheduling`]: what pods tell the scheduler
//! - [`server`]: the language model's server beside a worker
//! - [`text`]: names and strangers' words, made fit for labels and statuses

#![forbid(unsafe_code)]

pub mod kinds;
pub mod manifest;
pub mod names;
pub mod nodes;
pub mod plan;
pub mod pod;
pub mod scheduling;
pub mod server;
pub mod text;
