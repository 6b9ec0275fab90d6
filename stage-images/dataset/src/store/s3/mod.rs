//! An S3 bucket, or a part of one, as a store.
//!
//! Retries, clocks and length checks are done here and not by the SDK. Only so can a conditional put know that an
//! earlier attempt of its own may have taken the name, and a body that stalls or stops early be asked for again.

mod fault;
mod multipart;
mod options;

pub use options::S3Options;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use fault::{Fault, Kind};
use tokio::runtime::Runtime;

use super::error::{Failure, StoreError};
use super::ext::at;
use super::name::{check_name, check_prefix, fault};
use super::{Entry, PutNew, Store, percent};

/// The most memory in bytes that is set aside for a body before any of it has come.
const MAX_RESERVED: usize = 64 << 20;

/// A store of objects in a bucket.
pub struct S3Store {
    options: S3Options,
    client: Client,
    runtime: Runtime,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("options", &self.options).finish_non_exhaustive()
    }
}

impl S3Store {
    /// Prepares a client; nothing is sent to the service yet. Missing credentials are [`StoreError::Denied`], a prefix
    /// that no name can start with is [`StoreError::Misconfigured`].
    pub fn new(options: S3Options) -> Result<Self, StoreError> {
        check_prefix(&options.prefix)?;
        // One thread drives the connections; the futures themselves run on the threads that call.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|error| StoreError::from_io("open", format!("s3://{}", options.bucket), error))?;
        let client = runtime.block_on(options.client())?;
        Ok(Self { options, client, runtime })
    }

    fn key(&self, name: &str) -> String {
        match self.options.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    /// Runs attempts until one succeeds, fails for good, or none is left.
    fn retry<T>(&self, name: &str, attempt: impl AsyncFn() -> Result<T, Fault>) -> Result<T, Fault> {
        self.runtime.block_on(async {
            let mut count = 0;
            loop {
                match attempt().await {
                    Err(fault) if fault.is_passing() && count + 1 < self.options.attempts => {
                        tracing::debug!(object = %at(self, name), attempt = count, ?fault, "will try again");
                        tokio::time::sleep(self.options.pause(name, count)).await;
                        count += 1;
                    }
                    done => return done,
                }
            }
        })
    }

    fn failed<'a>(&'a self, operation: &'static str, name: &'a str) -> impl FnOnce(Fault) -> StoreError + use<'a> {
        move |fault| fault.into_error(operation, at(self, name))
    }

    /// One request with its clock.
    async fn within<T, E: Into<Fault>>(
        &self,
        bytes: usize,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault> {
        let limit = self.options.time_for(bytes as u64);
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(late("no answer", limit)),
        }
    }

    async fn send(&self, key: &str, body: &Bytes, only_new: bool) -> Result<(), Fault> {
        let request = self.client.put_object().bucket(&self.options.bucket).key(key);
        let request = if only_new { request.if_none_match("*") } else { request };
        self.within(body.len(), request.body(ByteStream::from(body.clone())).send()).await.map(|_| ())
    }

    /// Asks for an object or a range of it, and reads the body to its announced end.
    async fn fetch(&self, key: &str, range: Option<&Range<u64>>) -> Result<Vec<u8>, Fault> {
        let request = self.client.get_object().bucket(&self.options.bucket).key(key);
        let request = match range {
            Some(range) => request.range(format!("bytes={}-{}", range.start, range.end - 1)),
            None => request,
        };
        let GetObjectOutput { mut body, content_length, .. } = self.within(0, request.send()).await?;
        let Some(length) = content_length.and_then(|length| u64::try_from(length).ok()) else {
            return Err(Fault::new(Kind::Lost, "the answer does not say how long it is"));
        };
        if let Some(range) = range
            && range.end - range.start != length
        {
            let reason = format!("bytes {}..{} were asked for, {length} bytes came", range.start, range.end);
            return Err(Fault::new(Kind::Broken, reason));
        }
        let read = async {
            // What is announced is only a claim until it has come.
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).min(MAX_RESERVED));
            while let Some(part) = body.try_next().await.map_err(Fault::lost)? {
                bytes.extend_from_slice(&part);
            }
            Ok::<_, Fault>(bytes)
        };
        let limit = self.options.time_for(length);
        let bytes = tokio::time::timeout(limit, read).await.map_err(|_| late("the body did not end", limit))??;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(Fault::new(Kind::Lost, format!("{length} bytes were announced, {} came", bytes.len())))
        }
    }

    fn put_bytes(&self, name: &str, body: Bytes) -> Result<(), StoreError> {
        let key = self.key(name);
        self.retry(name, async || self.send(&key, &body, false).await).map_err(self.failed("put", name))
    }
}

