//! Models that lie in a store, fetched when one is first asked for.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;
use realsyn_dataset::store::{Entry, Store, StoreError, StoreOptions, open};
use realsyn_models::folder_sha256;
use tempfile::TempDir;

use super::ModelError;
use super::models::unusable;
use super::stored_file::StoredFile;

/// The most bytes of models that each pod fetches for itself.
const MOST: u64 = 1 << 30;
/// Bytes that are in memory at once.
const PIECE: u64 = 8 << 20;

/// The folders of what was fetched, which go with this.
pub struct Fetched {
    options: StoreOptions,
    by_sha256: Mutex<HashMap<String, Model>>,
}

struct Model {
    folder: TempDir,
    bytes: u64,
}

impl Fetched {
    /// Nothing so far.
    pub fn new(options: StoreOptions) -> Self {
        Self { options, by_sha256: Mutex::default() }
    }

    /// The folder of the model at `uri`, whose hash has been compared.
    ///
    /// # Errors
    /// [`ModelError::Unfetchable`] where only a person can help, [`ModelError::NotFetched`] else.
    pub fn folder(&self, role: &str, uri: &str, sha256: &str) -> Result<PathBuf, ModelError> {
        let mut fetched = self.by_sha256.lock().expect("no holder panics");
        if let Some(model) = fetched.get(sha256) {
            return Ok(model.folder.path().to_owned());
        }
        let room = MOST - fetched.values().map(|model| model.bytes).sum::<u64>();
        let wrong = |why: String| ModelError::Unfetchable { role: role.to_owned(), uri: uri.to_owned(), why };
        let failed = |source: anyhow::Error| match source.downcast_ref() {
            Some(StoreError::Misconfigured(_)) => wrong(format!("cannot be read: {source:#}")),
            _ => ModelError::NotFetched { role: role.to_owned(), source },
        };
        let list = || {
            let (store, mut files, mut bytes) = (open(uri, &self.options)?, Vec::new(), 0);
            store.list("", &mut |entry| {
                bytes += entry.size;
                files.push(entry);
                // Enough to know that it is too much.
                if bytes > room { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            anyhow::Ok((store, files, bytes))
        };
        let (store, files, bytes) = list().map_err(failed)?;
        if files.is_empty() {
            return Err(wrong("holds no file: correct the address".into()));
        }
        if bytes > room {
            let why =
                "each pod would fetch them: give an image (oci://IMAGE:TAG/FOLDER) or a claim (pvc://CLAIM/FOLDER)";
            let beside = if room < MOST { format!(" beside {} of other models", MOST - room) } else { String::new() };
            return Err(wrong(format!("holds more than {room} bytes{beside}, and {why}")));
        }
        let folder = copy(store.as_ref(), &files).map_err(failed)?;
        let found = folder_sha256(folder.path()).map_err(unusable(role))?;
        if found != sha256 {
            return Err(wrong(format!("has sha256 {found}, and the build names {sha256}: correct one of them")));
        }
        tracing::info!(role, uri, bytes, "fetched a model");
        let path = folder.path().to_owned();
        fetched.insert(sha256.to_owned(), Model { folder, bytes });
        Ok(path)
    }
}

/// These files in a new folder.
fn copy(store: &dyn Store, files: &[Entry]) -> anyhow::Result<TempDir> {
    let folder = TempDir::with_prefix("realsyn-model-")?;
    let place = folder.path().display();
    for Entry { name, .. } in files {
        let to = folder.path().join(name);
        fs::create_dir_all(to.parent().unwrap_or(Path::new("")))?;
        let from = StoredFile::open(store, name)?.with_context(|| format!("{name} is gone"))?;
        io::copy(&mut from.pieces(PIECE), &mut File::create(&to)?).map_err(|error| {
            match error.downcast::<StoreError>() {
                Ok(error) => anyhow::Error::new(error).context(name.clone()),
                Err(error) => anyhow::Error::new(error).context(format!(
                    "{name} to {place}: give it room (TMPDIR; in a pod, resources.ephemeral-storage)"
                )),
            }
        })?;
    }
    Ok(folder)
}
