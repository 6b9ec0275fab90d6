//! The one property of a store that cannot be taken on trust.

use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{Failure, StoreError};
use super::ext::{Settled, StoreExt, at};
use super::{PutNew, Store};

/// How often a second put is tried whose answer says neither yes nor no.
const PROBE_TRIES: usize = 8;

/// Sees that the store refuses a second conditional put, by trying it on an object of its own: `_probe-` and a name that no
/// other probe has.
///
/// Commits stand on this. A store that ignores `If-None-Match` is [`StoreError::Misconfigured`]; one that may not be
/// written to is [`StoreError::Denied`].
pub fn check_conditional(store: &dyn Store) -> Result<(), StoreError> {
    let name = format!("_probe-{}", nonce());
    let outcome = probe(store, &name);
    let removed = store.delete(&name);
    outcome?;
    removed
}

fn probe(store: &dyn Store, name: &str) -> Result<(), StoreError> {
    let (first, second) = (b"first".as_slice(), b"second".as_slice());
    let ignored = || {
        let reason = "this store lets a second conditional put replace the first (it ignores If-None-Match), so two \
                      workers could both publish one shard; use a store with conditional writes";
        StoreError::Misconfigured(Failure::new("probe", at(store, name), reason))
    };
    if store.put_new_settled(name, first)? != Settled::Ours {
        return Err(ignored());
    }
    for _ in 0..PROBE_TRIES {
        let answer = store.put_new(name, second)?;
        if answer == PutNew::Created || store.get_required(name)? != first {
            return Err(ignored());
        }
        if answer == PutNew::Exists {
            return Ok(());
        }
    }
    let reason = format!("{PROBE_TRIES} conditional puts in a row got no clear answer");
    Err(StoreError::Unavailable(Failure::new("probe", at(store, name), reason)))
}

/// A name part that no other probe has: builds may start at the same moment on one store.
fn nonce() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{} {:?} {since_epoch:?}", std::process::id(), std::thread::current().id());
    blake3::hash(seed.as_bytes()).to_hex()[..32].to_owned()
}
