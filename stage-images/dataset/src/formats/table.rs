//! Tables: rows of a Rust struct as Parquet, with every setting pinned.
//!
//! The bytes depend on the rows alone: never on how they were handed over, on time, or on the machine. Compression is
//! zstd at level 3, a row group holds [`ROWS_PER_GROUP`] rows, pages are of version 1, statistics are left out, and no
//! Arrow schema is embedded, so that the file is plain Parquet to every reader.

use std::io::Write;
use std::marker::PhantomData;
use std::sync::Arc;

use ::parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use arrow_schema::Schema;
use bytes::Bytes;
use serde_arrow::ArrayBuilder;

use super::columns::Row;
pub use super::columns::column;
use super::error::FormatError;
use super::parquet::{Limits, ParquetFile, Strings, guarded, text_bytes};
pub use arrow_schema::{DataType, FieldRef};

/// Rows in each row group but the last.
pub const ROWS_PER_GROUP: usize = 16_384;
/// Rows handed to the encoder at once. Page borders fall between such chunks, so it is a part of the format.
const ROWS_PER_CHUNK: usize = 1_024;
const WHAT: &str = "the table";

/// The pinned settings of every Parquet file that is written here.
pub(crate) fn writer_options() -> ArrowWriterOptions {
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by("realsyn table 1".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level of zstd")))
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_max_row_group_bytes(None)
        .set_write_batch_size(ROWS_PER_CHUNK)
        .set_data_page_size_limit(1 << 20)
        .set_data_page_row_count_limit(20_000)
        .set_dictionary_enabled(true)
        .set_dictionary_page_size_limit(1 << 20)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_bloom_filter_enabled(false)
        .build();
    ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true)
}

/// Writes rows one by one. Holds at most one row group, encoded, beside [`ROWS_PER_CHUNK`] rows.
pub struct TableWriter<T, W: Write + Send> {
    builder: ArrayBuilder,
    pending: usize,
    writer: ArrowWriter<W>,
    rows: PhantomData<T>,
}

impl<T: Row, W: Write + Send> TableWriter<T, W> {
    /// Starts a table on `out`.
    pub fn new(out: W) -> Result<Self, FormatError> {
        let fields = T::fields();
        let builder = ArrayBuilder::from_arrow(&fields).map_err(|e| FormatError::unwritable(WHAT, e))?;
        let schema = Arc::new(Schema::new(fields));
        let writer = ArrowWriter::try_new_with_options(out, schema, writer_options())
            .map_err(|e| FormatError::unwritable(WHAT, e))?;
        Ok(Self { builder, pending: 0, writer, rows: PhantomData })
    }

    /// Adds one row.
    pub fn push(&mut self, row: &T) -> Result<(), FormatError> {
        self.builder.push(row).map_err(|e| FormatError::unwritable(WHAT, e))?;
        self.pending += 1;
        if self.pending == ROWS_PER_CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FormatError> {
        if self.pending > 0 {
            let batch = self.builder.to_record_batch().map_err(|e| FormatError::unwritable(WHAT, e))?;
            self.writer.write(&batch).map_err(|e| FormatError::unwritable(WHAT, e))?;
            self.pending = 0;
        }
        Ok(())
    }

    /// Writes what is left and the footer, and hands `out` back.
    pub fn finish(mut self) -> Result<W, FormatError> {
        self.flush()?;
        self.writer.into_inner().map_err(|e| FormatError::unwritable(WHAT, e))
    }
}

/// A whole table as bytes. No rows give a table with columns and no row groups.
pub fn write_table<'a, T: Row + 'a>(rows: impl IntoIterator<Item = &'a T>) -> Result<Vec<u8>, FormatError> {
    let mut writer = TableWriter::new(Vec::new())?;
    for row in rows {
        writer.push(row)?;
    }
    writer.finish()
}

/// A table opened for reading. Only the columns of `T` are decoded; others may be there.
pub struct TableReader<T> {
    file: ParquetFile,
    batch_text: u64,
    rows: PhantomData<T>,
}

impl<T: Row> TableReader<T> {
    /// Reads the footer and checks that every column of `T` is there.
    pub fn open(bytes: Bytes, limits: &Limits) -> Result<Self, FormatError> {
        let fields = T::fields();
        let columns: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        let file = ParquetFile::open(bytes, &columns, Strings::Utf8, limits)?;
        Ok(Self { file, batch_text: limits.batch_text, rows: PhantomData })
    }

    /// Number of rows, as the footer claims it.
    pub fn num_rows(&self) -> u64 {
        self.file.num_rows()
    }

    /// Number of row groups.
    pub fn num_groups(&self) -> usize {
        self.file.num_groups()
    }

    /// All rows of row group `index`, which is below [`num_groups`](Self::num_groups).
    pub fn group(&self, index: usize) -> Result<Vec<T>, FormatError> {
        let mut rows = Vec::new();
        self.file.read_group(index, |batch| {
            let text = batch.columns().iter().map(|column| text_bytes(column)).sum();
            FormatError::check("the text of 1,024 rows", text, self.batch_text)?;
            let mut batch: Vec<T> = guarded("the rows of a table", || serde_arrow::from_record_batch(batch))?;
            rows.append(&mut batch);
            Ok::<_, FormatError>(())
        })?;
        Ok(rows)
    }

    /// The rows, one row group after the other.
    pub fn groups(&self) -> impl Iterator<Item = Result<Vec<T>, FormatError>> + '_ {
        (0..self.num_groups()).map(|index| self.group(index))
    }
}

/// All rows of a table.
pub fn read_table<T: Row>(bytes: Bytes, limits: &Limits) -> Result<Vec<T>, FormatError> {
    let mut rows = Vec::new();
    for group in TableReader::open(bytes, limits)?.groups() {
        rows.append(&mut group?);
    }
    Ok(rows)
}
