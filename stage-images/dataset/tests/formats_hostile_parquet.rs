//! Parquet files that lie: each is an error, and none takes the memory that it claims.

use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel};
use parquet::file::properties::WriterProperties;
use realsyn_dataset::formats::FormatError;
use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::{read_table, write_table};
use realsyn_dataset::table_row;
use serde::{Deserialize, Serialize};

table_row! {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Text {
        text: String,
    }
}

fn texts(n: usize) -> Vec<Text> {
    (0..n).map(|i| Text { text: format!("{i} {}", blake3::hash(&i.to_le_bytes())) }).collect()
}

fn read(bytes: impl Into<Bytes>) -> Result<Vec<Text>, FormatError> {
    read_table(bytes.into(), &Limits::default())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// The file with another decompressed size in the header of its first page. What no longer fits falls off the column's
/// end, so that every offset in the footer still holds.
fn claim_page_size(mut file: Vec<u8>, size: u64) -> Vec<u8> {
    // Type (field 1, a 32-bit integer) and decompressed size (field 2) open the header.
    assert_eq!((file[4], file[6]), (0x15, 0x15));
    let end = 7 + file[7..].iter().position(|b| *b < 0x80).unwrap() + 1;
    let claim = varint(size << 1);
    let grown = claim.len() - (end - 7);
    let footer_len = u32::from_le_bytes(file[file.len() - 8..][..4].try_into().unwrap()) as usize;
    let column_end = file.len() - 8 - footer_len;
    file.drain(column_end - grown..column_end);
    file.splice(7..end, claim);
    file
}

fn with_compression(rows: &[Text], compression: Compression) -> Vec<u8> {
    let column = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.text)));
    let batch = RecordBatch::try_from_iter([("text", column as _)]).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).set_dictionary_enabled(false).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn with_footer(footer: &[u8]) -> Vec<u8> {
    let len = (footer.len() as u32).to_le_bytes();
    [b"PAR1", footer, &len, b"PAR1"].concat()
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    let file = write_table(&texts(500)).unwrap();
    assert_eq!(read(file.clone()).unwrap(), texts(500));
    for len in (0..file.len()).step_by(97) {
        assert!(read(file[..len].to_vec()).is_err(), "cut at {len}");
    }
}

#[test]
fn damage_anywhere_is_an_error_or_leaves_at_most_the_rows() {
    let file = write_table(&texts(500)).unwrap();
    // Pages carry no checksum of their own (a commit's hash covers the file), so a changed text may pass as one.
    for at in (0..file.len()).step_by(97) {
        let mut flipped = file.clone();
        flipped[at] ^= 0xff;
        let mut shortened = file.clone();
        shortened.remove(at);
        for damaged in [flipped, shortened] {
            if let Ok(rows) = read(damaged) {
                assert!(rows.len() <= 500, "damaged at {at}");
            }
        }
    }
}

#[test]
fn a_page_that_claims_10_gb_is_refused_by_its_claim() {
    let file = write_table(&texts(500)).unwrap();
    for claim in [10_000_000_000, (1 << 31) - 1, 257 << 20] {
        match read(claim_page_size(file.clone(), claim)) {
            Err(FormatError::TooLarge { what: "a page", found, .. }) => assert_eq!(found, claim),
            other => panic!("{claim}: {other:?}"),
        }
    }
}

#[test]
fn a_gzip_page_is_held_to_its_claim() {
    let file = with_compression(&texts(500), Compression::GZIP(GzipLevel::default()));
    assert_eq!(read(file.clone()).unwrap(), texts(500));
    // The decoder would inflate the page to its end, whatever it claims.
    assert!(matches!(read(claim_page_size(file, 20_000)), Err(FormatError::Corrupt { what: "a page", .. })));
}

#[test]
fn a_forged_footer_is_refused() {
    let mut file = write_table(&texts(500)).unwrap();
    let len_at = file.len() - 8;
    let mut claim = |len: u32| {
        file[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
        read(file.clone())
    };
    assert!(matches!(claim(u32::MAX), Err(FormatError::TooLarge { what: "the footer", .. })));
    assert!(matches!(claim(len_at as u32), Err(FormatError::Truncated { what: "the footer", .. })));
    assert!(claim(10).is_err());
    assert!(claim(0).is_err());
    assert!(read(with_footer(b"")).is_err());
    assert!(matches!(read(b"PAR1 and more text PARE".to_vec()), Err(FormatError::Unsupported { .. })));
}

#[test]
fn a_schema_nested_100_000_deep_does_not_overflow_the_stack() {
    // Version 1, then a list of groups called `a` with one child each.
    let element = [0x48, 1, b'a', 0x15, 2, 0];
    for depth in [100u64, 100_000] {
        let mut footer = vec![0x15, 2, 0x19, 0xfc];
        footer.extend(varint(depth));
        (0..depth).for_each(|_| footer.extend(element));
        footer.push(0);
        assert!(matches!(read(with_footer(&footer)), Err(FormatError::Corrupt { what: "the footer", .. })), "{depth}");
    }
}

#[test]
fn a_schema_with_a_forged_count_or_a_field_of_the_wrong_type_is_refused() {
    let mut count = vec![0x15, 2, 0x19, 0xfc];
    count.extend(varint(u64::MAX));
    let wrong_type = [0x15, 2, 0x19, 0x1c, 0x45, 2, 0x00, 0x00];
    let two_schemas = [0x15, 2, 0x19, 0x1c, 0x00, 0x09, 0x04, 0x1c, 0x00, 0x00];
    for footer in [&count[..], &wrong_type, &two_schemas] {
        assert!(
            matches!(read(with_footer(footer)), Err(FormatError::Corrupt { what: "the footer", .. })),
            "{footer:?}"
        );
    }
}

#[test]
fn a_dictionary_cannot_multiply_a_text_without_bound() {
    let rows = vec![Text { text: "ab".repeat(300_000) }; 1_000];
    let file = write_table(&rows).unwrap();
    assert!(file.len() < 100_000);
    match read(file) {
        Err(FormatError::TooLarge { what: "the text of 1,024 rows", found, .. }) => assert_eq!(found, 600_000_000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_on_columns_values_row_groups_and_ratio_hold() {
    let file = Bytes::from(write_table(&texts(5_000)).unwrap());
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        read_table::<Text>(file.clone(), &limits)
    };
    assert!(with(|_| ()).is_ok());
    assert!(with(|l| l.columns = 1).is_err());
    assert!(matches!(with(|l| l.values = 4_999), Err(FormatError::TooLarge { .. })));
    assert!(with(|l| l.values = 10_000).is_ok());
    assert!(matches!(with(|l| l.row_group = 100_000), Err(FormatError::TooLarge { .. })));
    // 200 MiB of blanks compress to some 20 kB.
    let bomb = with_compression(&[Text { text: " ".repeat(200 << 20) }], Compression::ZSTD(Default::default()));
    assert!(matches!(read(bomb), Err(FormatError::TooLarge { what: "a column", .. })));
}

#[test]
fn bytes_that_are_not_utf8_are_an_error_in_a_typed_table() {
    let mut file = with_compression(&texts(10), Compression::UNCOMPRESSED);
    let needle = texts(10)[3].text.clone();
    let at = file.windows(needle.len()).position(|w| w == needle.as_bytes()).unwrap();
    file[at + 5] = 0xff;
    assert!(matches!(read(file), Err(FormatError::Corrupt { .. })));
}