impl Store for S3Store {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        if bytes.len() <= self.options.part_size {
            self.put_bytes(name, Bytes::copy_from_slice(bytes))
        } else {
            self.put_parts(name, bytes, bytes.len() as u64)
        }
    }

    fn put_file(&self, name: &str, file: &Path) -> Result<u64, StoreError> {
        check_name(name)?;
        let unread = |error| StoreError::from_io("read", file.display().to_string(), error);
        let mut source = File::open(file).map_err(unread)?;
        let size = source.metadata().map_err(unread)?.len();
        if size > self.options.part_size as u64 {
            self.put_parts(name, source, size)?;
            return Ok(size);
        }
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).map_err(unread)?;
        let size = bytes.len() as u64;
        self.put_bytes(name, bytes.into())?;
        Ok(size)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<PutNew, StoreError> {
        check_name(name)?;
        let (key, body) = (self.key(name), Bytes::copy_from_slice(bytes));
        self.runtime
            .block_on(async {
                // True once an attempt has failed in a way that does not exclude that it was carried out.
                let mut perhaps_done = false;
                let mut count = 0;
                loop {
                    let fault = match self.send(&key, &body, true).await {
                        Ok(()) => return Ok(PutNew::Created),
                        Err(fault) => fault,
                    };
                    match fault.kind {
                        Kind::Taken if !perhaps_done => return Ok(PutNew::Exists),
                        Kind::Taken | Kind::Conflict | Kind::Lost => return Ok(PutNew::Unknown),
                        Kind::Passing if count + 1 < self.options.attempts => {
                            perhaps_done = true;
                            tokio::time::sleep(self.options.pause(name, count)).await;
                            count += 1;
                        }
                        _ => return Err(fault),
                    }
                }
            })
            .map_err(self.failed("put_new", name))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(name)?;
        let key = self.key(name);
        match self.retry(name, async || self.fetch(&key, None).await) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(fault) if fault.kind == Kind::Absent => Ok(None),
            Err(fault) => Err(self.failed("get", name)(fault)),
        }
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.key(name);
        self.retry(name, async || self.fetch(&key, Some(&range)).await).map_err(self.failed("get_range", name))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        check_name(name)?;
        let key = self.key(name);
        let head = async || {
            let request = self.client.head_object().bucket(&self.options.bucket).key(&key);
            let length = self.within(0, request.send()).await?.content_length;
            length
                .and_then(|length| u64::try_from(length).ok())
                .ok_or_else(|| Fault::new(Kind::Lost, "the answer does not say how long the object is"))
        };
        match self.retry(name, head) {
            Ok(size) => Ok(Some(size)),
            Err(fault) if fault.kind == Kind::Absent => Ok(None),
            Err(fault) => Err(self.failed("size", name)(fault)),
        }
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), StoreError> {
        check_prefix(prefix)?;
        let (root, start) = (self.key(""), self.key(prefix));
        let mut token: Option<String> = None;
        let mut last: Option<String> = None;
        loop {
            let page = self
                .retry(prefix, async || {
                    let request = self.client.list_objects_v2().bucket(&self.options.bucket).prefix(&start);
                    let request = request.max_keys(self.options.page_size).set_continuation_token(token.clone());
                    self.within(0, request.send()).await
                })
                .map_err(self.failed("list", prefix))?;
            for object in page.contents.unwrap_or_default() {
                let Some(name) = object.key.as_deref().and_then(|key| key.strip_prefix(&root)) else {
                    continue;
                };
                if last.as_deref().is_some_and(|last| name <= last) {
                    let reason = format!("{name:?} is listed after {last:?}, out of byte order");
                    return Err(StoreError::Broken(Failure::new("list", at(self, prefix), reason)));
                }
                last = Some(name.to_owned());
                // Tools that show folders make empty objects whose names end with a slash.
                if name.is_empty() || name.ends_with('/') {
                    continue;
                }
                if let Some(reason) = fault(name) {
                    tracing::warn!(object = %at(self, name), reason, "left out: its name cannot be used");
                    continue;
                }
                let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                if visit(Entry { name: name.to_owned(), size, version: object.e_tag.clone() }).is_break() {
                    return Ok(());
                }
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let key = self.key(name);
        let delete = async || {
            let request = self.client.delete_object().bucket(&self.options.bucket).key(&key);
            self.within(0, request.send()).await
        };
        match self.retry(name, delete) {
            Err(fault) if fault.kind != Kind::Absent => Err(self.failed("delete", name)(fault)),
            _ => Ok(()),
        }
    }

    /// On the server; S3 allows it up to 5 GiB.
    fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        check_name(from)?;
        check_name(to)?;
        // The service must see the source, but copying an object onto itself is an error there.
        if from == to {
            let missing = || StoreError::Missing(Failure::new("copy", at(self, from), "it is not there"));
            return self.size(from)?.map(|_| ()).ok_or_else(missing);
        }
        let source = percent::encode(&format!("{}/{}", self.options.bucket, self.key(from)));
        let key = self.key(to);
        let copy = async || {
            let request = self.client.copy_object().bucket(&self.options.bucket).key(&key).copy_source(&source);
            // The server moves the bytes, at a speed unknown here: time for the largest copy that S3 allows.
            self.within(5 << 30, request.send()).await
        };
        self.retry(to, copy).map(|_| ()).map_err(self.failed("copy", from))
    }

    fn describe(&self) -> String {
        format!("s3://{}/{}", self.options.bucket, self.options.prefix)
    }
}

fn late(what: &str, limit: Duration) -> Fault {
    Fault::new(Kind::Lost, format!("{what} within {} s", limit.as_secs_f64()))
}
