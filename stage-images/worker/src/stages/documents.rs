//! `documents`: any source format to one table of documents, text blocks and image references.

use std::collections::HashSet;

use realsyn_crds::Format;
use realsyn_dataset::formats::FormatError;
use realsyn_dataset::formats::parquet::{Bytewise, Limits};
use realsyn_dataset::formats::readers::{self, Document as ReadDocument, DocumentLimits, DocumentReject, RejectReason};
use realsyn_dataset::store::check_name;
use realsyn_plan::Id;
use realsyn_plan::layout::SourceFile;

use super::rows::{Block, Document, Dropped, ImageRef};
use crate::run::{FileError, Job, Output, SOURCE_PREFIX, StageError, StoredFile, files_of, is_archive};

/// `documents/extract`: one source shard.
pub fn extract(job: &Job) -> Result<Output, StageError> {
    let settings = &job.run.build.stages.documents;
    let shard = &job.run.inventory.shards[job.spec.number as usize];
    let mut tables = Tables { max_block: settings.max_block_bytes as usize, ..Tables::default() };
    let mirrors = &job.run.build.source.image_mirrors;
    // Below which URL the source's files stand: that of the first mirror, or one that leads to the source itself.
    let prefix = mirrors.first().map_or(SOURCE_PREFIX, |m| m.prefix.as_str());
    // One slash: the source's own prefix ends in three.
    let base = prefix.strip_suffix('/').unwrap_or(prefix);
    for file in &shard.files {
        if job.run.source.format == Format::Images && is_archive(&file.name) {
            tables.add_archive(job, &file.name, prefix)?;
            continue;
        }
        let limits = DocumentLimits::default();
        let mut visit = |document: Result<ReadDocument, DocumentReject>| tables.add(&file.name, document);
        let store = job.run.source.store.as_ref();
        let is_there = match job.run.source.format {
            Format::Html => match StoredFile::open(store, &file.name)? {
                None => None,
                Some(source) => {
                    as_listed(file, &source)?;
                    // Refused before a byte of it is in memory.
                    if source.size() > limits.bytes {
                        visit(Err(DocumentReject { row: 0, reason: RejectReason::TooLarge }));
                        Some(())
                    } else {
                        let url = format!("{base}/{}", file.name);
                        store.get(&file.name)?.map(|bytes| visit(readers::read_html(&bytes, &url, 0, &limits)))
                    }
                }
            },
            Format::Images => store.size(&file.name)?.map(|_| {
                readers::image_documents(prefix, [file.name.as_str()]).for_each(|document| visit(Ok(document)));
            }),
            Format::Obelics | Format::Mmc4 | Format::Omnicorpus => StoredFile::open(store, &file.name)?
                .map(|source| {
                    as_listed(file, &source)?;
                    let each = |document| {
                        visit(document);
                        Ok::<_, FormatError>(())
                    };
                    readers::read_obelics(source, shard.part, &Limits::default(), &limits, each)
                        .map_err(|error| unreadable(&format!("{}{}", file.name, shard.part), error.into()))
                })
                .transpose()?,
        };
        if is_there.is_none() {
            tables.drop_file(&file.name, "file-gone");
        }
    }
    let mut out = Output::default();
    out.count("in", tables.seen);
    out.count("out", tables.documents.len() as u64);
    out.count("blocks", tables.blocks.len() as u64);
    out.count("images", tables.images.len() as u64);
    for dropped in &tables.dropped {
        out.count(format!("dropped.{}", dropped.reason), 1);
    }
    out.table("documents", &tables.documents)?;
    out.table("blocks", &tables.blocks)?;
    out.table("images", &tables.images)?;
    out.table("dropped", &tables.dropped)?;
    Ok(out)
}

/// A file that was replaced since it was listed must not be read: the shard is known by what was listed, and parts of the file
/// that ran before hold other rows.
fn as_listed(file: &SourceFile, found: &impl Bytewise) -> Result<(), StageError> {
    if found.size() == file.bytes {
        return Ok(());
    }
    Err(StageError::Settings(format!(
        "{} has {} bytes, and had {} when the source was listed: it was replaced meanwhile. List the source again: another \
         spec.source.revision, or --list",
        file.name,
        found.size(),
        file.bytes
    )))
}

/// A part of a file of rows, and an archive, are the whole shard: losing one silently would lose all its documents.
fn unreadable(file: &str, error: FileError) -> StageError {
    match error {
        FileError::Format(e) => StageError::Data { reason: "unreadable-file", detail: format!("{file}: {e}") },
        FileError::Store(e) => e.into(),
    }
}

#[derive(Default)]
struct Tables {
    max_block: usize,
    seen: u64,
    documents: Vec<Document>,
    blocks: Vec<Block>,
    images: Vec<ImageRef>,
    dropped: Vec<Dropped>,
}

impl Tables {
    fn drop_file(&mut self, name: &str, reason: &str) {
        self.seen += 1;
        self.dropped.push(Dropped { what: name.to_owned(), reason: reason.to_owned(), of: None, value: None });
    }

    /// One document for each picture in an archive of the source. A name that no file may have, or that another file of the
    /// archive had before, costs the picture; an archive that is cut or broken is no archive.
    fn add_archive(&mut self, job: &Job, file: &str, prefix: &str) -> Result<(), StageError> {
        let entries = match files_of(job.run.source.store.as_ref(), file) {
            Ok(Some(entries)) => entries,
            Ok(None) => {
                self.drop_file(file, "file-gone");
                return Ok(());
            }
            Err(error) => return Err(unreadable(file, error)),
        };
        let mut seen = HashSet::new();
        let mut names = Vec::with_capacity(entries.len());
        for (row, name) in entries.iter().map(|entry| entry.name.as_str()).enumerate() {
            let reason = match name {
                _ if !readers::is_image(name) => None,
                // What was no UTF-8 is marked so.
                _ if check_name(name).is_err() || name.contains(char::REPLACEMENT_CHARACTER) => Some("bad-name"),
                _ if !seen.insert(name) => Some("name-twice"),
                _ => None,
            };
            reason.iter().for_each(|reason| self.drop_file(&format!("{file}#{row}"), reason));
            // A name that is no picture's keeps its number.
            names.push(if reason.is_some() { "" } else { name });
        }
        let base = format!("{}/{}", prefix.strip_suffix('/').unwrap_or(prefix), readers::escape(file));
        readers::image_documents(&base, names).for_each(|document| self.add(file, Ok(document)));
        Ok(())
    }

    fn add(&mut self, file: &str, document: Result<ReadDocument, DocumentReject>) {
        let read = match document {
            Ok(read) => read,
            Err(reject) => return self.drop_file(&format!("{file}#{}", reject.row), reject.reason.as_str()),
        };
        self.seen += 1;
        let document = Id::of_document(read.url.as_deref(), file, read.source_row);
        for block in read.blocks {
            if block.text.len() > self.max_block {
                let what = format!("{document}#{}", block.position);
                self.dropped.push(Dropped { what, reason: "block-too-long".into(), of: None, value: None });
                continue;
            }
            let (url, position, text) = (read.url.clone(), block.position, block.text);
            self.blocks.push(Block { document, url, position, text });
        }
        self.images.extend(read.images.into_iter().map(|image| ImageRef {
            document,
            document_url: read.url.clone(),
            position: image.position,
            url: image.url,
            alt: image.alt,
            licence: read.licence.clone(),
        }));
        self.documents.push(Document {
            document,
            url: read.url,
            file: file.to_owned(),
            row: read.source_row,
            licence: read.licence,
        });
    }
}
