//! What every store must do, whatever it is made of and whatever lies between.
//!
//! The suite runs as well where faults are injected. So it asks for the outcome that a caller relies on: what a single
//! conditional put answers is up to the weather, what it settles to is not.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use realsyn_dataset::store::{Settled, Store, StoreError, StoreExt, check_conditional};

/// Runs the suite on an empty store, and leaves objects there. `keys` is the size of the longest listing; above 1,000 a
/// bucket's takes several pages.
///
/// # Panics
///
/// When the store breaks a promise.
pub fn conformance(store: &dyn Store, keys: usize) {
    check_conditional(store).expect("conditional puts");
    assert_eq!(store.list_names("").expect("list"), [""; 0], "a probe must leave nothing behind");
    content(store);
    ranges(store);
    names(store);
    files(store);
    copies(store);
    conditional(store);
    race(store);
    readers(store);
    listing(store, keys);
}

/// Bytes in which every position can be told from its neighbours.
fn pattern(length: usize, salt: u8) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 ^ (index / 251) as u8 ^ salt).collect()
}

fn content(store: &dyn Store) {
    for length in [0, 1, 100_000] {
        let (name, bytes) = (format!("content/{length}"), pattern(length, 0));
        assert_eq!(store.get(&name).unwrap(), None);
        assert_eq!(store.size(&name).unwrap(), None);
        store.put(&name, &bytes).unwrap();
        assert_eq!(store.get(&name).unwrap().as_deref(), Some(&bytes[..]));
        assert_eq!(store.size(&name).unwrap(), Some(length as u64));
        let other = pattern(length / 2 + 7, 1);
        store.put(&name, &other).unwrap();
        assert_eq!(store.get_required(&name).unwrap(), other, "a put replaces all of what was there");
        assert_eq!(store.size(&name).unwrap(), Some(other.len() as u64));
        store.delete(&name).unwrap();
        assert_eq!(store.get(&name).unwrap(), None);
        store.delete(&name).expect("deleting twice is no error");
        let error = store.get_required(&name).unwrap_err();
        assert!(matches!(error, StoreError::Missing(_)) && error.to_string().contains(&name), "{error}");
    }
    store.put("content/json", br#"{"a": [1, 2]}"#).unwrap();
    let read = store.read_json::<BTreeMap<String, Vec<u8>>>("content/json").unwrap();
    assert_eq!(read, Some(BTreeMap::from([("a".to_owned(), vec![1, 2])])));
    assert_eq!(store.read_json::<u8>("content/none").unwrap(), None);
    let error = store.read_json::<u8>("content/json").unwrap_err();
    assert!(matches!(error, StoreError::Broken(_)), "{error:?}");
}

fn ranges(store: &dyn Store) {
    let bytes = pattern(70_000, 2);
    store.put("ranges/object", &bytes).unwrap();
    for (start, end) in [(0, 70_000), (0, 1), (69_999, 70_000), (1_000, 66_000)] {
        assert_eq!(store.get_range("ranges/object", start..end).unwrap(), bytes[start as usize..end as usize]);
    }
    assert_eq!(store.get_range("ranges/object", 5..5).unwrap(), [0; 0]);
    for (start, end) in [(69_999, 70_001), (70_000, 70_001), (80_000, 90_000)] {
        let error = store.get_range("ranges/object", start..end).unwrap_err();
        assert!(matches!(error, StoreError::Broken(_)), "{start}..{end}: {error:?}");
    }
    let error = store.get_range("ranges/none", 0..1).unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)), "{error:?}");
}

fn names(store: &dyn Store) {
    for name in ["names/with space", "names/ünïcode-图", "names/a+b%20&c=d?e#f", "names/<&>\"'", "names/~.hidden"] {
        store.put(name, name.as_bytes()).unwrap();
        assert_eq!(store.get_required(name).unwrap(), name.as_bytes());
        assert_eq!(store.list_names(name).unwrap(), [name]);
        let copied = name.replace("names/", "names/copied ");
        store.copy(name, &copied).unwrap();
        assert_eq!(store.get_required(&copied).unwrap(), name.as_bytes());
    }
    for name in ["", "/etc/passwd", "names/../../outside", "names/./a", "names//a", "names/", "names/\0"] {
        let refused = [
            store.put(name, b"").err(),
            store.put_new(name, b"").err(),
            store.put_file(name, "/dev/null".as_ref()).err(),
            store.get(name).err(),
            store.get_range(name, 0..0).err(),
            store.size(name).err(),
            store.delete(name).err(),
            store.copy(name, "names/a").err(),
            store.copy("names/a", name).err(),
        ];
        for (operation, error) in refused.into_iter().enumerate() {
            assert!(matches!(error, Some(StoreError::Misconfigured(_))), "{name:?}, {operation}: {error:?}");
        }
    }
}

fn files(store: &dyn Store) {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), pattern(300_000, 3));
    let file = folder.path().join("file");
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(store.put_file("files/object", &file).unwrap(), 300_000);
    assert_eq!(store.get_required("files/object").unwrap(), bytes);
    let error = store.put_file("files/other", &folder.path().join("none")).unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)), "{error:?}");
    assert_eq!(store.get("files/other").unwrap(), None);
}

