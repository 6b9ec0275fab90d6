//! Small builds over a corpus that was written for them: what the settings ask for is what comes out, and what cannot work stops
//! before anything has run.
//!
//! Needs the models (`REALSYN_MODELS`, or `.cache/models` as `make models` fills it) and the photographs of the OpenStax sample
//! (`REALSYN_OPENSTAX`, or `../shared/data/openstax` beside the workspace); skipped loudly where one is missing.

mod corpus;
mod left_out;
mod nothing_left;
mod refused;
mod releases;
