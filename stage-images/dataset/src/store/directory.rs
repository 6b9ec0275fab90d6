//! A folder as a store.
//!
//! A writer fills a hidden temporary file in the object's own folder, syncs it, renames it to its name and syncs the
//! folder: two syncs an object, and one more for each folder that this process sees for the first time. What a killed
//! writer leaves behind is a hidden file that no listing shows and no name can reach.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::durable::{Folders, rename_new, sync_folder};
use super::error::{Failure, StoreError};
use super::ext::at;
use super::name::{TEMPORARY, check_name, check_prefix, fault};
use super::{Entry, PutNew, Store};

/// A store of files under one folder.
///
/// Symbolic links to files are followed, those to folders inside the root are not listed (they may form rings).
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    folders: Folders,
}

/// An unfinished file; removed when dropped, unless it has been given its name.
struct Temporary {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing depends on it: a leftover is ignored by every reader.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl DirectoryStore {
    /// Opens a folder that exists; [`StoreError::Missing`] if it does not, [`StoreError::Misconfigured`] if it is a
    /// file.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let object = root.display().to_string();
        let metadata = fs::metadata(&root).map_err(|error| StoreError::from_io("open", &object, error))?;
        if metadata.is_dir() {
            Ok(Self { root, folders: Folders::default() })
        } else {
            Err(StoreError::Misconfigured(Failure::new("open", object, "it is a file; name a folder")))
        }
    }

