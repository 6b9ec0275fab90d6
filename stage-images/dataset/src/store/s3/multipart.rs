//! Large objects, sent in parts: one part is in memory at a time, and only a part is sent again when a request fails.

use std::io::{self, Read};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::S3Store;
use super::fault::{Fault, Kind};
use crate::store::Store;
use crate::store::error::{Failure, StoreError};
use crate::store::ext::at;

/// The most parts that S3 takes.
const MAX_PARTS: u64 = 10_000;

impl S3Store {
    /// Sends `size` bytes of `source` in parts. The object appears when all are there; if something fails, the parts
    /// are taken back.
    pub(super) fn put_parts(&self, name: &str, source: impl Read, size: u64) -> Result<(), StoreError> {
        let key = self.key(name);
        let begin = async || {
            let request = self.client.create_multipart_upload().bucket(&self.options.bucket).key(&key);
            let begun = self.within(0, request.send()).await?;
            begun.upload_id.ok_or_else(|| Fault::new(Kind::Broken, "the service gave no id for the upload"))
        };
        let upload = self.retry(name, begin).map_err(self.failed("put", name))?;
        let sent = self
            .send_parts(name, &key, &upload, source, size)
            .and_then(|parts| self.complete(name, &key, &upload, parts, size));
        if sent.is_err() {
            let abort = async || {
                let request = self.client.abort_multipart_upload().bucket(&self.options.bucket).key(&key);
                self.within(0, request.upload_id(&upload).send()).await
            };
            if let Err(fault) = self.retry(name, abort) {
                tracing::warn!(object = %at(self, name), ?fault, "parts of an upload that failed were left in the bucket");
            }
        }
        sent
    }

    fn send_parts(
        &self,
        name: &str,
        key: &str,
        upload: &str,
        mut source: impl Read,
        size: u64,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let part_size = (self.options.part_size as u64).max(size.div_ceil(MAX_PARTS));
        let mut parts = Vec::new();
        let mut sent = 0;
        while sent < size {
            let want = part_size.min(size - sent);
            let mut bytes = Vec::new();
            source
                .by_ref()
                .take(want)
                .read_to_end(&mut bytes)
                .and_then(|read| if read as u64 == want { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) })
                .map_err(|error| {
                    let reason = format!("its source of {size} bytes could not be read beyond {sent}: {error}");
                    StoreError::Broken(Failure {
                        source: Some(error.into()),
                        ..Failure::new("put", at(self, name), reason)
                    })
                })?;
            let (body, number) = (Bytes::from(bytes), parts.len() as i32 + 1);
            let send = async || {
                let request = self.client.upload_part().bucket(&self.options.bucket).key(key).upload_id(upload);
                let request = request.part_number(number).body(ByteStream::from(body.clone()));
                self.within(body.len(), request.send()).await
            };
            let answer = self.retry(name, send).map_err(self.failed("put", name))?;
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build());
            sent += want;
        }
        Ok(parts)
    }

    fn complete(
        &self,
        name: &str,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        size: u64,
    ) -> Result<(), StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = async || {
            let request = self.client.complete_multipart_upload().bucket(&self.options.bucket).key(key);
            self.within(0, request.upload_id(upload).multipart_upload(parts.clone()).send()).await
        };
        match self.retry(name, complete) {
            Ok(_) => Ok(()),
            // The upload is unknown when an earlier attempt, whose answer was lost, has completed it.
            Err(fault) if fault.kind == Kind::Absent && self.size(name)? == Some(size) => Ok(()),
            Err(fault) => Err(self.failed("put", name)(fault)),
        }
    }
}