fn copies(store: &dyn Store) {
    store.put("copies/a", b"first").unwrap();
    store.copy("copies/a", "copies/b/c").unwrap();
    store.put("copies/a", b"second").unwrap();
    assert_eq!(store.get_required("copies/b/c").unwrap(), b"first", "a copy does not follow its source");
    store.copy("copies/a", "copies/b/c").unwrap();
    store.copy("copies/a", "copies/b/c").expect("copying again changes nothing");
    assert_eq!(store.get_required("copies/b/c").unwrap(), b"second", "a copy replaces what was there");
    store.copy("copies/a", "copies/a").expect("copying onto itself changes nothing");
    store.delete("copies/a").unwrap();
    assert_eq!(store.get_required("copies/b/c").unwrap(), b"second", "a copy outlives its source");
    for to in ["copies/d", "copies/none"] {
        let error = store.copy("copies/none", to).unwrap_err();
        assert!(matches!(error, StoreError::Missing(_)), "{error:?}");
    }
    assert_eq!(store.list_names("copies/").unwrap(), ["copies/b/c"]);
}

fn conditional(store: &dyn Store) {
    assert_eq!(store.put_new_settled("conditional/a", b"first").unwrap(), Settled::Ours);
    assert_eq!(store.put_new_settled("conditional/a", b"second").unwrap(), Settled::Theirs(b"first".to_vec()));
    assert_eq!(store.put_new_settled("conditional/a", b"first").unwrap(), Settled::Ours, "equal bytes are ours");
    assert_eq!(store.get_required("conditional/a").unwrap(), b"first");
    assert_eq!(store.put_new_settled("conditional/empty", b"").unwrap(), Settled::Ours);
    assert_eq!(store.put_new_settled("conditional/empty", b"x").unwrap(), Settled::Theirs(Vec::new()));
}

/// Sixteen writers at one name: one wins, and all agree on which.
fn race(store: &dyn Store) {
    const WRITERS: usize = 16;
    for round in 0..2 {
        let (name, start) = (format!("race/{round}"), Barrier::new(WRITERS));
        let bytes = |writer: usize| pattern(1_000 + 300 * writer, writer as u8);
        let settled: Vec<_> = std::thread::scope(|scope| {
            let write = |writer| {
                start.wait();
                store.put_new_settled(&name, &bytes(writer)).unwrap()
            };
            let threads: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..WRITERS).filter(|&writer| settled[writer] == Settled::Ours).collect();
        assert_eq!(winners.len(), 1, "round {round}: writers {winners:?} all hold the name");
        let winner = bytes(winners[0]);
        assert_eq!(store.get_required(&name).unwrap(), winner);
        for (writer, settled) in settled.into_iter().enumerate().filter(|(writer, _)| *writer != winners[0]) {
            assert!(settled == Settled::Theirs(winner.clone()), "round {round}: writer {writer} saw other bytes");
        }
    }
}

/// Readers of a name that is written, replaced and deleted see one of its contents whole, or nothing.
fn readers(store: &dyn Store) {
    let contents: Vec<_> = (0..4).map(|salt| pattern(20_000 + 9_000 * usize::from(salt), salt)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if let Some(read) = store.get("readers/object").unwrap() {
                        assert!(contents.contains(&read), "{} bytes that no one wrote", read.len());
                    }
                }
            });
        }
        for content in contents.iter().cycle().take(8) {
            store.put("readers/object", content).unwrap();
            if content.len() == contents[3].len() {
                store.delete("readers/object").unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn listing(store: &dyn Store, keys: usize) {
    // Where '-', '.', '/' and '0' follow one name, a folder's place among its siblings is not that of its bare name.
    let mut names: Vec<String> =
        ["a", "b-c", "b.c", "b/c", "b/d/e", "b0", "bü/c", "c/z"].iter().map(|name| format!("listing/{name}")).collect();
    names.extend((names.len()..keys).map(|number| format!("listing/n/{}/{number}", number % 7)));
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(8)) {
            scope.spawn(move || part.iter().for_each(|name| store.put(name, name.as_bytes()).unwrap()));
        }
    });
    names.sort_unstable();
    let mut listed = Vec::new();
    store
        .list("listing/", &mut |entry| {
            listed.push((entry.name, entry.size));
            ControlFlow::Continue(())
        })
        .unwrap();
    let expected: Vec<_> = names.iter().map(|name| (name.clone(), name.len() as u64)).collect();
    assert!(listed == expected, "{} of {} objects listed, or out of order", listed.len(), expected.len());

    let under = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).cloned().collect::<Vec<_>>();
    for prefix in ["listing/b", "listing/b/", "listing/b/d", "listing/n/3/1", "listing/none", "listing/a", "lis"] {
        assert_eq!(store.list_names(prefix).unwrap(), under(prefix), "{prefix}");
    }
    let mut first = Vec::new();
    store
        .list("listing/", &mut |entry| {
            first.push(entry.name);
            if first.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
    assert_eq!(first, names[..3]);
    for prefix in ["/", "../", "listing//"] {
        let error = store.list(prefix, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured(_)), "{prefix}: {error:?}");
    }
}
