//! What follows from the operations of a store.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::error::{Failure, StoreError};
use super::{PutNew, Store};

/// How often a conditional put is sent anew after its fate could not be read back.
const SETTLE_TRIES: u32 = 8;

/// Pause before the second of these puts; each further one is twice as long (2.5 s in all).
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Whose bytes a name holds after a conditional put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The bytes of this call. Two callers with equal bytes both read this: bytes that must tell writers apart have to
    /// name their attempt.
    Ours,
    /// Another's: these.
    Theirs(Vec<u8>),
}

/// Operations that every [`Store`] has through its own.
pub trait StoreExt: Store {
    /// The whole object; one that is not there is [`StoreError::Missing`].
    fn get_required(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.get(name)?.ok_or_else(|| StoreError::Missing(Failure::new("get", at(self, name), "it is not there")))
    }

    /// A conditional put that reads back what it cannot know: after `Exists` or `Unknown` the bytes at the name decide,
    /// and if nothing is there the put is sent again.
    fn put_new_settled(&self, name: &str, bytes: &[u8]) -> Result<Settled, StoreError> {
        for attempt in 0..SETTLE_TRIES {
            if self.put_new(name, bytes)? == PutNew::Created {
                return Ok(Settled::Ours);
            }
            match self.get(name)? {
                Some(found) if found == bytes => return Ok(Settled::Ours),
                Some(found) => return Ok(Settled::Theirs(found)),
                // Another writer may be under way; one that was only held up gets time to end.
                None => std::thread::sleep(FIRST_PAUSE * (1 << attempt)),
            }
        }
        let reason = format!("{SETTLE_TRIES} conditional puts in a row neither succeeded nor left an object to read");
        Err(StoreError::Unavailable(Failure::new("put_new", at(self, name), reason)))
    }

    /// The object read as JSON, or `None` where there is none. JSON of another shape is [`StoreError::Broken`].
    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.get(name)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(StoreError::Broken(Failure::caused("read", at(self, name), error))),
        }
    }

    /// The names under a prefix, in byte order; for listings that are known to be small, since it holds them all.
    fn list_names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        self.list(prefix, &mut |entry| {
            names.push(entry.name);
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

/// An object with its store, for messages.
pub(super) fn at<S: Store + ?Sized>(store: &S, name: &str) -> String {
    let root = store.describe();
    if name.is_empty() { root } else { format!("{}/{name}", root.trim_end_matches('/')) }
}
