//! Sentences: segmentation, rules, statistics, near duplicates.
//!
//! Pure functions over text: no storage, no clock, no global random generator. The same input gives the same bits for
//! any number of threads. The way of a sentence:
//!
//! 1. [`blocks`] cuts a document's text block into paragraphs and, with [`punkt`], into sentences;
//! 2. [`rules`] keeps the sentences worth keeping (paper §3.2), with the help of [`complexity`];
//! 3. [`normalise`] gives the form that ids, counts and shingles are taken from;
//! 4. [`entropy`] scores a sentence by the corpus's word frequencies (Eq. 1);
//! 5. [`near`] finds near duplicates by MinHash;
//! 6. [`claims`] tells sentences of like meaning apart that say something else.
#![forbid(unsafe_code)]

pub mod blocks;
pub mod claims;
pub mod complexity;
pub mod entropy;
mod language;
pub mod near;
pub mod normalise;
mod patterns;
pub mod punkt;
pub mod rules;
