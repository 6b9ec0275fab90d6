//! A file of the source, or of a model, that is larger than memory should hold: read in its order, or where it is needed.

use std::io::{self, Cursor, Read};
use std::ops::Range;

use bytes::Bytes;
use realsyn_dataset::formats::FormatError;
use realsyn_dataset::formats::parquet::Bytewise;
use realsyn_dataset::store::{Store, StoreError};

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not what its name says, or not a whole one.
    #[error(transparent)]
    Format(FormatError),
    /// The store did not give it, which is no fault of the file.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FormatError> for FileError {
    fn from(error: FormatError) -> Self {
        let FormatError::Io(error) = error else { return Self::Format(error) };
        match error.downcast::<StoreError>() {
            Ok(error) => Self::Store(error),
            Err(error) => Self::Format(error.into()),
        }
    }
}

/// A file in a store.
pub struct StoredFile<'a> {
    store: &'a dyn Store,
    name: &'a str,
    size: u64,
}

impl<'a> StoredFile<'a> {
    /// The file of this name; `None` if there is none.
    ///
    /// # Errors
    /// As [`Store::size`].
    pub fn open(store: &'a dyn Store, name: &'a str) -> Result<Option<Self>, StoreError> {
        Ok(store.size(name)?.map(|size| Self { store, name, size }))
    }

    /// Its bytes in order, so many of them in memory.
    pub fn pieces(self, bytes: u64) -> impl Read {
        Pieces { file: self, bytes, next: 0, piece: Cursor::default() }
    }
}

impl Bytewise for StoredFile<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.store.get_range(self.name, range).map(Bytes::from).map_err(io::Error::other)
    }
}

struct Pieces<'a> {
    file: StoredFile<'a>,
    bytes: u64,
    next: u64,
    piece: Cursor<Bytes>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 && self.next < self.file.size {
            let range = self.next..self.file.size.min(self.next + self.bytes);
            self.next = range.end;
            self.piece = Cursor::new(self.file.range(range)?);
        }
        self.piece.read(to)
    }
}
