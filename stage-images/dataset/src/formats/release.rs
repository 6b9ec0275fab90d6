//! A release's rows: the published columns, and WebDataset samples as img2dataset lays them out.

use std::io::Write;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BinaryArray, Float32Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use realsyn_plan::ids::Id;
use serde_json::{Map, Number, Value, json};

use super::columns::{Blob, Cell, column};
use super::error::FormatError;
use super::table::writer_options;
use super::tar::TarWriter;

const WHAT: &str = "the release's table";
/// Most realistic texts that a pair may have.
pub const MAX_TEXTS: usize = 10;
const ROWS_PER_CHUNK: usize = 1_024;

/// A realistic text of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseText {
    /// The sentence's id.
    pub id: Id,
    /// The sentence.
    pub text: String,
    /// Cosine of image and sentence.
    pub cosine: f32,
}

/// One released pair of an image and its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseRow {
    /// The sample's key, unique in the release; see [`sample_key`].
    pub key: String,
    /// The image's id.
    pub image_id: Id,
    /// Where the image came from.
    pub url: String,
    /// Pixels of the released image.
    pub width: u32,
    /// Pixels of the released image.
    pub height: u32,
    /// Pixels of the source image.
    pub original_width: u32,
    /// Pixels of the source image.
    pub original_height: u32,
    /// SHA-256 of the released image file, 64 hexadecimal digits.
    pub sha256: String,
    /// Realistic texts, the nearest first.
    pub texts: Vec<ReleaseText>,
    /// The synthetic text.
    pub syn_text: String,
    /// Cosine of image and synthetic text.
    pub syn_cosine: f32,
    /// The image's cluster.
    pub cluster: u64,
    /// Tags with their scores.
    pub tags: Vec<(String, f32)>,
    /// URLs of documents that show the image.
    pub document_urls: Vec<String>,
    /// The licence that the image's document states.
    pub licence: Option<String>,
}

/// The key of sample `index` of `shard`: five digits of shard, then as many of the index as `samples_per_shard` needs,
/// four at least.
pub fn sample_key(shard: u64, index: u64, samples_per_shard: u64) -> String {
    let digits = samples_per_shard.saturating_sub(1).max(1).ilog10() as usize + 1;
    format!("{shard:05}{index:0width$}", width = digits.max(4))
}

/// The release's table, with columns `text1` to `textN` for N = `texts`, each with the sentence's id and cosine. Texts
/// beyond N are left out; where a row has fewer, the cells are null.
///
/// With `pictures`, one JPEG per row, a last column `jpg` holds them.
///
/// The image's URL is `raw_image_url`, as in the published metadata. Settings are those of every table.
pub fn write_release_parquet(
    rows: &[ReleaseRow],
    texts: usize,
    pictures: Option<&[Vec<u8>]>,
) -> Result<Vec<u8>, FormatError> {
    if texts == 0 || texts > MAX_TEXTS {
        return Err(FormatError::unwritable(WHAT, format!("{texts} texts were asked for, and 1 to {MAX_TEXTS} fit")));
    }
    if pictures.is_some_and(|p| p.len() != rows.len()) {
        return Err(FormatError::unwritable(WHAT, "there is not one picture per row".to_owned()));
    }
    let schema = Arc::new(release_schema(texts, pictures.is_some()));
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), writer_options())
        .map_err(|e| FormatError::unwritable(WHAT, e))?;
    for (chunk, rows) in rows.chunks(ROWS_PER_CHUNK).enumerate() {
        let mut columns = release_columns(rows, texts);
        if let Some(pictures) = pictures {
            let pictures = &pictures[chunk * ROWS_PER_CHUNK..][..rows.len()];
            columns.push(Arc::new(BinaryArray::from_iter_values(pictures)));
        }
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|e| FormatError::unwritable(WHAT, e))?;
        writer.write(&batch).map_err(|e| FormatError::unwritable(WHAT, e))?;
    }
    writer.into_inner().map_err(|e| FormatError::unwritable(WHAT, e))
}

fn release_schema(texts: usize, pictures: bool) -> Schema {
    let mut fields = vec![
        column::<String>("key"),
        column::<Id>("image_id"),
        column::<String>("raw_image_url"),
        column::<u32>("width"),
        column::<u32>("height"),
        column::<u32>("original_width"),
        column::<u32>("original_height"),
        column::<String>("sha256"),
    ];
    for n in 1..=texts {
        fields.push(column::<Option<String>>(&format!("text{n}")));
        fields.push(column::<Option<Id>>(&format!("text{n}_id")));
        fields.push(column::<Option<f32>>(&format!("text{n}_cosine")));
    }
    fields.extend([
        column::<String>("syn_text"),
        column::<f32>("syn_cosine"),
        column::<u64>("cluster"),
        column::<Vec<String>>("tags"),
        column::<Vec<f32>>("tag_scores"),
        column::<Vec<String>>("document_urls"),
        column::<Option<String>>("licence"),
    ]);
    if pictures {
        fields.push(column::<Blob>("jpg"));
    }
    Schema::new(fields)
}

