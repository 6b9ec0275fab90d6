//! Tables: the same rows give the same bytes, and come back as they went in.

use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::{DataType, ROWS_PER_GROUP, TableReader, TableWriter, read_table, write_table};
use realsyn_dataset::formats::{Blob, Cell, FormatError, Row};
use realsyn_dataset::table_row;
use realsyn_plan::ids::Id;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reason {
    TooShort,
    HasUrl,
}

impl Cell for Reason {
    fn data_type() -> DataType {
        DataType::Utf8
    }
}

table_row! {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Place {
        document: Id,
        position: u32,
        alt: Option<String>,
    }
}

table_row! {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        id: Id,
        text: String,
        licence: Option<String>,
        count: u32,
        hash: u64,
        delta: i64,
        score: f32,
        exact: f64,
        kept: bool,
        tags: Vec<String>,
        scores: Vec<f32>,
        rows: Vec<u64>,
        places: Vec<Place>,
        raw: Blob,
        reason: Option<Reason>,
        cosine: Option<f32>,
        parts: Vec<Option<String>>,
    }
}

table_row! {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Narrow {
        hash: u64,
        id: Id,
    }
}

table_row! {
    #[derive(Debug, Serialize, Deserialize)]
    struct Misspelt {
        licens: Option<String>,
    }
}

fn row(i: u64) -> Everything {
    let id = Id::of_sentence(&i.to_string());
    Everything {
        id,
        text: format!("Satz Nr. {i}: ein Löwe 🦁"),
        licence: (!i.is_multiple_of(3)).then(|| "CC-BY-4.0".to_owned()),
        count: i as u32,
        hash: u64::MAX - i,
        delta: -(i as i64),
        score: i as f32 / 7.0,
        exact: 1.0 / (i + 1) as f64,
        kept: i.is_multiple_of(2),
        tags: (0..i % 4).map(|t| format!("tag{t}")).collect(),
        scores: (0..i % 5).map(|s| s as f32 * 0.25).collect(),
        rows: (0..i % 3).map(|r| u64::MAX - r).collect(),
        places: (0..i % 3)
            .map(|p| Place { document: id, position: p as u32, alt: (p == 1).then(|| "alt".into()) })
            .collect(),
        raw: Blob(vec![0, 255, i as u8]),
        reason: match i % 3 {
            0 => None,
            1 => Some(Reason::TooShort),
            _ => Some(Reason::HasUrl),
        },
        cosine: i.is_multiple_of(2).then_some(0.5),
        parts: vec![None, Some(String::new()), Some("x".into())],
    }
}

fn rows(n: u64) -> Vec<Everything> {
    (0..n).map(row).collect()
}

#[test]
fn every_type_of_cell_comes_back() {
    let rows = rows(2_500);
    let bytes = write_table(&rows).unwrap();
    assert_eq!(read_table::<Everything>(bytes.into(), &Limits::default()).unwrap(), rows);
}

#[test]
fn a_table_without_rows_keeps_its_columns() {
    let bytes = write_table::<Everything>(&[]).unwrap();
    let reader = TableReader::<Everything>::open(bytes.clone().into(), &Limits::default()).unwrap();
    assert_eq!((reader.num_rows(), reader.num_groups()), (0, 0));
    assert_eq!(read_table::<Everything>(bytes.into(), &Limits::default()).unwrap(), []);
}

#[test]
fn rows_keep_their_order_across_row_groups() {
    let n = 2 * ROWS_PER_GROUP as u64 + 5;
    let narrow = |i: u64| Narrow { hash: i, id: Id::of_sentence(&i.to_string()) };
    let mut writer = TableWriter::new(Vec::new()).unwrap();
    (0..n).for_each(|i| writer.push(&narrow(i)).unwrap());
    let reader = TableReader::<Narrow>::open(writer.finish().unwrap().into(), &Limits::default()).unwrap();
    assert_eq!((reader.num_rows(), reader.num_groups()), (n, 3));
    let sizes: Vec<usize> = reader.groups().map(|group| group.unwrap().len()).collect();
    assert_eq!(sizes, [ROWS_PER_GROUP, ROWS_PER_GROUP, 5]);
    assert_eq!(reader.group(2).unwrap(), (n - 5..n).map(narrow).collect::<Vec<_>>());
}

#[test]
fn some_columns_can_be_read_alone_and_in_another_order() {
    let rows = rows(100);
    let read = read_table::<Narrow>(write_table(&rows).unwrap().into(), &Limits::default()).unwrap();
    assert_eq!(read, rows.iter().map(|r| Narrow { hash: r.hash, id: r.id }).collect::<Vec<_>>());
}

#[test]
fn a_missing_column_is_named_with_its_nearest_neighbour() {
    let bytes = write_table(&rows(3)).unwrap();
    match read_table::<Misspelt>(bytes.into(), &Limits::default()) {
        Err(FormatError::MissingColumn { column, found, nearest }) => {
            assert_eq!(column, "licens");
            assert_eq!(nearest.as_deref(), Some("licence"));
            assert_eq!(found.len(), Everything::fields().len());
        }
        other => panic!("{other:?}"),
    }
}

/// These hashes change only with a decision: every table that was ever written then gets new bytes.
#[test]
fn the_bytes_of_a_table_never_change() {
    let hash = |bytes: Vec<u8>| blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(
        hash(write_table(&rows(3_000)).unwrap()),
        "5bdeb31d10b3ffdd580e494240617634ac954573870683b418bda7f78424734a"
    );
    assert_eq!(
        hash(write_table::<Everything>(&[]).unwrap()),
        "714c3301f920c06459c233caf2f8a47949eb1a2621a324833be44c9917600cba"
    );
}
