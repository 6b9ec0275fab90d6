//! Where bytes are kept: a folder, or a bucket of an S3 service.
//!
//! [`Store`] is the small set of operations that the commit protocol stands on; [`StoreExt`] adds what follows from
//! them. Every backend runs the same conformance suite.
//!
//! Objects appear whole or not at all, so a reader never sees a part of one. A name never serves both as an object and
//! as a folder of others: no store of files could hold that, so nothing here may ask for it.
//!
//! All calls block. They are made from plain threads, never from inside an async runtime.

mod at_once;
mod directory;
mod durable;
mod error;
mod ext;
mod name;
mod open;
mod percent;
mod probe;
mod s3;

pub use at_once::{AT_ONCE, at_once};
pub use directory::DirectoryStore;
pub use error::{Failure, StoreError};
pub use ext::{Settled, StoreExt};
pub use name::{check_name, check_prefix};
pub use open::{Credentials, StoreOptions, folder_of, open};
pub use probe::check_conditional;
pub use s3::{S3Options, S3Store};

use std::ops::{ControlFlow, Range};
use std::path::Path;

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The object's name, relative to the store's root.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// What tells one content of the name from another: the ETag in a bucket; a folder has none.
    pub version: Option<String>,
}

/// What became of a conditional put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutNew {
    /// The name was free and now holds these bytes.
    Created,
    /// The name was taken before this call; nothing was written.
    Exists,
    /// The store may or may not have written it: the response was lost, or another writer was at the same name. Only
    /// reading the object back can tell; [`StoreExt::put_new_settled`] does.
    Unknown,
}

/// A flat space of named objects.
///
/// Names are `/`-separated and checked by [`check_name`]; a bad name is [`StoreError::Misconfigured`]. Passing faults
/// are retried inside, with growing pauses; an error is what was left after that.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Writes an object, replacing one of the same name. When it returns, the object survives a power cut.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// As [`Store::put`], from a file, holding only a part of it in memory. Returns its length in bytes.
    fn put_file(&self, name: &str, file: &Path) -> Result<u64, StoreError>;

    /// Writes an object only if the name is free. Of any number of callers at one name, at most one creates it.
    ///
    /// After an error too the object may be there.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<PutNew, StoreError>;

    /// The whole object, or `None` where there is none. Its length is compared with what the store announced.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The bytes `range.start..range.end` of an object. An object that is absent or ends before the range does is an
    /// error ([`StoreError::Missing`], [`StoreError::Broken`]); an empty range is empty, and asks nothing.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError>;

    /// The object's length in bytes, or `None` where there is none.
    fn size(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// Visits the objects whose names start with `prefix` (which may end inside a segment), in the byte order of their
    /// names, until there are no more or `visit` breaks. The listing is never held whole: a bucket is read by pages, a
    /// folder tree one folder at a time.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Removes an object; one that is not there is no error.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Gives `to` the content of `from`, inside the store, replacing what `to` held.
    fn copy(&self, from: &str, to: &str) -> Result<(), StoreError>;

    /// Where this store is, for messages. Never holds a credential.
    fn describe(&self) -> String;
}