fn release_columns(rows: &[ReleaseRow], texts: usize) -> Vec<ArrayRef> {
    fn strings<'a, T: AsRef<str>>(rows: &'a [ReleaseRow], cell: impl Fn(&'a ReleaseRow) -> T) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(cell)))
    }
    let numbers =
        |cell: fn(&ReleaseRow) -> u32| -> ArrayRef { Arc::new(UInt32Array::from_iter_values(rows.iter().map(cell))) };
    let mut columns = vec![
        strings(rows, |r| &r.key),
        strings(rows, |r| r.image_id.to_string()),
        strings(rows, |r| &r.url),
        numbers(|r| r.width),
        numbers(|r| r.height),
        numbers(|r| r.original_width),
        numbers(|r| r.original_height),
        strings(rows, |r| &r.sha256),
    ];
    for n in 0..texts {
        let cells = || rows.iter().map(|r| r.texts.get(n));
        columns.push(Arc::new(cells().map(|t| t.map(|t| &t.text)).collect::<StringArray>()));
        columns.push(Arc::new(cells().map(|t| t.map(|t| t.id.to_string())).collect::<StringArray>()));
        columns.push(Arc::new(cells().map(|t| t.map(|t| t.cosine)).collect::<Float32Array>()));
    }
    columns.extend([
        strings(rows, |r| &r.syn_text),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|r| r.syn_cosine))) as ArrayRef,
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.cluster))),
        string_lists(rows.iter().map(|r| r.tags.iter().map(|(tag, _)| tag.as_str()))),
        score_lists(rows),
        string_lists(rows.iter().map(|r| r.document_urls.iter().map(String::as_str))),
        Arc::new(rows.iter().map(|r| r.licence.as_ref()).collect::<StringArray>()),
    ]);
    columns
}

fn element<T: Cell>() -> Arc<Field> {
    match Vec::<T>::data_type() {
        DataType::List(element) => element,
        other => unreachable!("a list's type is a list, not {other}"),
    }
}

fn string_lists<'a>(rows: impl Iterator<Item = impl Iterator<Item = &'a str>>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(element::<String>());
    for row in rows {
        row.for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

fn score_lists(rows: &[ReleaseRow]) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new()).with_field(element::<f32>());
    for row in rows {
        row.tags.iter().for_each(|(_, score)| lists.values().append_value(*score));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

/// The sample's JSON: what img2dataset records of an image, then the texts after the first, then this project's scores.
pub fn sample_json(row: &ReleaseRow, texts: usize) -> String {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("url", json!(row.url));
    put("caption", json!(row.texts.first().map(|t| &t.text)));
    put("key", json!(row.key));
    put("status", json!("success"));
    put("error_message", Value::Null);
    put("width", json!(row.width));
    put("height", json!(row.height));
    put("original_width", json!(row.original_width));
    put("original_height", json!(row.original_height));
    put("sha256", json!(row.sha256));
    let shown = &row.texts[..row.texts.len().min(texts)];
    for (n, text) in shown.iter().enumerate().skip(1) {
        put(&format!("text{}", n + 1), json!(text.text));
    }
    put("syn_text", json!(row.syn_text));
    put("image_id", json!(row.image_id));
    for (n, text) in shown.iter().enumerate() {
        put(&format!("text{}_id", n + 1), json!(text.id));
        put(&format!("text{}_cosine", n + 1), number(text.cosine));
    }
    put("syn_cosine", number(row.syn_cosine));
    put("cluster", json!(row.cluster));
    put("tags", row.tags.iter().map(|(tag, _)| json!(tag)).collect());
    put("tag_scores", row.tags.iter().map(|(_, score)| number(*score)).collect());
    put("document_urls", json!(row.document_urls));
    put("licence", json!(row.licence));
    Value::Object(object).to_string()
}

/// The shortest decimal that reads back as `value`; null if it is not finite.
fn number(value: f32) -> Value {
    let shortest: f64 = value.to_string().parse().expect("a float's own text is a number");
    Number::from_f64(shortest).map_or(Value::Null, Value::Number)
}

/// Adds a sample to a tar: `KEY.jpg`, `KEY.txt` with the first text, and `KEY.json`.
pub fn append_sample<W: Write>(
    tar: &mut TarWriter<W>,
    row: &ReleaseRow,
    texts: usize,
    jpg: &[u8],
) -> Result<(), FormatError> {
    let first = row.texts.first().map_or("", |t| &t.text);
    tar.append(&format!("{}.jpg", row.key), jpg)?;
    tar.append(&format!("{}.json", row.key), sample_json(row, texts).as_bytes())?;
    tar.append(&format!("{}.txt", row.key), first.as_bytes())?;
    Ok(())
}
