//! Errors of a store, named by what the caller can do about them.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What was being done when a store failed, and to which object.
#[derive(Debug)]
pub struct Failure {
    /// The operation: `put`, `get`, `list` …
    pub operation: &'static str,
    /// The object, or the prefix of a listing, with the store's own address before it.
    pub object: String,
    /// What is wrong, in words.
    pub reason: String,
    /// The error underneath, if there was one.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.object, self.reason)
    }
}

impl Failure {
    /// A failure without an error underneath.
    pub(crate) fn new(operation: &'static str, object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { operation, object: object.into(), reason: reason.into(), source: None }
    }

    /// A failure that keeps the error underneath; the reason is that error's own text.
    pub(crate) fn caused(
        operation: &'static str,
        object: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self { operation, object: object.into(), reason: source.to_string(), source: Some(source) }
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// The object is not there. Do what makes it, or look for another name.
    Missing(Failure),
    /// The store refuses: give other credentials or permissions.
    Denied(Failure),
    /// There is no room: free some, then try again.
    Full(Failure),
    /// The store did not answer in time or broke off, after all retries: try again later.
    Unavailable(Failure),
    /// The store answered with something that cannot be right: a wrong length, a listing out of order, a damaged disk.
    Broken(Failure),
    /// The request can never succeed: a bad name, address or option, or a store that lacks what a build needs.
    Misconfigured(Failure),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self {
            Self::Missing(_) | Self::Misconfigured(_) => "",
            Self::Denied(_) => "; check the credentials or the permissions",
            Self::Full(_) => "; free some space, then try again",
            Self::Unavailable(_) => "; try again later",
            Self::Broken(_) => "; the store's content or the store itself is damaged",
        };
        write!(f, "{}{advice}", self.failure())
    }
}

/// Written by hand so that the failure, whose text is in the error's own, is not a link of the chain besides.
impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.failure().source.as_deref()?;
        Some(source as &(dyn StdError + 'static))
    }
}

impl StoreError {
    /// What was being done, to which object, and what lies underneath.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::Missing(failure)
            | Self::Denied(failure)
            | Self::Full(failure)
            | Self::Unavailable(failure)
            | Self::Broken(failure)
            | Self::Misconfigured(failure) => failure,
        }
    }

    /// True if the same call may succeed later with nothing changed.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Sorts an error of the file system.
    pub(crate) fn from_io(operation: &'static str, object: impl Into<String>, error: io::Error) -> Self {
        let kind = error.kind();
        let failure = Failure::caused(operation, object, error);
        match kind {
            io::ErrorKind::NotFound => Self::Missing(failure),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied(failure),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(failure)
            }
            io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::ResourceBusy
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::OutOfMemory => Self::Unavailable(failure),
            io::ErrorKind::InvalidFilename
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::Unsupported => Self::Misconfigured(failure),
            // EMFILE and ENFILE have no kind of their own.
            _ => match failure.os_code() {
                Some(23 | 24) => Self::Unavailable(failure),
                _ => Self::Broken(failure),
            },
        }
    }
}

impl Failure {
    fn os_code(&self) -> Option<i32> {
        self.source.as_deref()?.downcast_ref::<io::Error>()?.raw_os_error()
    }
}
