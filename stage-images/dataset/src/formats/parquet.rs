//! Parquet files that nobody vouches for.
//!
//! A footer, a schema or a page can claim anything in a few bytes. All claims about the columns that are wanted are
//! compared with [`Limits`] before the decoder runs; columns that are not wanted are never decoded; strings point into
//! decoded pages instead of being copied (so a dictionary cannot multiply them); and a panic of the decoder becomes an
//! error.

use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use ::parquet::arrow::parquet_to_arrow_schema;
use ::parquet::basic::Compression;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use bytes::Bytes;

use super::error::FormatError;
use super::thrift;

const WHAT: &str = "the Parquet file";
const MAGIC: &[u8; 4] = b"PAR1";
/// Rows decoded at once.
const ROWS_PER_BATCH: usize = 1_024;
/// The least that a decompressed chunk may hold, however well it compresses.
const RATIO_FLOOR: u64 = 16 << 20;

/// What a Parquet file may ask for. The defaults fit tables of this project and corpora as they are published.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the footer.
    pub footer: u64,
    /// Columns and groups of columns in the schema.
    pub columns: u64,
    /// Decompressed bytes of one page.
    pub page: u64,
    /// Decompressed bytes of the wanted columns of one row group.
    pub row_group: u64,
    /// Values (nulls included) of one column in one row group.
    pub values: u64,
    /// Decompressed bytes for each stored byte, for columns above 16 MiB.
    pub ratio: u64,
    /// Bytes of text in 1,024 rows that are turned into structs at once.
    pub batch_text: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            footer: 8 << 20,
            columns: 4_096,
            page: 256 << 20,
            row_group: 1 << 30,
            values: 16 << 20,
            ratio: 1_000,
            batch_text: 256 << 20,
        }
    }
}

/// How columns of text come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strings {
    /// As checked UTF-8: one bad byte makes its row group unreadable.
    Utf8,
    /// As bytes, for the caller to check row by row.
    Raw,
}

/// The bytes of a file, as they are needed.
pub trait Bytewise {
    /// How many there are.
    fn size(&self) -> u64;

    /// Those of a range, which lies within the file.
    ///
    /// # Errors
    /// Bytes that cannot be had.
    fn range(&self, range: Range<u64>) -> io::Result<Bytes>;
}

impl Bytewise for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        Ok(self.slice(range.start as usize..range.end as usize))
    }
}

/// A Parquet file, opened for some of its columns. Of a file that is not in memory the footer is read, and then the wanted
/// columns of one row group at a time.
pub struct ParquetFile<B = Bytes> {
    bytes: B,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    /// Leaf columns below the wanted ones.
    leaves: Vec<usize>,
    limits: Limits,
}

