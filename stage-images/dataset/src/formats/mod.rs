//! File formats: Parquet tables, `.npy` embeddings, WebDataset tars, and the readers of source documents.
//!
//! Everything here works on bytes in memory or on `Read` and `Write`; where bytes come from is `store`'s subject. What
//! is written is a function of the rows alone: the same rows give the same bytes on every machine. What is read is
//! hostile until proven otherwise: a size that a file claims is compared with a limit before memory is set aside for it,
//! and no panic of a decoder passes these modules.

mod columns;
mod error;
pub mod inventory;
pub mod npy;
pub mod parquet;
pub mod readers;
pub mod release;
pub mod table;
pub mod tar;
mod thrift;

pub use columns::{Blob, Cell, Row};
pub use error::FormatError;
