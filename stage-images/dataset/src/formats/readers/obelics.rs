//! OBELICS: Parquet with one document a row, as parallel lists of images and texts and JSON beside them.

use arrow_array::cast::AsArray;
use arrow_array::{Array, BinaryViewArray, ListArray, RecordBatch};
use arrow_schema::DataType;
use realsyn_plan::layout::Part;
use serde::Deserialize;

use super::{Block, Document, DocumentLimits, DocumentReject, ImageRef, RejectReason, non_blank};
use crate::formats::FormatError;
use crate::formats::parquet::{Bytewise, Limits, ParquetFile, Strings};

/// The columns that are read.
pub const OBELICS_COLUMNS: [&str; 4] = ["images", "texts", "metadata", "general_metadata"];
/// Stands between the pages of a document that was joined from several.
const PAGE_BREAK: &str = "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED";

#[derive(Deserialize)]
struct NodeMetadata {
    alt_text: Option<String>,
    document_url: Option<String>,
}

#[derive(Deserialize)]
struct GeneralMetadata {
    url: Option<String>,
}

/// Hands every document of a part of an OBELICS file to `each`, in the order of rows, and stops when `each` fails. Only row
/// groups that hold rows of the part are read.
///
/// Position i of a document is an image or a text; null and `""` both mean "the other one". A row that breaks the format
/// is handed over as a reject.
pub fn read_obelics<E: From<FormatError>>(
    bytes: impl Bytewise,
    part: Part,
    limits: &Limits,
    document_limits: &DocumentLimits,
    mut each: impl FnMut(Result<Document, DocumentReject>) -> Result<(), E>,
) -> Result<(), E> {
    let file = ParquetFile::open(bytes, &OBELICS_COLUMNS, Strings::Raw, limits)?;
    let rows = part.of_rows(file.num_rows());
    let mut next: u64 = 0;
    for group in 0..file.num_groups() {
        let (first, claimed) = (next, file.rows_of(group));
        next = first.saturating_add(claimed);
        if rows.is_empty() || next <= rows.start || first >= rows.end {
            continue;
        }
        let mut row = first;
        file.read_group(group, |batch| {
            let columns = Columns::of(batch)?;
            for i in 0..batch.num_rows() {
                if rows.contains(&row) {
                    each(columns.document(i, row, document_limits).map_err(|reason| DocumentReject { row, reason }))?;
                }
                row += 1;
            }
            Ok::<_, E>(())
        })?;
        if row != next {
            return Err(FormatError::corrupt(
                "a row group",
                format!("it claims {claimed} rows and has {}", row - first),
            )
            .into());
        }
    }
    Ok(())
}

struct Columns<'a> {
    images: &'a ListArray,
    texts: &'a ListArray,
    metadata: &'a BinaryViewArray,
    general: &'a BinaryViewArray,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, FormatError> {
        let column = |name: &str, fits: fn(&DataType) -> bool, wanted: &str| {
            let column = batch.column_by_name(name).expect("the file was opened for these columns");
            match fits(column.data_type()) {
                true => Ok(column),
                false => Err(FormatError::Unsupported {
                    what: "the OBELICS file",
                    detail: format!("{} in column `{name}` where {wanted} is expected", column.data_type()),
                }),
            }
        };
        let is_text = |t: &DataType| *t == DataType::BinaryView;
        let is_list = |t: &DataType| matches!(t, DataType::List(e) if *e.data_type() == DataType::BinaryView);
        Ok(Self {
            images: column("images", is_list, "a list of strings")?.as_list(),
            texts: column("texts", is_list, "a list of strings")?.as_list(),
            metadata: column("metadata", is_text, "a string")?.as_binary_view(),
            general: column("general_metadata", is_text, "a string")?.as_binary_view(),
        })
    }

    fn document(&self, i: usize, row: u64, limits: &DocumentLimits) -> Result<Document, RejectReason> {
        if self.images.is_null(i) || self.texts.is_null(i) {
            return Err(RejectReason::NullColumn);
        }
        let (images, texts) = (self.images.value(i), self.texts.value(i));
        if images.len() != texts.len() {
            return Err(RejectReason::LengthMismatch);
        }
        let (images, texts) = (images.as_binary_view(), texts.as_binary_view());
        let size = |cells: &BinaryViewArray| cells.lengths().map(u64::from).sum::<u64>();
        let json = |cells: &BinaryViewArray| {
            if cells.is_null(i) { 0 } else { cells.value(i).len() as u64 }
        };
        let bytes = size(images) + size(texts) + json(self.metadata) + json(self.general);
        if bytes > limits.bytes || images.len() > limits.positions as usize {
            return Err(RejectReason::TooLarge);
        }

        let nodes: Vec<Option<NodeMetadata>> = parse(self.metadata, i)?.unwrap_or_default();
        if !nodes.is_empty() && nodes.len() != images.len() {
            return Err(RejectReason::LengthMismatch);
        }
        let general: Option<GeneralMetadata> = parse(self.general, i)?;
        let url = general.and_then(|general| general.url);
        let url = url.or_else(|| nodes.iter().flatten().find_map(|node| node.document_url.clone()));

        let mut document = Document { url: url.as_deref().and_then(non_blank), source_row: row, ..Document::default() };
        for position in 0..images.len() {
            match (cell(images, position)?, cell(texts, position)?) {
                (Some(_), Some(_)) => return Err(RejectReason::ImageAndText),
                (Some(url), None) if starts_with_data(url) => document.ignored_images += 1,
                (Some(url), None) => {
                    let node = nodes.get(position).and_then(Option::as_ref);
                    document.images.push(ImageRef {
                        position: position as u32,
                        url: url.to_owned(),
                        alt: node.and_then(|node| node.alt_text.as_deref()).and_then(non_blank),
                    });
                }
                (None, Some(text)) => {
                    if let Some(text) = non_blank(&text.replace(PAGE_BREAK, "\n\n")) {
                        document.blocks.push(Block { position: position as u32, text });
                    }
                }
                (None, None) => {}
            }
        }
        Ok(document)
    }
}

fn starts_with_data(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// The text of a cell, if it has one that is not empty.
fn cell(cells: &BinaryViewArray, i: usize) -> Result<Option<&str>, RejectReason> {
    if cells.is_null(i) {
        return Ok(None);
    }
    let text = std::str::from_utf8(cells.value(i)).map_err(|_| RejectReason::InvalidUtf8)?;
    Ok((!text.is_empty()).then_some(text))
}

/// The JSON of a cell; `None` for null, `""` and JSON's own null.
fn parse<T: for<'de> Deserialize<'de>>(cells: &BinaryViewArray, i: usize) -> Result<Option<T>, RejectReason> {
    match cell(cells, i)? {
        Some(text) => serde_json::from_str(text).map_err(|_| RejectReason::MalformedMetadata),
        None => Ok(None),
    }
}
