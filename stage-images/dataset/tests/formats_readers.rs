//! Readers: what becomes of good documents, and that a bad one costs itself.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;
use realsyn_dataset::formats::inventory::cut_runs;
use realsyn_dataset::formats::parquet::{Bytewise, Limits};
use realsyn_dataset::formats::readers::{
    Block, Document, DocumentLimits, DocumentReject, ImageRef, RejectReason, image_documents, read_html, read_obelics,
    resolve_url,
};
use realsyn_dataset::formats::{FormatError, Row};
use realsyn_dataset::table_row;
use realsyn_plan::layout::Part;
use serde::{Deserialize, Serialize};

const PAGE: &str = "https://site.example/dir/page.html";

table_row! {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Obelics {
        images: Option<Vec<Option<String>>>,
        texts: Option<Vec<Option<String>>>,
        metadata: Option<String>,
        general_metadata: Option<String>,
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn sound() -> Obelics {
    let metadata =
        r#"[null, {"alt_text": " A dog. ", "document_url": "https://d.example/", "extra": [1]}, null, null]"#;
    Obelics {
        images: Some(vec![None, some("https://i.example/dog.jpg"), some(""), some("data:image/png;base64,AA")]),
        texts: Some(vec![some("One.\n\nTwo.END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED"), some(""), some("Three."), None]),
        metadata: some(metadata),
        general_metadata: some(r#"{"url": "https://d.example/page", "warc_filename": null}"#),
    }
}

/// Uncompressed and without dictionary, so that a test can find a text in the bytes.
fn file(rows: &[Obelics]) -> Vec<u8> {
    let fields = Obelics::fields();
    let batch = serde_arrow::to_record_batch(&fields, &rows).unwrap();
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn read(bytes: impl Into<Bytes>) -> Result<Vec<Result<Document, DocumentReject>>, FormatError> {
    let mut documents = Vec::new();
    let limits = DocumentLimits { bytes: 100_000, positions: 50 };
    let bytes: Bytes = bytes.into();
    read_obelics(bytes, Part::WHOLE, &Limits::default(), &limits, |document| {
        documents.push(document);
        Ok::<_, FormatError>(())
    })?;
    Ok(documents)
}

/// A file of which it is counted what is read.
struct Counted {
    bytes: Bytes,
    read: Cell<u64>,
}

impl Bytewise for &Counted {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.read.set(self.read.get() + range.end - range.start);
        self.bytes.range(range)
    }
}

#[test]
fn parts_of_a_file_are_the_whole_and_read_little_of_it() {
    let rows: Vec<Obelics> = (0..200)
        .map(|n| {
            let text = blake3::hash(&[n]).to_hex().repeat(20);
            let general_metadata = some(&format!(r#"{{"url": "https://d.example/{n}"}}"#));
            Obelics { images: Some(vec![None]), texts: Some(vec![Some(text)]), metadata: None, general_metadata }
        })
        .collect();
    let fields = Obelics::fields();
    let batch = serde_arrow::to_record_batch(&fields, &rows).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(7)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let bytes: Bytes = writer.into_inner().unwrap().into();
    let read = |part: Part| {
        let (counted, mut found) = (Counted { bytes: bytes.clone(), read: Cell::new(0) }, Vec::new());
        read_obelics(&counted, part, &Limits::default(), &DocumentLimits::default(), |document| {
            let document = document.unwrap();
            found.push((document.source_row, document.url.unwrap()));
            Ok::<_, FormatError>(())
        })
        .unwrap();
        (found, counted.read.get())
    };
    let (all, bytes_of_all) = read(Part::WHOLE);
    assert_eq!(all, (0..200).map(|n| (n, format!("https://d.example/{n}"))).collect::<Vec<_>>());
    for of in [1, 2, 13, 200, 500] {
        let parts: Vec<_> = (0..of).map(|number| read(Part { number, of })).collect();
        assert!(parts.iter().all(|(rows, _)| rows.len() <= 200usize.div_ceil(of as usize)), "{of} parts are uneven");
        // Two row groups of 29 at most, and the footer.
        let most = parts.iter().map(|(_, bytes)| *bytes).max().unwrap();
        assert!(of < 100 || most < bytes_of_all / 4, "one of {of} parts reads {most} of {bytes_of_all} bytes");
        // What has no row of a group does not read it.
        let least = parts.iter().map(|(_, bytes)| *bytes).min().unwrap();
        assert!(parts.iter().all(|(rows, bytes)| !rows.is_empty() || *bytes == least), "{of} parts");
        assert_eq!(parts.into_iter().flat_map(|(rows, _)| rows).collect::<Vec<_>>(), all, "{of} parts");
    }
}

/// Parts are counted by what the footer claims, so that a group with other rows would have some in two parts, or in none.
#[test]
fn a_row_group_that_has_other_rows_than_it_claims_is_an_error() {
    let honest = file(&vec![sound(); 20]);
    let footer = u32::from_le_bytes(honest[honest.len() - 8..][..4].try_into().unwrap()) as usize;
    let with_claim = |rows: i64| {
        let bytes = Bytes::from(honest.clone());
        let mut builder = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap().into_builder();
        let groups = builder.take_row_groups().into_iter();
        let groups = groups.map(|group| group.into_builder().set_num_rows(rows).build().unwrap()).collect();
        let metadata = builder.set_row_groups(groups).build();
        let mut forged = honest[..honest.len() - 8 - footer].to_vec();
        ParquetMetaDataWriter::new(&mut forged, &metadata).finish().unwrap();
        forged
    };
    assert_eq!(read(with_claim(20)).unwrap().len(), 20);
    let refused = read(with_claim(21)).unwrap_err().to_string();
    assert!(refused.contains("it claims 21 rows and has 20"), "{refused}");
    for rows in [0, 19, i64::MAX] {
        let read = read(with_claim(rows));
        assert!(read.as_ref().is_err() || rows == 0 && read.as_ref().unwrap().is_empty(), "{rows}: {read:?}");
    }
}

/// Columns may claim the same bytes many times over, each as many as are allowed.
#[test]
fn columns_that_are_too_much_together_are_refused_before_they_are_read() {
    let long = |n: u8| blake3::hash(&[n]).to_hex().repeat(20);
    let rows: Vec<Obelics> = (0..100)
        .map(|n| {
            let general_metadata = Some(format!(r#"{{"url": "https://d.example/{n}", "other": "{}"}}"#, long(n)));
            Obelics { images: Some(vec![None]), texts: Some(vec![Some(long(n))]), metadata: None, general_metadata }
        })
        .collect();
    let counted = Counted { bytes: file(&rows).into(), read: Cell::new(0) };
    let size = counted.bytes.size();
    // Each of the two is about half of the file.
    let limits = Limits { row_group: size / 4 * 3, ..Limits::default() };
    let refused =
        read_obelics(&counted, Part::WHOLE, &limits, &DocumentLimits::default(), |_| Ok::<_, FormatError>(()));
    assert!(
        matches!(refused, Err(FormatError::TooLarge { what: "the columns of a row group", .. })),
        "{refused:?}, {size} bytes"
    );
    assert!(counted.read.get() < size / 4, "{} of {size} bytes were read", counted.read.get());
}

#[test]
fn an_obelics_row_becomes_a_document() {
    let documents = read(file(&[sound()])).unwrap();
    let expected = Document {
        url: some("https://d.example/page"),
        source_row: 0,
        blocks: vec![Block { position: 0, text: "One.\n\nTwo.".into() }, Block { position: 2, text: "Three.".into() }],
        images: vec![ImageRef { position: 1, url: "https://i.example/dog.jpg".into(), alt: some("A dog.") }],
        licence: None,
        ignored_images: 1,
    };
    assert_eq!(documents, [Ok(expected)]);
}

#[test]
fn a_bad_obelics_row_costs_itself() {
    use RejectReason::*;
    let change = |change: fn(&mut Obelics)| {
        let mut row = sound();
        change(&mut row);
        row
    };
    let rows = [
        (change(|r| r.images = None), Some(NullColumn)),
        (change(|r| r.texts = None), Some(NullColumn)),
        (change(|r| r.images.as_mut().unwrap().truncate(3)), Some(LengthMismatch)),
        (change(|r| r.metadata = some("[null]")), Some(LengthMismatch)),
        (change(|r| r.metadata = some("[null, ")), Some(MalformedMetadata)),
        (change(|r| r.metadata = some(r#"{"a": 1}"#)), Some(MalformedMetadata)),
        (change(|r| r.metadata = Some("[".repeat(50_000))), Some(MalformedMetadata)),
        (change(|r| r.general_metadata = some("nothing")), Some(MalformedMetadata)),
        (change(|r| r.images.as_mut().unwrap()[0] = some("https://i.example/x.jpg")), Some(ImageAndText)),
        (change(|r| r.texts.as_mut().unwrap()[2] = Some("x".repeat(100_001))), Some(TooLarge)),
        (change(|r| (r.images, r.texts) = (Some(vec![None; 51]), Some(vec![None; 51]))), Some(TooLarge)),
        (change(|r| (r.metadata, r.general_metadata) = (None, some(""))), None),
        (change(|r| (r.images, r.texts, r.metadata) = (Some(vec![]), Some(vec![]), some("[]"))), None),
    ];
    let documents = read(file(&rows.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>())).unwrap();
    assert_eq!(documents.len(), rows.len());
    for (i, (document, (_, expected))) in documents.iter().zip(&rows).enumerate() {
        match document {
            Ok(document) => assert_eq!((document.source_row, *expected), (i as u64, None)),
            Err(reject) => assert_eq!((reject.row, Some(reject.reason)), (i as u64, *expected)),
        }
    }
}

#[test]
fn invalid_utf8_costs_one_obelics_document() {
    let mut bad = sound();
    bad.texts.as_mut().unwrap()[2] = some("MARK here");
    let mut bytes = file(&[sound(), bad, sound()]);
    let at = bytes.windows(4).position(|w| w == b"MARK").unwrap();
    bytes[at + 1] = 0xff;
    let documents = read(bytes).unwrap();
    assert!(documents[0].is_ok() && documents[2].is_ok());
    assert_eq!(documents[1], Err(DocumentReject { row: 1, reason: RejectReason::InvalidUtf8 }));
}

#[test]
fn obelics_files_that_are_empty_cut_off_or_of_another_format() {
    let bytes = file(&[sound(), sound()]);
    assert_eq!(read(file(&[])).unwrap(), []);
    for len in (0..bytes.len()).step_by(97) {
        assert!(read(bytes[..len].to_vec()).is_err(), "cut at {len}");
    }
    let column = Arc::new(arrow_array::Int32Array::from(vec![1]));
    let columns = ["images", "texts", "metadata", "general_metadata"].map(|name| (name, column.clone() as _));
    let batch = arrow_array::RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    assert!(matches!(read(writer.into_inner().unwrap()), Err(FormatError::Unsupported { .. })));
    let batch = batch.project(&[0, 1]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    assert!(matches!(read(writer.into_inner().unwrap()), Err(FormatError::MissingColumn { .. })));
}

#[test]
fn openstax_is_read_whole() {
    let root = std::env::var_os("REALSYN_OPENSTAX")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/openstax"));
    if !root.is_dir() {
        let why = format!("no OpenStax sample at {}; set REALSYN_OPENSTAX", root.display());
        realsyn_skip::skipped("openstax_is_read_whole", why);
        return;
    }
    let (mut documents, mut images, mut alts) = (0, 0, 0);
    for book in ["astronomy", "introduction-sociology", "us-history"] {
        let bytes = std::fs::read(root.join(format!("{book}.parquet"))).unwrap();
        read_obelics(Bytes::from(bytes), Part::WHOLE, &Limits::default(), &DocumentLimits::default(), |document| {
            let document = document.unwrap();
            assert_eq!(document.ignored_images, 0);
            assert!(document.url.is_some() && !document.blocks.is_empty());
            documents += 1;
            images += document.images.len();
            alts += document.images.iter().filter(|image| image.alt.is_some()).count();
            Ok::<_, FormatError>(())
        })
        .unwrap();
    }
    assert_eq!((documents, images), (472, 1_514));
    assert!(alts > 1_000, "{alts}");
}

fn html(page: &str) -> Document {
    read_html(page.as_bytes(), PAGE, 7, &DocumentLimits::default()).unwrap()
}

fn blocks(document: &Document) -> Vec<&str> {
    document.blocks.iter().map(|block| block.text.as_str()).collect()
}

#[test]
fn a_page_becomes_a_document() {
    let document = html(
        r##"<!DOCTYPE html><html><head><title>No <b>text</b></title><style>p > a { color: red }</style>
        <link rel="stylesheet" href="x.css"><link rel="license nofollow" href="/cc-by"></head><body>
        <header><p>Menu <img src=logo.png></header><nav><ul><li>Home</ul></nav>
        <h1>Dogs &amp;  cats</h1><p>A <b>dog</b><br>runs. <img src="../a%20b.jpg#x" alt=" Dog "
        srcset="big.jpg 2x"> It is fast.<p>Second<div>Third<script>if (a < b) document.write("<p>no</p>")</script></div>
        <figure><img src="//cdn.example/c.png"><figcaption>A cat.</figcaption></figure>
        <img src="data:image/png;base64,AAAA"><img alt="none"><img src="ftp://x.example/y.jpg">
        <svg><title>icon</title><style/><text>No</text></svg><textarea><p>no</p></textarea>
        <noscript><img src=/n.gif></noscript>Last <footer>Imprint</footer></body></html>"##,
    );
    assert_eq!(blocks(&document), ["Dogs & cats", "A dog runs. It is fast.", "Second", "Third", "A cat.", "Last"]);
    let images: Vec<_> = document.images.iter().map(|i| (i.position, i.url.as_str(), i.alt.as_deref())).collect();
    assert_eq!(
        images,
        [
            (2, "https://site.example/a%20b.jpg", Some("Dog")),
            (5, "https://cdn.example/c.png", None),
            (7, "https://site.example/n.gif", None),
        ]
    );
    let positions: Vec<u32> = document.blocks.iter().map(|block| block.position).collect();
    assert_eq!(positions, [0, 1, 3, 4, 6, 8]);
    assert_eq!(document.licence.as_deref(), Some("https://site.example/cc-by"));
    assert_eq!((document.url.as_deref(), document.source_row, document.ignored_images), (Some(PAGE), 7, 3));
}

#[test]
fn what_is_dropped_ends_with_its_element_or_with_its_parents() {
    assert_eq!(blocks(&html("<nav>a<nav>b</nav>c</nav>d")), ["d"]);
    assert_eq!(blocks(&html("<div><nav>a</div>b")), ["b"]);
    assert_eq!(blocks(&html("</nav></div>a<nav>b")), ["a"]);
    assert_eq!(blocks(&html("<head><link><p>a")), ["a"]);
    assert_eq!(blocks(&html("")), Vec::<&str>::new());
    assert_eq!(html("<base href='/b/'><img src=x.jpg>").images[0].url, "https://site.example/b/x.jpg");
}

#[test]
fn encodings_are_found_out() {
    let read = |bytes: &[u8]| read_html(bytes, PAGE, 0, &DocumentLimits::default());
    let text = |bytes: &[u8]| read(bytes).unwrap().blocks[0].text.clone();
    assert_eq!(text("\u{feff}Löwe".as_bytes()), "Löwe");
    assert_eq!(text(b"<meta charset='ISO-8859-1'><p>L\xf6we \x80"), "Löwe €");
    assert_eq!(text(b"<meta http-equiv=Content-Type content='text/html; charset=windows-1252'>L\xf6we"), "Löwe");
    assert_eq!(text("<meta charset=latin1><p>Löwe".as_bytes()), "Löwe");
    let utf16: Vec<u8> = "\u{feff}<p>Löwe 🦁".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(text(&utf16), "Löwe 🦁");
    for bytes in
        [&b"<p>L\xf6we"[..], b"<meta charset=utf-8>\xff", b"<meta charset=iso-8859-15>\xf6", b"\xff\xfe\x00\xd8"]
    {
        assert_eq!(read(bytes).unwrap_err().reason, RejectReason::InvalidUtf8, "{bytes:?}");
    }
}

/// Far above what the page needs, far below what quadratic work would take.
fn quickly<T>(run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    result
}

#[test]
fn a_page_nested_100_000_deep_is_read() {
    quickly(|| {
        let deep = format!("{}deep{}after", "<div><p>".repeat(100_000), "</span></b></div>".repeat(100_000));
        assert_eq!(blocks(&html(&deep)), ["deep", "after"]);
        let dropped = format!("{}no{}yes", "<nav><div>".repeat(100_000), "</div></nav>".repeat(100_000));
        assert_eq!(blocks(&html(&dropped)), ["yes"]);
        assert_eq!(blocks(&html(&format!("{}end", "<div".repeat(100_000)))), Vec::<&str>::new());
        assert_eq!(blocks(&html(&format!("{}a", "<".repeat(1 << 20)))).len(), 1);
    });
}

#[test]
fn a_megabyte_in_one_attribute_is_read_and_a_million_attributes_are_not() {
    quickly(|| {
        let long = format!("<p title='{}'>a<img alt=\"{}\" src=x.jpg>", "x <y> ".repeat(200_000), "w ".repeat(500_000));
        let document = html(&long);
        assert_eq!(blocks(&document), ["a"]);
        assert_eq!(document.images[0].alt.as_ref().unwrap().len(), 999_999);

        let many = |n: usize, one: fn(usize) -> String| (0..n).map(one).collect::<String>();
        let shapes: [fn(usize) -> String; 5] = [
            |i| format!(" a{i}"),
            |i| format!("/a{i}=\"<b>\""),
            |i| format!(" a{i}='x'"),
            |i| format!(" =\"a{i}"),
            |i| format!(" a{i} = <"),
        ];
        for shape in shapes {
            for open in ["<p", "<!--><p", "<title></title", "<<<p", "<script></script"] {
                let page = |n| {
                    let page = format!("{open}{}>end", many(n, shape));
                    read_html(page.as_bytes(), PAGE, 0, &DocumentLimits::default()).map_err(|reject| reject.reason)
                };
                assert!(page(1_000).is_ok(), "{open} {}", shape(0));
                assert_eq!(page(300_000), Err(RejectReason::TooLarge), "{open} {}", shape(0));
            }
        }
        // In a comment or a script these are not attributes.
        for (open, close) in [("<!-- <p", "--"), ("<script>a <p", "</script"), ("<style><p", "</style")] {
            let page = format!("{open}{}{close}>end", many(5_000, |i| format!(" a{i}")));
            assert_eq!(blocks(&html(&page)), ["end"], "{open}");
        }
    });
}

#[test]
fn limits_of_a_page_hold() {
    let limits = DocumentLimits { bytes: 1_000, positions: 3 };
    let read = |page: &str| read_html(page.as_bytes(), PAGE, 0, &limits).map_err(|reject| reject.reason);
    assert!(read("<p>a<p>b<p>c").is_ok());
    assert_eq!(read("<p>a<p>b<p>c<img src=d.jpg>"), Err(RejectReason::TooLarge));
    assert_eq!(read(&"x".repeat(1_001)), Err(RejectReason::TooLarge));
}

#[test]
fn references_resolve_as_rfc_3986_says() {
    // Section 5.4 with an http base; without those references that name no image: other schemes, empty, fragment only.
    for (reference, expected) in [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("g#s", "http://a/b/c/g"),
        (";x", "http://a/b/c/;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/../h", "http://a/b/c/h"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        (" h\nttps://z/q ", "https://z/q"),
        ("HTTPS://z/q", "https://z/q"),
    ] {
        assert_eq!(resolve_url("http://a/b/c/d;p?q", reference).as_deref(), Some(expected), "{reference}");
    }
    for reference in ["", " ", "#x", "data:image/png;base64,A", "javascript:x()", "mailto:a@b", "ftp://a/b", "http:g"] {
        assert_eq!(resolve_url("http://a/b", reference), None, "{reference}");
    }
    assert_eq!(resolve_url("not a url", "x.jpg"), None);
    assert_eq!(resolve_url("file:///d/p.html", "i.jpg").as_deref(), Some("file:///d/i.jpg"));
}

#[test]
fn images_alone_become_documents() {
    let names = ["a.JPG", "b.txt", "d/c.webp", ".png", "png"];
    let documents: Vec<_> = image_documents("https://i.example/set/", names).collect();
    let seen: Vec<_> = documents.iter().map(|d| (d.source_row, d.images[0].url.as_str(), d.blocks.len())).collect();
    assert_eq!(seen, [(0, "https://i.example/set/a.JPG", 0), (2, "https://i.example/set/d/c.webp", 0)]);
    assert_eq!(documents[0].url.as_deref(), Some("https://i.example/set/a.JPG"));
    let marked = image_documents("s:///", ["100% #1?.png"]).next().unwrap();
    assert_eq!(marked.images[0].url, "s:///100%25 %231%3F.png");
}

#[test]
fn a_new_file_changes_only_its_run() {
    let listing =
        |n: usize| (0..n).map(|i| (format!("page-{i:06}.html"), 10_000 + (i as u64 * 37) % 5_000)).collect::<Vec<_>>();
    let before = listing(5_000);
    let runs_of = |files: &[(String, u64)]| {
        cut_runs(files, 500_000).into_iter().map(|run| files[run].to_vec()).collect::<Vec<_>>()
    };
    let runs = runs_of(&before);
    assert_eq!(runs.concat(), before);
    let size = |run: &[(String, u64)]| run.iter().map(|(_, size)| size).sum::<u64>();
    assert!(runs.iter().all(|run| size(run) <= 2_000_000));
    // 62.5 MB in runs of 0.5 MB: 125 cuts by hash are expected, with a standard deviation of 11, and few forced ones.
    assert!((80..180).contains(&runs.len()), "{}", runs.len());
    let mut after = before.clone();
    after.insert(2_500, ("page-002499a.html".into(), 9_000));
    let changed = runs_of(&after).iter().filter(|run| !runs.contains(run)).count();
    assert!((1..=3).contains(&changed), "{changed} runs changed");
    assert_eq!(cut_runs(&[], 1), []);
    assert_eq!(cut_runs(&[("a".into(), u64::MAX), ("b".into(), u64::MAX)], 1), [0..1, 1..2]);
}