impl<B: Bytewise> ParquetFile<B> {
    /// Reads the footer. Every one of `columns` must be there.
    pub fn open(bytes: B, columns: &[&str], strings: Strings, limits: &Limits) -> Result<Self, FormatError> {
        let footer = &footer(&bytes, limits)?[..];
        thrift::check_schema(footer, limits.columns)?;
        guarded("the footer", || {
            let mut schema = ParquetMetaDataReader::decode_schema(footer)?;
            if strings == Strings::Raw {
                schema = Arc::new(SchemaDescriptor::new(as_bytes(schema.root_schema_ptr())?));
            }
            let options = ParquetMetaDataOptions::new().with_schema(schema);
            let metadata = Arc::new(ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options))?);
            let schema = parquet_to_arrow_schema(metadata.file_metadata().schema_descr(), None)?;
            let views = Schema::new(schema.fields().iter().map(as_view).collect::<Vec<_>>());
            let options = ArrowReaderOptions::new().with_schema(Arc::new(views));
            ArrowReaderMetadata::try_new(metadata, options)
        })
        .and_then(|metadata| Self::project(bytes, metadata, columns, limits))
    }

    fn project(
        bytes: B,
        metadata: ArrowReaderMetadata,
        columns: &[&str],
        limits: &Limits,
    ) -> Result<Self, FormatError> {
        let schema = metadata.parquet_schema();
        let names = schema.root_schema().get_fields().iter().map(|field| field.name());
        let mut roots = Vec::with_capacity(columns.len());
        for column in columns {
            match names.clone().position(|name| name == *column) {
                Some(root) => roots.push(root),
                None => return Err(FormatError::missing_column(column, names)),
            }
        }
        let leaves = (0..schema.num_columns()).filter(|i| roots.contains(&schema.get_column_root_idx(*i))).collect();
        let projection = ProjectionMask::roots(schema, roots);
        Ok(Self { bytes, metadata, projection, leaves, limits: limits.clone() })
    }

    /// Number of rows, as the footer claims it.
    pub fn num_rows(&self) -> u64 {
        (0..self.num_groups()).fold(0, |rows: u64, group| rows.saturating_add(self.rows_of(group)))
    }

    /// Number of rows of row group `index`, as the footer claims it.
    pub fn rows_of(&self, index: usize) -> u64 {
        self.metadata.metadata().row_group(index).num_rows().max(0) as u64
    }

    /// Number of row groups.
    pub fn num_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The names of all columns, wanted or not.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.metadata.parquet_schema().root_schema().get_fields().iter().map(|field| field.name())
    }

    /// Decodes the wanted columns of row group `index` and hands them over, at most 1,024 rows at a time.
    pub fn read_group<E: From<FormatError>>(
        &self,
        index: usize,
        mut each: impl FnMut(&RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let columns = self.columns_of(index)?;
        let mut batches = guarded("a row group", || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(columns, self.metadata.clone())
                .with_projection(self.projection.clone())
                .with_row_groups(vec![index])
                .with_batch_size(ROWS_PER_BATCH)
                .build()
        })?;
        while let Some(batch) = guarded("a row group", || batches.next().transpose())? {
            each(&batch)?;
        }
        Ok(())
    }

    /// The wanted columns of a row group, whose claims have been compared with the limits: those of the footer all together
    /// before anything is read, because columns may claim the same bytes.
    fn columns_of(&self, index: usize) -> Result<Columns, FormatError> {
        let group = self.metadata.metadata().row_group(index);
        let chunks: Vec<&ColumnChunkMetaData> =
            self.leaves.iter().filter_map(|leaf| group.columns().get(*leaf)).collect();
        if chunks.len() < self.leaves.len() {
            return Err(FormatError::corrupt("a row group", format!("it has {} columns", group.num_columns())));
        }
        let ranges = chunks.iter().map(|chunk| self.range_of(chunk)).collect::<Result<Vec<_>, _>>()?;
        let stored = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.end - range.start));
        FormatError::check("the columns of a row group", stored, self.limits.row_group)?;
        let (mut decoded, mut columns) = (0, Columns { size: self.bytes.size(), columns: Vec::new() });
        for (chunk, range) in chunks.into_iter().zip(ranges) {
            let bytes = self.bytes.range(range.clone())?;
            decoded += self.check_chunk(chunk, &bytes)?;
            FormatError::check("a row group", decoded, self.limits.row_group)?;
            columns.columns.push((range.start, bytes));
        }
        Ok(columns)
    }

    /// Where a column lies in the file.
    fn range_of(&self, chunk: &ColumnChunkMetaData) -> Result<Range<u64>, FormatError> {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let (Ok(start), Ok(len)) = (u64::try_from(start), u64::try_from(chunk.compressed_size())) else {
            return Err(FormatError::corrupt("a column", "its offset or size is negative"));
        };
        let (end, found) = (start.saturating_add(len), self.bytes.size());
        if end > found {
            return Err(FormatError::Truncated { what: "a column", needed: end, found });
        }
        Ok(start..end)
    }

    /// Walks over the pages of a column and returns how many bytes they decompress to.
    fn check_chunk(&self, chunk: &ColumnChunkMetaData, bytes: &[u8]) -> Result<u64, FormatError> {
        let mut rest = bytes;
        let (mut decoded, mut values) = (0, 0);
        while !rest.is_empty() {
            let page = thrift::page_header(rest)?;
            FormatError::check("a page", page.uncompressed, self.limits.page)?;
            let needed = page.header + page.compressed;
            let Some(body) = rest.get(page.header as usize..needed as usize) else {
                return Err(FormatError::Truncated { what: "a page", needed, found: rest.len() as u64 });
            };
            if matches!(chunk.compression(), Compression::GZIP(_)) {
                check_gzip(body, page.uncompressed)?;
            }
            decoded += page.uncompressed;
            values += page.values;
            FormatError::check("a column of a row group", decoded, self.limits.row_group)?;
            FormatError::check("the number of values in a column", values, self.limits.values)?;
            rest = &rest[needed as usize..];
        }
        let stored = bytes.len() as u64;
        FormatError::check("a column", decoded, RATIO_FLOOR.max(stored.saturating_mul(self.limits.ratio)))?;
        Ok(decoded)
    }
}

/// Columns of a row group, for the decoder: of the rest of the file it needs nothing.
struct Columns {
    /// Bytes of the file.
    size: u64,
    /// Where each begins in the file.
    columns: Vec<(u64, Bytes)>,
}

impl Columns {
    /// What lies from a place in the file to the end of its column.
    fn from(&self, place: u64) -> ParquetResult<Bytes> {
        let rest = |(start, bytes): &(u64, Bytes)| {
            let passed = place.checked_sub(*start).filter(|passed| *passed <= bytes.len() as u64)?;
            Some(bytes.slice(passed as usize..))
        };
        // Where one ends and the next begins, the next is meant.
        let found = self.columns.iter().filter_map(rest).max_by_key(Bytes::len);
        found.ok_or_else(|| ParquetError::EOF(format!("no wanted column has the byte {place}")))
    }
}

