//! What can be wrong with a file.

/// A file that cannot be read or written, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file ends before something that it announces: fetch it again.
    #[error("the file is cut off: {what} needs {needed} bytes and {found} are there")]
    Truncated {
        /// What could not be read.
        what: &'static str,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file contradicts its own format, or the format that was asked for.
    #[error("{what} is damaged or not what it claims to be: {detail}")]
    Corrupt {
        /// The part of the file.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The file asks for more memory or work than the limit allows. Nothing of that size has been set aside.
    #[error("{what} is too large: {found}, and the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The size that the file claims.
        found: u64,
        /// The size that is allowed.
        limit: u64,
    },
    /// The file is sound, but uses a part of the format that is not supported here.
    #[error("{what} uses {detail}, which is not supported")]
    Unsupported {
        /// The part of the file.
        what: &'static str,
        /// What it uses.
        detail: String,
    },
    /// The table lacks a column: it is of another format, or another version of it.
    #[error("the table has no column `{column}`{}; its columns are {}", hint(nearest), found.join(", "))]
    MissingColumn {
        /// The column that was looked for.
        column: String,
        /// The columns that are there, at most 32 of them.
        found: Vec<String>,
        /// The column with the most similar name, if one is near.
        nearest: Option<String>,
    },
    /// The rows given cannot be written in this format.
    #[error("{what} cannot be written: {detail}")]
    Unwritable {
        /// What was to be written.
        what: &'static str,
        /// Why it cannot be.
        detail: String,
    },
    /// The underlying reader or writer failed.
    #[error("reading or writing failed")]
    Io(#[from] std::io::Error),
}

impl FormatError {
    pub(crate) fn corrupt(what: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { what, detail: detail.to_string() }
    }

    pub(crate) fn unwritable(what: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Unwritable { what, detail: detail.to_string() }
    }

    pub(crate) fn missing_column<'a>(column: &str, found: impl Iterator<Item = &'a str> + Clone) -> Self {
        let nearest = found
            .clone()
            .map(|name| (strsim::normalized_levenshtein(name, column), name))
            .filter(|(similarity, _)| *similarity >= 0.5)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name.to_owned());
        let found = found.take(32).map(str::to_owned).collect();
        Self::MissingColumn { column: column.to_owned(), found, nearest }
    }

    /// Fails unless `found` is within `limit`.
    pub(crate) fn check(what: &'static str, found: u64, limit: u64) -> Result<(), Self> {
        if found > limit {
            return Err(Self::TooLarge { what, found, limit });
        }
        Ok(())
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
