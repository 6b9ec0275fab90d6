//! Whole builds with the real models, on a part of the OpenStax sample and on pages of GIMP's manual: whatever happens on
//! the way, the release that comes out has one digest.
//!
//! Needs the models (`REALSYN_MODELS`, or `.cache/models` as `make models` fills it), the sample (`REALSYN_OPENSTAX`, or
//! `../shared/data/openstax` beside the workspace) and the manual (`REALSYN_CORPUS`, or `.cache/corpus` as `make corpus`
//! fills it); what needs one that is missing is skipped loudly.

mod accounts;
mod borrowed;
mod changes;
mod digest;
mod fixture;
mod publication;
mod report;