    /// Opens a folder, and makes it and those above it where they are missing.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        match fs::create_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(StoreError::from_io("create", root.display().to_string(), error))
            }
            _ => Self::open(root),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    /// Keeps the operation and the object with an error of the file system.
    fn failed<'a>(&'a self, operation: &'static str, name: &'a str) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
        move |error| StoreError::from_io(operation, at(self, name), error)
    }

    /// Opens an object, or `None` where there is none. A folder is no object.
    fn open_object(&self, operation: &'static str, name: &str) -> Result<Option<(File, u64)>, StoreError> {
        let opened = File::open(self.path(name)?).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        match opened {
            Ok((file, metadata)) if metadata.is_file() => Ok(Some((file, metadata.len()))),
            Ok(_) => Ok(None),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(self.failed(operation, name)(error)),
        }
    }

    /// A new temporary file beside `path`.
    fn temporary(&self, path: &Path) -> io::Result<Temporary> {
        let folder = path.parent().unwrap_or(&self.root);
        match create_temporary(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.folders.forget(folder);
                self.folders.ensure(&self.root, folder)?;
                create_temporary(folder)
            }
            created => {
                self.folders.ensure(&self.root, folder)?;
                created
            }
        }
    }

    /// Writes, syncs and names a file; `fill` gives its content.
    fn replace<T>(&self, path: &Path, fill: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut temporary = self.temporary(path)?;
        let filled = fill(&mut temporary.file)?;
        temporary.file.sync_all()?;
        fs::rename(&temporary.path, path)?;
        temporary.kept = true;
        sync_folder(path.parent().unwrap_or(&self.root))?;
        Ok(filled)
    }

    /// Visits one folder, whose name with a final `/` is `base`; the entries below it start with `prefix`.
    fn walk(
        &self,
        base: &str,
        prefix: &str,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let entries = match fs::read_dir(self.root.join(base)) {
            Ok(entries) => entries,
            Err(error) if absent(&error) => return Ok(ControlFlow::Continue(())),
            Err(error) => return Err(self.failed("list", base)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(self.failed("list", base))?;
            let Ok(segment) = entry.file_name().into_string() else {
                tracing::warn!(folder = %at(self, base), file = ?entry.file_name(), "left out: its name is not UTF-8");
                continue;
            };
            if segment.starts_with(TEMPORARY) {
                continue;
            }
            let kind = entry.file_type().map_err(self.failed("list", base))?;
            // With its slash a folder sorts among the files as the names below it do.
            let name = if kind.is_dir() { format!("{base}{segment}/") } else { format!("{base}{segment}") };
            if name.starts_with(prefix) || (kind.is_dir() && prefix.starts_with(&name)) {
                names.push(name);
            }
        }
        names.sort_unstable();
        for name in names {
            let flow = if name.ends_with('/') {
                self.walk(&name, prefix, visit)?
            } else if let Some(reason) = fault(&name) {
                tracing::warn!(object = %at(self, &name), reason, "left out: its name cannot be used");
                ControlFlow::Continue(())
            } else {
                match self.size(&name)? {
                    Some(size) => visit(Entry { name, size, version: None }),
                    None => ControlFlow::Continue(()),
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Store for DirectoryStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(&self.path(name)?, |file| file.write_all(bytes)).map_err(self.failed("put", name))
    }

    fn put_file(&self, name: &str, file: &Path) -> Result<u64, StoreError> {
        let path = self.path(name)?;
        let mut source =
            File::open(file).map_err(|error| StoreError::from_io("read", file.display().to_string(), error))?;
        self.replace(&path, |target| io::copy(&mut source, target)).map_err(self.failed("put", name))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<PutNew, StoreError> {
        let path = self.path(name)?;
        let create = || {
            // A taken name is common (a task that runs twice), and finding it so here spares the writing.
            if !path.try_exists()? {
                let mut temporary = self.temporary(&path)?;
                temporary.file.write_all(bytes)?;
                temporary.file.sync_all()?;
                temporary.kept = rename_new(&temporary.path, &path)?;
                if temporary.kept {
                    sync_folder(path.parent().unwrap_or(&self.root))?;
                    return Ok(PutNew::Created);
                }
            }
            // The one who took the name may not have synced it yet, and what the caller does next relies on it.
            sync_folder(path.parent().unwrap_or(&self.root))?;
            Ok(PutNew::Exists)
        };
        create().map_err(self.failed("put_new", name))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((mut file, size)) = self.open_object("get", name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(self.failed("get", name))?;
        if bytes.len() as u64 != size {
            let reason = format!("{size} bytes were announced, {} came", bytes.len());
            return Err(StoreError::Broken(Failure::new("get", at(self, name), reason)));
        }
        Ok(Some(bytes))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let Some((mut file, size)) = self.open_object("get_range", name)? else {
            return Err(StoreError::Missing(Failure::new("get_range", at(self, name), "it is not there")));
        };
        if range.end > size {
            let reason = format!("bytes {}..{} were asked for, it has {size}", range.start, range.end);
            return Err(StoreError::Broken(Failure::new("get_range", at(self, name), reason)));
        }
        let mut read = || {
            let length = usize::try_from(range.end - range.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(self.failed("get_range", name))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.path(name)?) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(self.failed("size", name)(error)),
        }
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), StoreError> {
        check_prefix(prefix)?;
        let base = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        self.walk(base, prefix, visit).map(|_| ())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            // Durable too: an object that comes back after a power cut would be one that nothing knows of.
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)).map_err(self.failed("delete", name)),
            Err(error) if absent(&error) || error.kind() == io::ErrorKind::IsADirectory => Ok(()),
            Err(error) => Err(self.failed("delete", name)(error)),
        }
    }

    fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (source, target) = (self.path(from)?, self.path(to)?);
        let Some((mut file, _)) = self.open_object("copy", from)? else {
            return Err(StoreError::Missing(Failure::new("copy", at(self, from), "it is not there")));
        };
        if from == to {
            return Ok(());
        }
        let mut copy = || {
            // Objects are replaced, never changed in place, so two names may share one file.
            let mut temporary = self.temporary(&target)?;
            fs::remove_file(&temporary.path)?;
            if fs::hard_link(&source, &temporary.path).is_ok() {
                file.sync_all()?;
                // Renaming between two links of one file does nothing, and then the temporary name must go: `kept`
                // stays false.
                fs::rename(&temporary.path, &target)?;
                return sync_folder(target.parent().unwrap_or(&self.root));
            }
            temporary.kept = true;
            self.replace(&target, |copy| io::copy(&mut file, copy)).map(|_| ())
        };
        copy().map_err(self.failed("copy", to))
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

/// True if there is no object at a path: nothing there, or a file where a folder would have to be.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes a temporary file that no other thread or process has; leftovers of dead ones are stepped over.
fn create_temporary(folder: &Path) -> io::Result<Temporary> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => {
                return Ok(Temporary { path, file, kept: false });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
