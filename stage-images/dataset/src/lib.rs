//! Stores, file formats, and the commit protocol.
//!
//! `store` moves bytes, `formats` gives them meaning, `protocol` decides which of them count. The algorithms of the
//! pipeline live elsewhere; nothing here knows what a sentence or an embedding is for.

pub mod formats;
pub mod protocol;
pub mod store;
