//! A release's rows: columns, samples and pinned bytes.

use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::release::{
    ReleaseRow, ReleaseText, append_sample, sample_json, sample_key, write_release_parquet,
};
use realsyn_dataset::formats::table::read_table;
use realsyn_dataset::formats::tar::{TarReader, TarWriter};
use realsyn_dataset::table_row;
use realsyn_plan::ids::Id;
use serde::{Deserialize, Serialize};

table_row! {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Published {
        raw_image_url: String,
        text1: Option<String>,
        text2: Option<String>,
        text3: Option<String>,
        text3_cosine: Option<f32>,
        syn_text: String,
        tags: Vec<String>,
        tag_scores: Vec<f32>,
        image_id: Id,
    }
}

fn row(i: u64, texts: usize) -> ReleaseRow {
    let text = |n: usize| ReleaseText {
        id: Id::of_sentence(&format!("{i} {n}")),
        text: format!("Text {n} of {i}."),
        cosine: 0.3 - n as f32 / 100.0,
    };
    ReleaseRow {
        key: sample_key(0, i, 10_000),
        image_id: Id::of_image(&i.to_le_bytes()),
        url: format!("https://i.example/{i}.jpg"),
        width: 224,
        height: 336,
        original_width: 400,
        original_height: 600,
        sha256: "ab".repeat(32),
        texts: (1..=texts).map(text).collect(),
        syn_text: "A synthetic \"text\".".into(),
        syn_cosine: 0.1,
        cluster: 9,
        tags: vec![("dog".into(), 0.75), ("grass".into(), 0.5)],
        document_urls: vec!["https://d.example/".into()],
        licence: None,
    }
}

#[test]
fn the_published_columns_are_there() {
    let rows: Vec<_> = (0..3).map(|i| row(i, 1 + i as usize)).collect();
    let bytes = write_release_parquet(&rows, 3, None).unwrap();
    let read: Vec<Published> = read_table(bytes.into(), &Limits::default()).unwrap();
    let text = |row: &ReleaseRow, n: usize| row.texts.get(n).map(|t| t.text.clone());
    for (read, row) in read.iter().zip(&rows) {
        let expected = Published {
            raw_image_url: row.url.clone(),
            text1: text(row, 0),
            text2: text(row, 1),
            text3: text(row, 2),
            text3_cosine: row.texts.get(2).map(|t| t.cosine),
            syn_text: row.syn_text.clone(),
            tags: vec!["dog".into(), "grass".into()],
            tag_scores: vec![0.75, 0.5],
            image_id: row.image_id,
        };
        assert_eq!(*read, expected);
    }
    assert_eq!(read.len(), 3);
    assert!(
        read_table::<Published>(write_release_parquet(&[], 10, None).unwrap().into(), &Limits::default())
            .unwrap()
            .is_empty()
    );
    assert!(
        read_table::<Published>(write_release_parquet(&rows, 2, None).unwrap().into(), &Limits::default()).is_err()
    );
    assert!(write_release_parquet(&rows, 0, None).is_err());
    assert!(write_release_parquet(&rows, 11, None).is_err());
}

#[test]
fn a_sample_is_three_files_with_one_key() {
    let mut tar = TarWriter::new(Vec::new());
    append_sample(&mut tar, &row(12, 5), 3, b"jpg").unwrap();
    let bytes = tar.finish().unwrap();
    let members: Vec<_> = TarReader::new(&bytes[..], 1 << 20).map(Result::unwrap).collect();
    let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["000000012.jpg", "000000012.json", "000000012.txt"]);
    assert_eq!(members[0].1, b"jpg");
    assert_eq!(members[2].1, b"Text 1 of 12.");
    let json: serde_json::Value = serde_json::from_slice(&members[1].1).unwrap();
    assert_eq!(json["caption"], "Text 1 of 12.");
    assert_eq!((&json["text2"], &json["text3"]), (&"Text 2 of 12.".into(), &"Text 3 of 12.".into()));
    assert!(json.get("text4").is_none() && json.get("text1").is_none());
    assert_eq!((&json["status"], &json["original_height"]), (&"success".into(), &600.into()));
}

#[test]
fn scores_are_written_as_the_shortest_decimal() {
    let mut row = row(0, 1);
    row.texts[0].cosine = 0.1;
    row.syn_cosine = f32::NAN;
    let json = sample_json(&row, 3);
    assert!(json.contains(r#""text1_cosine":0.1,"#), "{json}");
    assert!(json.contains(r#""syn_cosine":null"#), "{json}");
}

#[test]
fn keys_sort_in_the_order_of_samples() {
    assert_eq!(sample_key(3, 42, 10_000), "000030042");
    assert_eq!(sample_key(3, 42, 100), "000030042");
    assert_eq!(sample_key(3, 42, 10_001), "0000300042");
    assert_eq!(sample_key(0, 0, 1), "000000000");
}

#[test]
fn the_bytes_of_a_release_never_change() {
    let rows: Vec<_> = (0..2_000).map(|i| row(i, i as usize % 5)).collect();
    let bytes = write_release_parquet(&rows, 3, None).unwrap();
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "a13fdae210032bc5824ce22d6d8a8387b0f3ee3a600c63020c90a61dac074883"
    );
    assert_eq!(
        blake3::hash(sample_json(&rows[3], 3).as_bytes()).to_hex().as_str(),
        "715bbbbab8fae759ae9911200ce83ea0cc114007d11f89864cb925e0727c6351"
    );
}
