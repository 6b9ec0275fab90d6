//! The directory store: the common suite, and what only files have.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use realsyn_dataset::store::{
    DirectoryStore, PutNew, Settled, Store, StoreError, StoreExt, StoreOptions, check_conditional, open,
};
use realsyn_e2e::conformance;

/// Set for a child process of a test: the folder that it works on.
const CHILD: &str = "REALSYN_TEST_STORE_CHILD";

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance(&DirectoryStore::open(folder.path()).unwrap(), 300);
}

#[test]
fn a_conditional_put_says_whether_the_name_was_free() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    assert_eq!(store.put_new("a/b", b"1").unwrap(), PutNew::Created);
    assert_eq!(store.put_new("a/b", b"2").unwrap(), PutNew::Exists);
    assert_eq!(files(&folder.path().join("a")), ["b"], "nothing else is left in the folder");
}

#[test]
fn what_a_killed_writer_leaves_is_neither_seen_nor_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let leftover = |number: usize| format!(".realsyn-tmp-{}-{number}", std::process::id());
    fs::create_dir(folder.path().join("a")).unwrap();
    // Names that this process is about to use, as if an earlier one had had its number.
    for number in 0..200 {
        fs::write(folder.path().join("a").join(leftover(number)), "half an obj").unwrap();
    }
    store.put("a/object", b"whole").unwrap();
    assert_eq!(store.put_new_settled("a/other", b"whole").unwrap(), Settled::Ours);
    assert_eq!(store.list_names("").unwrap(), ["a/object", "a/other"]);
    assert_eq!(store.list_names("a/.realsyn").unwrap(), [""; 0]);
    assert!(matches!(store.get(&format!("a/{}", leftover(0))), Err(StoreError::Misconfigured(_))));
}

#[test]
fn folders_and_odd_files_are_no_objects() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    store.put("a/b", b"1").unwrap();
    assert_eq!(store.get("a").unwrap(), None);
    assert_eq!(store.size("a").unwrap(), None);
    assert_eq!(store.get("a/b/c").unwrap(), None, "a file is no folder");
    store.delete("a").unwrap();
    assert_eq!(store.get_required("a/b").unwrap(), b"1");
    assert!(store.put("a/b/c", b"").is_err());
    // A link to a file is one; a link to a folder would make a ring here; a dangling one is nothing.
    symlink(folder.path().join("a/b"), folder.path().join("link")).unwrap();
    symlink(folder.path(), folder.path().join("a/ring")).unwrap();
    symlink(folder.path().join("none"), folder.path().join("dangling")).unwrap();
    assert_eq!(store.list_names("").unwrap(), ["a/b", "link"]);
    assert_eq!(store.get_required("link").unwrap(), b"1");
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("new\nline"), "").unwrap();
    assert_eq!(store.list_names("").unwrap(), ["a/b", "link"]);
}

#[test]
fn a_folder_that_someone_removes_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    store.put("a/b/c", b"1").unwrap();
    fs::remove_dir_all(folder.path().join("a")).unwrap();
    store.put("a/b/c", b"2").unwrap();
    assert_eq!(store.get_required("a/b/c").unwrap(), b"2");
}

#[test]
fn addresses_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("with space");
    let (create, keep) = (StoreOptions { create: true, ..StoreOptions::default() }, StoreOptions::default());
    let encoded = format!("file://{}/with%20space", folder.path().display());
    let error = open(&encoded, &keep).unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)), "a mistyped source is no empty one: {error:?}");
    open(&encoded, &create).unwrap().put("a", b"1").unwrap();
    assert_eq!(open(path.to_str().unwrap(), &keep).unwrap().get_required("a").unwrap(), b"1");
    let file = path.join("a").display().to_string();
    for (uri, options, says) in [
        ("", &keep, "empty"),
        ("gs://bucket", &keep, "gs://"),
        ("s3://", &keep, "bucket"),
        ("file://relative", &keep, "absolute"),
        ("file:///%zz", &keep, "percent"),
        (file.as_str(), &keep, "it is a file"),
        (file.as_str(), &create, "it is a file"),
    ] {
        let error = open(uri, options).unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured(_)) && error.to_string().contains(says), "{uri}: {error}");
    }
}

