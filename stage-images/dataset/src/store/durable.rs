//! Files and folders that are on the disk, not only in its cache.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// How many folders are remembered before the memory is cleared; forgetting costs one more fsync each.
const MAX_FOLDERS: usize = 4096;

/// Makes what a folder lists survive a power cut: names that were added, renamed or removed.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Renames `from` to `to` if `to` is free; says whether it was.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // Older kernels and some network file systems lack the flag. Where it is missing a hard link does the same.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_new(from, to),
        Err(error) => Err(error.into()),
    }
}

/// As [`rename_new`], by a hard link. If the process dies between the two steps the name `from` is left over.
pub(super) fn link_new(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The folders that are known to be on the disk, so that each is synced once and not for every object in it.
#[derive(Debug, Default)]
pub(super) struct Folders {
    known: Mutex<HashSet<PathBuf>>,
}

impl Folders {
    /// Makes a folder and those above it, down from `root`, and sees that each is durably listed by its parent.
    ///
    /// A folder that another thread or process has just made is synced here too: that one may not have come to it yet.
    pub(super) fn ensure(&self, root: &Path, folder: &Path) -> io::Result<()> {
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        if folder != root
            && let Some(parent) = folder.parent()
        {
            self.ensure(root, parent)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => sync_folder(parent)?,
            }
        } else {
            fs::create_dir_all(folder)?;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_FOLDERS {
            known.clear();
        }
        known.insert(folder.to_owned());
        Ok(())
    }

    /// Forgets a folder that turned out to be gone, and those above it.
    pub(super) fn forget(&self, folder: &Path) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in folder.ancestors() {
            known.remove(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways of claiming a name must behave alike: the second is only ever taken where the kernel lacks the first.
    #[test]
    fn a_taken_name_is_never_replaced() {
        for claim in [rename_new, link_new] {
            let folder = tempfile::tempdir().unwrap();
            let (first, second, name) =
                (folder.path().join("first"), folder.path().join("second"), folder.path().join("name"));
            fs::write(&first, "1").unwrap();
            fs::write(&second, "2").unwrap();
            assert!(claim(&first, &name).unwrap());
            assert!(!first.exists());
            assert!(!claim(&second, &name).unwrap());
            assert!(second.exists());
            assert_eq!(fs::read(&name).unwrap(), b"1");
        }
    }

    #[test]
    fn a_folder_that_vanished_is_made_again_once_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let (folders, deep) = (Folders::default(), root.path().join("a/b/c"));
        folders.ensure(root.path(), &deep).unwrap();
        fs::remove_dir_all(root.path().join("a")).unwrap();
        folders.forget(&deep);
        folders.ensure(root.path(), &deep).unwrap();
        assert!(deep.is_dir());
    }
}
