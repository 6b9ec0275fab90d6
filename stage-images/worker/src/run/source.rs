//! Where documents and images come from: listing, reading, and mapping image URLs to mirrors.

use std::ops::ControlFlow;
use std::sync::Arc;

use realsyn_crds::{Format, ImageMirror};
use realsyn_dataset::formats::inventory::cut_runs;
use realsyn_dataset::formats::readers;
use realsyn_dataset::store::{Store, StoreError};
use realsyn_plan::Digest;
use realsyn_plan::layout::{Inventory, Part, SourceFile, SourceShard};

use super::archive::is_archive;

/// Bytes of pages that make one shard, on average.
const PAGES_BYTES: u64 = 256 << 10;
/// Bytes of pictures that make one shard, on average.
const PICTURES_BYTES: u64 = 32 << 20;
/// The most bytes of a file of rows that make one shard. A larger file is read in parts: those of OBELICS have 100,000
/// documents each, whose pictures are tens of gigabytes, and a shard's pictures are in memory together.
pub const ROWS_BYTES: u64 = 4 << 20;

/// Bytes of a file that are in memory while it is hashed.
const PIECE: u64 = 8 << 20;

/// The URL prefix of the source's own files, where the build names no mirror.
pub const SOURCE_PREFIX: &str = "source:///";

/// The source of documents.
#[derive(Clone)]
pub struct Source {
    /// Its format.
    pub format: Format,
    /// The folder or prefix that holds its files.
    pub store: Arc<dyn Store>,
}

impl Source {
    /// Lists the source: every file that the format knows, with its version.
    pub fn list(&self) -> Result<Inventory, StoreError> {
        let mut files = Vec::new();
        self.store.list("", &mut |entry| {
            if self.takes(&entry.name) {
                files.push(SourceFile {
                    version: entry.version.unwrap_or_default(),
                    name: entry.name,
                    bytes: entry.size,
                });
            }
            ControlFlow::Continue(())
        })?;
        for file in files.iter_mut().filter(|f| f.version.is_empty()) {
            let piece = |at: u64| self.store.get_range(&file.name, at..file.bytes.min(at + PIECE));
            let pieces = (0..file.bytes).step_by(PIECE as usize).map(piece);
            file.version = Digest::of_pieces(pieces)?.to_string();
        }
        let (archives, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| is_archive(&f.name));
        let sizes: Vec<(String, u64)> = files.iter().map(|f| (f.name.clone(), f.bytes)).collect();
        let runs = |target| cut_runs(&sizes, target).into_iter().map(|run| SourceShard::whole(files[run].to_vec()));
        let shards: Vec<SourceShard> = match self.format {
            Format::Html => runs(PAGES_BYTES).collect(),
            // Archives first: one more loose picture moves none of them.
            Format::Images => archives
                .into_iter()
                .map(|archive| SourceShard::whole(vec![archive]))
                .chain(runs(PICTURES_BYTES))
                .collect(),
            Format::Obelics | Format::Mmc4 | Format::Omnicorpus => files.into_iter().flat_map(parts_of).collect(),
        };
        Ok(Inventory::new(shards))
    }

    fn takes(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        let endings: &[&str] = match self.format {
            Format::Html => &[".html", ".htm", ".xhtml"],
            Format::Images => return readers::is_image(name) || is_archive(name),
            Format::Obelics | Format::Omnicorpus => &[".parquet"],
            Format::Mmc4 => &[".jsonl"],
        };
        endings.iter().any(|e| lower.ends_with(e))
    }
}

/// A file of rows as shards.
fn parts_of(file: SourceFile) -> impl Iterator<Item = SourceShard> {
    let of = file.bytes.div_ceil(ROWS_BYTES).clamp(1, u32::MAX.into()) as u32;
    (0..of).map(move |number| SourceShard { files: vec![file.clone()], part: Part { number, of } })
}

/// URL prefixes and the stores that hold what lies below them.
#[derive(Clone, Default)]
pub struct Mirrors {
    mirrors: Vec<(String, Arc<dyn Store>)>,
}

impl Mirrors {
    /// Mirrors from the build's settings, and the source itself; `open` opens a URI.
    pub fn open(
        source: &Source,
        mirrors: &[ImageMirror],
        open: impl Fn(&str) -> Result<Arc<dyn Store>, StoreError>,
    ) -> Result<Self, StoreError> {
        let own = (SOURCE_PREFIX.to_owned(), source.store.clone());
        let opened = mirrors.iter().map(|m| Ok((m.prefix.clone(), open(&m.uri)?)));
        Ok(Self { mirrors: std::iter::once(Ok(own)).chain(opened).collect::<Result<_, StoreError>>()? })
    }

    /// The store and the name below it to which a URL leads: the longest prefix wins. Queries and fragments are cut off,
    /// and percent-escapes are resolved, because mirrors are made of files.
    pub fn find(&self, url: &str) -> Option<(&Arc<dyn Store>, String)> {
        let (prefix, store) =
            self.mirrors.iter().filter(|(p, _)| url.starts_with(p.as_str())).max_by_key(|(p, _)| p.len())?;
        let rest = &url[prefix.len()..];
        let rest = rest.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
        Some((store, unescape(rest)))
    }
}

fn unescape(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| path.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_once_and_broken_ones_are_kept() {
        assert_eq!(unescape("a%20b/%C3%A9.png"), "a b/é.png");
        assert_eq!(unescape("100%25%20"), "100% ");
        assert_eq!(unescape("50%"), "50%");
        assert_eq!(unescape("%zz%"), "%zz%");
    }
}
