//! What the answer of an S3 service means for the caller.

use std::error::Error as StdError;
use std::fmt::Write as _;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::store::error::{Failure, StoreError};

/// How a single request went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 404: no such object.
    Absent,
    /// 412: the name is taken.
    Taken,
    /// 409: another request was at the same name.
    Conflict,
    /// No answer, or only a part of one: the request may have been carried out.
    Lost,
    /// The service is busy or broken for now; it too may have carried out the request.
    Passing,
    /// The service does not allow it.
    Denied,
    /// The service has no room.
    Full,
    /// The answer cannot be right.
    Broken,
    /// The request is wrong, and would be wrong again.
    Misconfigured,
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    reason: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Fault {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), source: None }
    }

    /// An answer that broke off.
    pub(super) fn lost(error: impl StdError + Send + Sync + 'static) -> Self {
        Self { kind: Kind::Lost, reason: chain(&error), source: Some(error.into()) }
    }

    /// True if the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.kind, Kind::Conflict | Kind::Lost | Kind::Passing)
    }

    pub(super) fn into_error(self, operation: &'static str, object: String) -> StoreError {
        let failure = Failure { operation, object, reason: self.reason, source: self.source };
        match self.kind {
            Kind::Absent => StoreError::Missing(failure),
            Kind::Conflict | Kind::Lost | Kind::Passing => StoreError::Unavailable(failure),
            Kind::Denied => StoreError::Denied(failure),
            Kind::Full => StoreError::Full(failure),
            Kind::Broken => StoreError::Broken(failure),
            Kind::Taken | Kind::Misconfigured => StoreError::Misconfigured(failure),
        }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Fault
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let (kind, reason) = match &error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let mut reason = format!("the service answered {status}");
                if let Some(code) = answer.err().code() {
                    let _ = write!(reason, " {code}");
                }
                if let Some(message) = answer.err().message() {
                    let _ = write!(reason, " ({message})");
                }
                (kind_of(status, answer.err().code()), reason)
            }
            SdkError::ConstructionFailure(_) => (Kind::Misconfigured, chain(&error)),
            SdkError::DispatchFailure(failure) if failure.is_user() => (Kind::Misconfigured, chain(&error)),
            _ => (Kind::Lost, chain(&error)),
        };
        Self { kind, reason, source: Some(error.into()) }
    }
}

/// Sorts an error answer by its status, and by its code where one status means several things.
fn kind_of(status: u16, code: Option<&str>) -> Kind {
    match (status, code.unwrap_or_default()) {
        (_, "SlowDown" | "RequestTimeout" | "ServiceUnavailable" | "InternalError" | "RequestTimeTooSkewed") => {
            Kind::Passing
        }
        (_, "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId") => Kind::Denied,
        (507, _) | (_, "InsufficientStorage" | "QuotaExceeded" | "QuotaExceededException" | "XMinioStorageFull") => {
            Kind::Full
        }
        (404, "NoSuchBucket") => Kind::Misconfigured,
        (404, _) => Kind::Absent,
        (412, _) => Kind::Taken,
        (409, _) => Kind::Conflict,
        (401 | 403, _) => Kind::Denied,
        (416, _) => Kind::Broken,
        (408 | 425 | 429 | 500..=599, _) => Kind::Passing,
        _ => Kind::Misconfigured,
    }
}

/// An error and all that lie under it, in one line: the outermost alone says no more than "dispatch failure".
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_can_be_done() {
        let cases = [
            (404, None, Kind::Absent),
            (404, Some("NoSuchKey"), Kind::Absent),
            (404, Some("NoSuchBucket"), Kind::Misconfigured),
            (412, Some("PreconditionFailed"), Kind::Taken),
            (409, Some("ConditionalRequestConflict"), Kind::Conflict),
            (403, Some("AccessDenied"), Kind::Denied),
            (403, Some("RequestTimeTooSkewed"), Kind::Passing),
            (400, Some("ExpiredToken"), Kind::Denied),
            (400, Some("RequestTimeout"), Kind::Passing),
            (400, Some("InvalidRequest"), Kind::Misconfigured),
            (301, Some("PermanentRedirect"), Kind::Misconfigured),
            (416, Some("InvalidRange"), Kind::Broken),
            (429, None, Kind::Passing),
            (500, None, Kind::Passing),
            (503, Some("SlowDown"), Kind::Passing),
            (507, None, Kind::Full),
            (403, Some("QuotaExceeded"), Kind::Full),
        ];
        for (status, code, kind) in cases {
            assert_eq!(kind_of(status, code), kind, "{status} {code:?}");
        }
    }
}
