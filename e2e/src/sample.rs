//! A small corpus of real documents: parts of OpenStax textbooks, as OBELICS files.

use std::path::Path;

use anyhow::Context;
use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::{TableReader, write_table};
use realsyn_dataset::table_row;
use serde::{Deserialize, Serialize};

table_row! {
    /// A row of an OBELICS file.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct Obelics {
        /// URLs, where the document has a picture.
        pub images: Vec<Option<String>>,
        /// Texts, where it has text.
        pub texts: Vec<Option<String>>,
        /// JSON about each picture.
        pub metadata: String,
        /// JSON about the document.
        pub general_metadata: String,
    }
}

/// The first documents with pictures of two books, each cut to its first words: enough for sentences of every kind, few
/// enough to score in seconds.
pub fn sample(openstax: &Path, documents: usize, words: usize) -> anyhow::Result<Vec<Obelics>> {
    let mut rows = Vec::new();
    for book in ["astronomy", "us-history"] {
        let file = openstax.join(format!("{book}.parquet"));
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let reader = TableReader::<Obelics>::open(bytes.into(), &Limits::default())?;
        let all: Vec<Obelics> = reader.groups().collect::<Result<Vec<_>, _>>()?.concat();
        let pictured = all.into_iter().filter(|r| r.images.iter().flatten().count() > 1);
        rows.extend(pictured.take(documents / 2).map(|row| cut(row, words)));
    }
    Ok(rows)
}

fn cut(mut row: Obelics, mut left: usize) -> Obelics {
    for text in row.texts.iter_mut().flatten() {
        let words: Vec<&str> = text.split_inclusive(' ').take(left).collect();
        left -= words.len();
        *text = words.concat();
    }
    row
}

/// Writes rows as `part-0.parquet` and so on.
pub fn write_corpus(folder: &Path, rows: &[Obelics], files: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (i, part) in rows.chunks(rows.len().div_ceil(files)).enumerate() {
        std::fs::write(folder.join(format!("part-{i}.parquet")), write_table(part)?)?;
    }
    Ok(())
}