impl Length for Columns {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Columns {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(Cursor::new(self.from(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let rest = self.from(start)?;
        match rest.len() >= length {
            true => Ok(rest.slice(..length)),
            false => {
                Err(ParquetError::EOF(format!("a column ends before byte {}", start.saturating_add(length as u64))))
            }
        }
    }
}

/// The decoder inflates gzip pages to their end, whatever they claim; so the claim is tried out first.
fn check_gzip(body: &[u8], claimed: u64) -> Result<(), FormatError> {
    let mut inflated = flate2::read::MultiGzDecoder::new(body).take(claimed + 1);
    match std::io::copy(&mut inflated, &mut std::io::sink()) {
        Ok(found) if found == claimed => Ok(()),
        Ok(_) => Err(FormatError::corrupt("a page", format!("it does not hold the {claimed} bytes that it claims"))),
        Err(error) => Err(FormatError::corrupt("a page", error)),
    }
}

/// The bytes of the footer, after its length has been found plausible.
fn footer(bytes: &impl Bytewise, limits: &Limits) -> Result<Bytes, FormatError> {
    let found = bytes.size();
    if found < 12 {
        return Err(FormatError::Truncated { what: WHAT, needed: 12, found });
    }
    if bytes.range(0..4)? != MAGIC[..] {
        return Err(FormatError::corrupt(WHAT, "it does not begin with PAR1"));
    }
    let end = found - 8;
    let tail = bytes.range(end..found)?;
    match &tail[4..] {
        b"PAR1" => {}
        b"PARE" => {
            return Err(FormatError::Unsupported { what: WHAT, detail: "encryption".to_owned() });
        }
        _ => {
            return Err(FormatError::corrupt(WHAT, "it does not end with PAR1, so it is cut off or not Parquet"));
        }
    }
    let len = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    FormatError::check("the footer", len, limits.footer)?;
    if len > end - 4 {
        return Err(FormatError::Truncated { what: "the footer", needed: len + 12, found });
    }
    Ok(bytes.range(end - len..end)?)
}

/// Runs a part of a decoder. Its panics come out as errors.
pub(crate) fn guarded<T, E: std::fmt::Display>(
    what: &'static str,
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, FormatError> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|e| FormatError::corrupt(what, e)),
        Err(_) => Err(FormatError::corrupt(what, "the decoder gave up on it")),
    }
}

/// The schema with every column of text declared as plain bytes.
fn as_bytes(field: TypePtr) -> Result<TypePtr, ::parquet::errors::ParquetError> {
    use ::parquet::basic::{ConvertedType, LogicalType, Type as Physical};
    let info = field.get_basic_info();
    let field = match field.as_ref() {
        Type::PrimitiveType { physical_type: Physical::BYTE_ARRAY, .. }
            if info.converted_type() == ConvertedType::UTF8
                || matches!(info.logical_type_ref(), Some(LogicalType::String)) =>
        {
            Type::primitive_type_builder(info.name(), Physical::BYTE_ARRAY)
                .with_repetition(info.repetition())
                .with_id(info.has_id().then(|| info.id()))
                .build()?
        }
        Type::PrimitiveType { .. } => return Ok(field),
        Type::GroupType { basic_info, fields } => {
            let mut builder = Type::group_type_builder(basic_info.name())
                .with_fields(fields.iter().cloned().map(as_bytes).collect::<Result<_, _>>()?)
                .with_converted_type(basic_info.converted_type())
                .with_logical_type(basic_info.logical_type_ref().cloned())
                .with_id(basic_info.has_id().then(|| basic_info.id()));
            if basic_info.has_repetition() {
                builder = builder.with_repetition(basic_info.repetition());
            }
            builder.build()?
        }
    };
    Ok(Arc::new(field))
}

/// The field with strings and bytes as views.
fn as_view(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(element) => DataType::List(as_view(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(as_view).collect()),
        _ => return field.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// Bytes of text in `array`, counting a value as often as it occurs.
pub(crate) fn text_bytes(array: &dyn Array) -> u64 {
    // The lower half of a view is its length.
    let views = |views: &[u128]| views.iter().map(|view| u64::from(*view as u32)).sum();
    match array.data_type() {
        DataType::Utf8View => views(array.as_string_view().views()),
        DataType::BinaryView => views(array.as_binary_view().views()),
        DataType::List(_) => text_bytes(array.as_list::<i32>().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| text_bytes(column)).sum(),
        _ => 0,
    }
}
