//! A file of rows that is too large for one shard: its parts are shards of their own, and hold what the file holds.

use std::collections::BTreeMap;
use std::path::Path;

use realsyn_dataset::formats::table::write_table;
use realsyn_e2e::Obelics;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::{Digest, Id};
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::{Execution, Job, Order, ROWS_BYTES, Run, run_step};
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stages::rows::{Block, Document};

/// A document whose text does not compress.
fn document(name: &str, n: usize) -> Obelics {
    let words: Vec<String> = (0..40).map(|w| blake3::hash(format!("{name} {n} {w}").as_bytes()).to_string()).collect();
    let url = format!("https://{name}.example/{n}");
    Obelics {
        images: vec![None],
        texts: vec![Some(words.join(" "))],
        metadata: "[]".into(),
        general_metadata: format!("{{\"url\": \"{url}\"}}"),
    }
}

/// A build of the files in `source` in this folder, listed.
fn listed(folder: &Path) -> Run {
    let file = folder.join("build.yaml");
    let text = "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {name: parts}\nspec:\n  source: {format: obelics, uri: source}\n  \
                storage: {uri: out}\n  stopAfter: documents\n";
    std::fs::write(&file, text).unwrap();
    let session = Session::open(&Locations { files: vec![file], ..Locations::default() }).unwrap();
    session.run(session.list().unwrap(), None).unwrap()
}

#[test]
fn a_large_file_is_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let mut expected = BTreeMap::new();
    for (name, rows) in [("large", 5_000), ("small", 30)] {
        let rows: Vec<Obelics> = (0..rows).map(|n| document(name, n)).collect();
        std::fs::write(source.join(format!("{name}.parquet")), write_table(&rows).unwrap()).unwrap();
        for (n, row) in rows.into_iter().enumerate() {
            let url = format!("https://{name}.example/{n}");
            let id = Id::of_document(Some(&url), "", 0);
            expected.insert((format!("{name}.parquet"), n as u64), (id, url, row.texts[0].clone().unwrap()));
        }
    }
    let size = std::fs::metadata(source.join("large.parquet")).unwrap().len();
    let parts = size.div_ceil(ROWS_BYTES) as usize;
    assert!(parts > 1, "{size} bytes are one shard");
    let mut run = listed(folder.path());
    assert_eq!((run.inventory.shards.len(), run.inventory.files()), (parts + 1, 2));
    let how = Execution { jobs: 2, order: Order::Forward, runs: 1, gpus: None };
    run_step(&mut run, find(ids::DOCUMENTS), &how, &Quiet).unwrap();

    let mut found = BTreeMap::new();
    for number in 0..run.inventory.shards.len() as u32 {
        let spec = ShardSpec { number, key: Digest([0; 32]), group: number..number + 1 };
        let job = Job::new(&run, find(ids::FETCH), spec);
        let documents: Vec<Document> = job.table_of(ids::DOCUMENTS, number, "documents").unwrap();
        let blocks: Vec<Block> = job.table_of(ids::DOCUMENTS, number, "blocks").unwrap();
        let share = if number as usize == parts { 30 } else { 5_000usize.div_ceil(parts) };
        assert!(
            documents.len().abs_diff(share) <= 1 && documents.len() == blocks.len(),
            "{} documents",
            documents.len()
        );
        for (document, block) in documents.into_iter().zip(blocks) {
            assert_eq!(document.document, block.document);
            let row = (document.document, document.url.unwrap(), block.text);
            assert!(found.insert((document.file, document.row), row).is_none(), "a row is in two parts");
        }
    }
    assert!(found == expected, "the parts are not the files");
}

#[test]
fn a_file_that_is_replaced_after_it_was_listed_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let rows = |n: usize| write_table(&(0..n).map(|n| document("a", n)).collect::<Vec<_>>()).unwrap();
    std::fs::write(source.join("a.parquet"), rows(20)).unwrap();
    let mut run = listed(folder.path());
    std::fs::write(source.join("a.parquet"), rows(21)).unwrap();
    let how = Execution { jobs: 1, order: Order::Forward, runs: 1, gpus: None };
    let refused = run_step(&mut run, find(ids::DOCUMENTS), &how, &Quiet).map(drop).unwrap_err();
    let said = format!("{refused:#}");
    assert!(said.contains("a.parquet has ") && said.contains("spec.source.revision, or --list"), "{said}");
}
