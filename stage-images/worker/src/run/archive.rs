//! Tars of pictures, as img2dataset writes them: in a URL an archive is a folder. A picture is read by its range.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use realsyn_dataset::formats::tar::{IndexEntry, index};
use realsyn_dataset::store::{Store, StoreError};

use super::stored_file::{FileError, StoredFile};

/// What an archive's name ends with.
const ENDING: &str = ".tar";
/// Bytes that are asked of the store at once while an archive is gone through.
const PIECE: u64 = 8 << 20;

/// Whether a file is taken for an archive, by its name.
pub fn is_archive(name: &str) -> bool {
    name.len() > ENDING.len() && name.to_ascii_lowercase().ends_with(ENDING)
}

/// The files of an archive, in their order; `None` if the store has no such archive. A piece of it is in memory at a time.
pub fn files_of(store: &dyn Store, name: &str) -> Result<Option<Vec<IndexEntry>>, FileError> {
    let Some(file) = StoredFile::open(store, name)? else { return Ok(None) };
    Ok(Some(index(file.pieces(PIECE))?))
}

/// A file's place in an archive.
pub struct Place<'n> {
    /// The archive's name.
    pub archive: &'n str,
    /// The file's bytes in it; `None` if the archive has no such file.
    pub range: Option<Range<u64>>,
}

/// The archives that a shard's images lie in, each gone through once.
#[derive(Default)]
pub struct Archives {
    /// By store and name; `None` where there is no archive of that name.
    known: HashMap<String, Option<HashMap<String, Range<u64>>>>,
}

impl Archives {
    /// Where a name below a store lies if it leads into an archive. Of two files of one name the first counts.
    pub fn find<'n>(&mut self, store: &dyn Store, name: &'n str) -> Result<Option<Place<'n>>, StoreError> {
        for (at, _) in name.to_ascii_lowercase().match_indices(".tar/") {
            let end = at + ENDING.len();
            if let Some(files) = self.files(store, &name[..end])? {
                return Ok(Some(Place { archive: &name[..end], range: files.get(&name[end + 1..]).cloned() }));
            }
        }
        Ok(None)
    }

    fn files(&mut self, store: &dyn Store, archive: &str) -> Result<Option<&HashMap<String, Range<u64>>>, StoreError> {
        let entry = match self.known.entry(format!("{} {archive}", store.describe())) {
            Entry::Occupied(known) => return Ok(known.into_mut().as_ref()),
            Entry::Vacant(entry) => entry,
        };
        let files = match files_of(store, archive) {
            Ok(entries) => entries,
            // It could be read when its pictures were listed: none of them is found any more.
            Err(FileError::Format(_)) => Some(Vec::new()),
            Err(FileError::Store(error)) => return Err(error),
        };
        let places = |entries: Vec<IndexEntry>| {
            let mut places = HashMap::with_capacity(entries.len());
            for file in entries {
                places.entry(file.name).or_insert(file.offset..file.offset + file.len);
            }
            places
        };
        Ok(entry.insert(files.map(places)).as_ref())
    }
}
