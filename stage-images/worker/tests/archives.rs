//! `format: images` on tars as img2dataset writes them: every picture in them is fetched from its place, and what is wrong
//! with an archive costs the archive, with a reason.

use std::collections::BTreeMap;
use std::path::Path;

use realsyn_crds::Format;
use realsyn_dataset::formats::tar::{TarReader, TarWriter};
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::{Digest, Id, StepId};
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::{Execution, Job, Order, Run, run_step};
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stages::rows::{Dropped, Fetched};

/// A header by hand: a name, a kind and a size that no writer would write.
fn header(name: impl AsRef<[u8]>, kind: u8, size: u64) -> Vec<u8> {
    let (name, mut block) = (name.as_ref(), vec![0u8; 512]);
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    // Sizes above 8 GiB are binary, with the first bit set.
    block[124..136].copy_from_slice(&[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn member(name: impl AsRef<[u8]>, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, b'0', content.len() as u64);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn sample(tar: &mut TarWriter<Vec<u8>>, key: &str, picture: &[u8]) {
    tar.append(&format!("{key}.jpg"), picture).unwrap();
    tar.append(&format!("{key}.json"), br#"{"caption": "A dog."}"#).unwrap();
    tar.append(&format!("{key}.txt"), b"A dog.").unwrap();
}

/// Good archives, bad ones, and a picture beside them. Nothing is decoded here, so any bytes are a picture.
fn write_source(source: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
        std::fs::write(source.join(name), bytes).unwrap();
    };
    let mut good = TarWriter::new(Vec::new());
    (0..40).for_each(|n| sample(&mut good, &format!("0000{n:05}"), format!("picture {n}").as_bytes()));
    let good = good.finish().unwrap();
    write("00000.tar", &good);
    write("loose.jpg", b"loose");
    write("parts.tar/loose.jpg", b"in a folder that is called like an archive");
    write(
        "sub/100% #1?.TAR",
        &[member("a b%20#.png", b"marked"), member("d/x.tar/y.gif", b"deep"), vec![0; 1024]].concat(),
    );
    let odd = [
        member("one.jpg", b"the first"),
        header("folder/", b'5', 0),
        header("link.jpg", b'2', 0),
        member("one.jpg", b"the second"),
        member("/etc/passwd.jpg", b"absolute"),
        member("../up.jpg", b"above"),
        member(b"caf\xe9.jpg", b"a name in Latin-1"),
        member("two.jpg", b"two"),
        vec![0; 1024],
    ];
    write("odd.tar", &odd.concat());
    write("empty.tar", &[0; 1024]);
    write("cut.tar", &good[..good.len() / 2]);
    write("claims.tar", &[member("a.jpg", b"a"), header("b.jpg", b'0', 1 << 62)].concat());
    write("noise.tar", &[0x5a; 4000]);
    // A real file of a size that no picture has, behind one that is fine.
    let large = [member("small.jpg", b"small"), header("large.jpg", b'0', 65 << 20)].concat();
    write("large.tar", &large);
    let file = std::fs::OpenOptions::new().write(true).open(source.join("large.tar")).unwrap();
    file.set_len(large.len() as u64 + (65 << 20) + 1024).unwrap();
}

fn bring(run: &mut Run, step: StepId) {
    let how = Execution { jobs: 2, order: Order::Forward, runs: 1, gpus: None };
    run_step(run, find(step), &how, &Quiet).unwrap();
}

#[test]
fn every_picture_of_an_archive_is_fetched_from_its_place() {
    let folder = tempfile::tempdir().unwrap();
    write_source(&folder.path().join("source"));
    let file = folder.path().join("build.yaml");
    // A build that needs no model; its steps see the format that is set below.
    let text = "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {name: tars}\nspec:\n  source: {format: html, uri: source}\n  \
                storage: {uri: out}\n  stopAfter: fetch\n  stages: {documents: {maxRejectedShare: 1}, fetch: {maxRejectedShare: 1}}\n";
    std::fs::write(&file, text).unwrap();
    let session = Session::open(&Locations { files: vec![file], ..Locations::default() }).unwrap();
    let mut run = session.run(session.list().unwrap(), None).unwrap();
    run.source.format = Format::Images;
    run.inventory = run.source.list().unwrap();
    let shards: Vec<Vec<&str>> =
        run.inventory.shards.iter().map(|s| s.files.iter().map(|f| f.name.as_str()).collect()).collect();
    let archives = ["00000", "claims", "cut", "empty", "large", "noise", "odd", "sub/100% #1?"];
    assert_eq!(shards.len(), 1 + archives.len(), "an archive is a shard, the loose pictures are one: {shards:?}");
    assert_eq!(shards[archives.len()], ["loose.jpg", "parts.tar/loose.jpg"]);
    bring(&mut run, ids::DOCUMENTS);
    bring(&mut run, ids::FETCH);

    let (mut fetched, mut left_out) = (BTreeMap::new(), Vec::new());
    let job = |number| {
        Job::new(&run, find(ids::DECODE), ShardSpec { number, key: Digest([0; 32]), group: number..number + 1 })
    };
    for number in 0..run.inventory.shards.len() as u32 {
        let job = job(number);
        if run.commit(ids::DOCUMENTS, number).unwrap().data().is_none() {
            left_out.push(format!("{} as a whole", run.inventory.shards[number as usize].files[0].name));
            continue;
        }
        let dropped: Vec<Dropped> = job.table_of(ids::DOCUMENTS, number, "dropped").unwrap();
        left_out.extend(dropped.into_iter().map(|d| format!("{} {}", d.what, d.reason)));
        let media = job.object_of(ids::FETCH, number, "media").unwrap().unwrap();
        let media: BTreeMap<String, Vec<u8>> = TarReader::new(&media[..], 1 << 20).map(Result::unwrap).collect();
        for row in job.table_of::<Fetched>(ids::FETCH, number, "results").unwrap() {
            assert_eq!(row.document, Id::of_document(Some(&row.url), "", 0), "{}", row.url);
            let bytes = row.image.map(|image| String::from_utf8(media[&image.to_string()].clone()).unwrap());
            fetched.insert(row.url, bytes.unwrap_or(row.status));
        }
    }
    let mut expected: BTreeMap<String, String> =
        (0..40).map(|n| (format!("source:///00000.tar/0000{n:05}.jpg"), format!("picture {n}"))).collect();
    for (url, is) in [
        ("loose.jpg", "loose"),
        ("parts.tar/loose.jpg", "in a folder that is called like an archive"),
        ("sub/100%25 %231%3F.TAR/a b%2520%23.png", "marked"),
        ("sub/100%25 %231%3F.TAR/d/x.tar/y.gif", "deep"),
        ("odd.tar/one.jpg", "the first"),
        ("odd.tar/two.jpg", "two"),
        ("large.tar/small.jpg", "small"),
        ("large.tar/large.jpg", "too-many-bytes"),
    ] {
        expected.insert(format!("source:///{url}"), is.to_owned());
    }
    assert_eq!(fetched, expected);
    left_out.sort();
    assert_eq!(
        left_out,
        [
            "claims.tar as a whole",
            "cut.tar as a whole",
            "noise.tar as a whole",
            "odd.tar#1 name-twice",
            "odd.tar#2 bad-name",
            "odd.tar#3 bad-name",
            "odd.tar#4 bad-name",
        ]
    );
}
