//! From an address to a store.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Failure, StoreError};
use super::percent;
use super::{DirectoryStore, S3Options, S3Store, Store};

/// Who asks an S3 service.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// As the AWS tools find them: environment, profile, web identity, instance.
    #[default]
    Default,
    /// Nobody: requests are not signed, as public buckets allow.
    Anonymous,
    /// A fixed pair of keys.
    Static {
        /// Public half.
        access_key: String,
        /// Secret half.
        secret_key: String,
        /// Token that comes with temporary keys.
        session_token: Option<String>,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("Default"),
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Static { access_key, .. } => write!(f, "Static({access_key}, secret not shown)"),
        }
    }
}

/// What an address alone does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// Make the folder if it is missing, for a store that is written to. Otherwise a missing folder is an error, so
    /// that a mistyped source is not taken for an empty one. A bucket must always exist.
    pub create: bool,
    /// Address of the S3 service, such as `http://127.0.0.1:9000`; buckets are then named in the path. Default: AWS.
    pub endpoint: Option<String>,
    /// Region of the bucket; default: as the AWS tools find it, else `us-east-1`.
    pub region: Option<String>,
    /// Credentials for S3.
    pub credentials: Credentials,
}

/// The folder that an address means, if it is a path or `file:///path`.
pub fn folder_of(uri: &str) -> Option<PathBuf> {
    match uri.split_once("://") {
        Some(("file", path)) => percent::decode(path).filter(|path| path.starts_with('/')).map(PathBuf::from),
        Some(_) => None,
        None => Some(uri.into()),
    }
}

/// Opens a path, `file:///path` or `s3://bucket/prefix`. Nothing is sent to an S3 service yet.
pub fn open(uri: &str, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    let wrong = |reason: &str| StoreError::Misconfigured(Failure::new("open", format!("{uri:?}"), reason));
    match uri.split_once("://") {
        Some(("s3", rest)) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(wrong("no bucket is named; write s3://bucket/prefix"));
            }
            let mut s3 = S3Options::new(bucket, prefix.trim_end_matches('/'));
            s3.endpoint.clone_from(&options.endpoint);
            s3.region.clone_from(&options.region);
            s3.credentials.clone_from(&options.credentials);
            Ok(Arc::new(S3Store::new(s3)?))
        }
        Some(("file", _)) => match folder_of(uri) {
            Some(folder) => open_folder(folder, options),
            None => Err(wrong("a file address needs an absolute, percent-encoded path: file:///path")),
        },
        Some((scheme, _)) => Err(wrong(&format!("{scheme}:// is not supported; give a path, file:/// or s3://"))),
        None if uri.is_empty() => Err(wrong("the address is empty; give a path, file:/// or s3://")),
        None => open_folder(uri.into(), options),
    }
}

fn open_folder(root: PathBuf, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    let store = if options.create { DirectoryStore::create(root)? } else { DirectoryStore::open(root)? };
    Ok(Arc::new(store))
}