/// Runs the test `name` of this file in a child process, where [`CHILD`] names `folder`.
fn in_child(mut command: Command, name: &str, folder: &Path) -> bool {
    let output =
        command.args([name, "--exact", "--ignored", "--nocapture"]).env(CHILD, folder).stdin(Stdio::null()).output();
    match output {
        Ok(output) => {
            let text =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            assert!(output.status.success() && text.contains("1 passed"), "{name}: {}\n{text}", output.status);
            true
        }
        Err(error) => {
            realsyn_skip::skipped(name, format!("a child process could not be started: {error}"));
            false
        }
    }
}

#[test]
fn a_folder_without_write_permission_refuses() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("closed")).unwrap();
    fs::write(folder.path().join("closed/object"), "1").unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path().join("closed"), PermissionsExt::from_mode(0o555)).unwrap();
    // Permissions do not hold root back, so the child is someone else. That one may not reach this file where it lies.
    let copy = folder.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(copy);
    if rustix::process::getuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    in_child(command, "child_is_refused", &folder.path().join("closed"));
}

#[test]
#[ignore = "runs as a child of a_folder_without_write_permission_refuses"]
fn child_is_refused() {
    let store = DirectoryStore::open(std::env::var_os(CHILD).unwrap()).unwrap();
    assert_eq!(store.get_required("object").unwrap(), b"1");
    let errors = [
        store.put("object", b"2").unwrap_err(),
        store.put_new("new", b"2").unwrap_err(),
        store.put("new/folder", b"2").unwrap_err(),
        store.delete("object").unwrap_err(),
        check_conditional(&store).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
        assert!(error.to_string().contains("permissions"), "{error}");
    }
}

/// Fills a store until there is no room, and sees that it says so, keeps what it had and leaves no half-written file.
fn fill(root: &Path, large: usize) {
    let store = DirectoryStore::open(root).unwrap();
    store.put("small", b"kept").unwrap();
    let file = root.join("small");
    for error in
        [store.put("large", &vec![1; large]).unwrap_err(), store.put_new("large", &vec![1; large]).unwrap_err()]
    {
        assert!(matches!(error, StoreError::Full(_)) && error.to_string().contains("large"), "{error:?}");
    }
    assert_eq!(store.list_names("").unwrap(), ["small"]);
    assert_eq!(files(root), ["small"], "the unfinished file is gone, and its room with it");
    store.put("small", b"replaced").unwrap();
    assert_eq!(store.put_file("copy", &file).unwrap(), 8);
}

#[test]
fn a_full_disk_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    // Files above 8 or 16 KiB (the unit differs by shell) are refused; the signal that comes with it is ignored.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    in_child(command, "child_fills_up", folder.path());
}

#[test]
#[ignore = "runs as a child of a_full_disk_is_told_apart"]
fn child_fills_up() {
    fill(std::env::var_os(CHILD).unwrap().as_ref(), 100_000);
}

#[test]
fn a_full_file_system_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        realsyn_skip::skipped(
            "a_full_file_system_is_told_apart",
            "only root can mount the small file system that this test fills",
        );
        return;
    }
    let filled = std::panic::catch_unwind(|| fill(folder.path(), 1 << 20));
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
    filled.unwrap();
}

#[test]
fn a_listing_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    for name in ["a/1", "a/2", "b"] {
        store.put(name, b"").unwrap();
    }
    let mut seen = Vec::new();
    store
        .list("", &mut |entry| {
            seen.push(entry.name);
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(seen, ["a/1"], "a break inside a folder stops its parents too");
}
