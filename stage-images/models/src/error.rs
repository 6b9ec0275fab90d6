//! What can go wrong with a model, in terms of what the caller can do about it.

use std::path::{Path, PathBuf};

/// An error of this crate. Everything about a model's files is found while it loads, before the first batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}; check that the model folder is complete and readable", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not the one that was pinned.
    #[error("{}: SHA-256 is {found}, expected {expected}; fetch the file again, and pin a new hash only if you trust the new file", path.display())]
    Digest {
        /// The file or folder.
        path: PathBuf,
        /// The pinned hash, lower-case hex.
        expected: String,
        /// The hash of what is there, lower-case hex.
        found: String,
    },
    /// A file's content is not what its format demands, or is not a model that this loader knows.
    #[error("{}: {reason}; fetch the file again, or name a model that this loader supports", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A tensor that the architecture needs is absent.
    #[error("{}: tensor `{name}` is missing{}; the file is incomplete or holds another architecture: use the model that the configuration names", path.display(), hint(similar))]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's expected name.
        name: String,
        /// A tensor in the file with a related name, if there is one.
        similar: Option<String>,
    },
    /// A tensor has another shape than the architecture needs.
    #[error("{}: tensor `{name}` has shape {found:?}, expected {expected:?}; the file holds another size or architecture", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// An input cannot be given to the model.
    #[error("input {index}: {reason}")]
    Input {
        /// Position in the slice that was passed.
        index: usize,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// A tensor operation failed; with loaded weights of the right shapes this is a lack of memory or a defect.
    #[error("{model}: {source}; pass fewer or shorter inputs at once, and report this if it stays")]
    Compute {
        /// The model's name.
        model: &'static str,
        /// What the tensor library said.
        source: candle_core::Error,
    },
}

fn hint(similar: &Option<String>) -> String {
    similar.as_ref().map(|name| format!(" (the file has `{name}`)")).unwrap_or_default()
}

impl ModelError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn compute(model: &'static str) -> impl Fn(candle_core::Error) -> Self {
        move |source| Self::Compute { model, source }
    }
}
