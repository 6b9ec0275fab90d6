//! Lists that a setting points to: block lists, evaluation sets, vocabularies, takedowns. Each is `{uri, sha256}`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use realsyn_crds::ListRef;
use realsyn_dataset::store::{StoreExt, StoreOptions, open};
use realsyn_plan::Id;
use realsyn_plan::mounts::mount;
use sha2::{Digest, Sha256};

use super::StageError;
use crate::stages::hosts::listed;

/// Reads lists; relative paths are below the build file's folder.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// The folder of the build file.
    pub base: PathBuf,
    /// How to reach stores.
    pub options: StoreOptions,
}

impl Lists {
    /// The lines of a list in order: trimmed, without empty ones and `#` comments. No list has no lines.
    ///
    /// # Errors
    /// A list that cannot be read, or whose bytes have another sha256 than the setting says.
    pub fn lines_in_order(&self, list: Option<&ListRef>) -> Result<Vec<String>, StageError> {
        let Some(list) = list else { return Ok(Vec::new()) };
        let uri = resolve(&self.base, &list.uri);
        let (folder, file) = uri.rsplit_once('/').unwrap_or((".", &uri));
        let bytes = open(folder, &self.options)
            .and_then(|store| store.get_required(file))
            .map_err(|e| StageError::Settings(format!("the list {} cannot be read: {e}", list.uri)))?;
        let found: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        if found != list.sha256 {
            return Err(StageError::Settings(format!(
                "the list {} has sha256 {found}, but the build says {}: correct one of them",
                list.uri, list.sha256
            )));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| StageError::Settings(format!("the list {} is not UTF-8 text", list.uri)))?;
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        Ok(lines.map(str::to_owned).collect())
    }

    /// The hosts of a list, one per line, in the form in which hosts are compared.
    ///
    /// # Errors
    /// As [`Self::lines_in_order`], and a line that is no host.
    pub fn hosts(&self, list: Option<&ListRef>) -> Result<BTreeSet<String>, StageError> {
        self.each(list, listed, "a host: write its name alone, as images.example")
    }

    /// The ids of a list, one per line.
    ///
    /// # Errors
    /// As [`Self::lines_in_order`], and a line that is no id.
    pub fn ids(&self, list: Option<&ListRef>) -> Result<BTreeSet<Id>, StageError> {
        self.each(list, |line| line.parse().ok(), "an id: write its 32 hexadecimal digits")
    }

    fn each<T: Ord>(
        &self,
        list: Option<&ListRef>,
        read: impl Fn(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<BTreeSet<T>, StageError> {
        let Some(list) = list else { return Ok(BTreeSet::new()) };
        let wrong = |line: &str| StageError::Settings(format!("the list {}: `{line}` is not {wanted}", list.uri));
        self.lines_in_order(Some(list))?.iter().map(|line| read(line).ok_or_else(|| wrong(line))).collect()
    }
}

/// A URI as given, a path below `base` if it is relative, or the path at which a pod finds a volume.
pub fn resolve(base: &std::path::Path, uri: &str) -> String {
    if let Some(mount) = mount(uri) {
        return mount.path;
    }
    if uri.contains("://") || uri.starts_with('/') { uri.to_owned() } else { base.join(uri).display().to_string() }
}
