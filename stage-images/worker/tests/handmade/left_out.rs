//! What each rule about images leaves out, and under which name it is counted.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use realsyn_e2e::{Fault, FaultProxy, S3Server, Seen};
use realsyn_plan::graph::ids;
use realsyn_worker::run::Run;
use realsyn_worker::stages::rows::{Dropped, Fetched, Image};

use crate::corpus::{HOSTS, Handmade, page, rows};

/// A PNG of 60,000 by 60,000 pixels, as it claims, in a few bytes.
fn bomb() -> Vec<u8> {
    let chunk = |kind: &[u8; 4], payload: &[u8]| {
        let body = [kind.as_slice(), payload].concat();
        let mut crc = u32::MAX;
        for byte in &body {
            crc ^= u32::from(*byte);
            (0..8).for_each(|_| crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()));
        }
        [&(payload.len() as u32).to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
    };
    let side = 60_000u32.to_be_bytes();
    let header = [&side[..], &side, &[8, 0, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &[0x78, 1]), chunk(b"IEND", &[])].concat()
}

/// Reasons by what was dropped.
fn reasons(run: &Run, step: realsyn_plan::StepId) -> BTreeMap<String, String> {
    rows::<Dropped>(run, step, "dropped").into_iter().map(|d| (d.what, d.reason)).collect()
}

#[test]
fn every_rule_leaves_out_what_it_names_and_counts_it() {
    let [one, two, six] = HOSTS;
    let urls: Vec<String> = [
        (one, "kept.jpg"),
        (one, "blocked.jpg"),
        (two, "host.jpg"),
        (six, "address.jpg"),
        (one, "both.jpg"),
        (two, "both.jpg"),
        (one, "evaluation.jpg"),
        (one, "cut.jpg"),
        (one, "bomb.png"),
        (one, "icon.jpg"),
        (one, "missing.jpg"),
        ("https://elsewhere.example/", "kept.jpg"),
    ]
    .iter()
    .map(|(host, name)| format!("{host}{name}"))
    .collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let pages = [page(None, &urls[..5], &[]), page(None, &urls[5..], &[])];
    let Some(handmade) = Handmade::new(&pages) else { return };
    let names = ["kept.jpg", "blocked.jpg", "host.jpg", "address.jpg", "both.jpg", "evaluation.jpg"];
    let ids_of: Vec<_> = names.iter().enumerate().map(|(n, name)| handmade.photograph(name, n)).collect();
    let whole = std::fs::read(handmade.folder.path().join("pictures/kept.jpg")).unwrap();
    let cut = handmade.picture("cut.jpg", &whole[..whole.len() / 2]);
    let bomb = handmade.picture("bomb.png", &bomb());
    let small = realsyn_vision::Rgb::new(20, 30, vec![200; 20 * 30 * 3]).unwrap();
    let icon = handmade.picture("icon.jpg", &realsyn_vision::encode_jpeg(&small, 90));

    // The same hosts as the pages write them, in other words.
    let hosts = handmade.list("hosts.txt", "# not ours\nTWO.example.\n2001:DB8::0:1\n");
    let blocked = handmade.list("blocked.txt", &format!("{}\n", ids_of[1]));
    let sets = [
        handmade.list("first.txt", "0123456789abcdef0123456789abcdef\n"),
        handmade.list("second.txt", &format!("{}\n", ids_of[5])),
    ];
    let stages = format!(
        "    imagePolicy: {{blockedHosts: {hosts}, blockedImages: {blocked}, evaluationSets: [{}]}}\n",
        sets.join(", ")
    );
    handmade.manifest(&stages, "  stopAfter: image-policy\n", &[]);
    handmade.build().unwrap();

    let run = handmade.sealed(None);
    let count = |step, name: &str| run.seals[&step].count(name);
    let fetched = ["in", "out", "dropped.missing", "dropped.not-fetched"].map(|name| count(ids::FETCH, name));
    assert_eq!(fetched, [12, 10, 1, 1]);
    let status: BTreeMap<String, String> =
        rows::<Fetched>(&run, ids::FETCH, "results").into_iter().map(|row| (row.url, row.status)).collect();
    assert_eq!(status["https://elsewhere.example/kept.jpg"], "not-fetched");
    assert_eq!(status["https://one.example/missing.jpg"], "missing");

    let decoded = ["in", "out", "dropped.truncated", "dropped.too-many-pixels", "dropped.too-small"];
    assert_eq!(decoded.map(|name| count(ids::DECODE, name)), [10, 7, 1, 1, 1]);
    let dropped = reasons(&run, ids::DECODE);
    let reason = |id: realsyn_plan::Id| dropped[&id.to_string()].as_str();
    assert_eq!([reason(cut), reason(bomb), reason(icon)], ["truncated", "too-many-pixels", "too-small"]);

    let policy = ["in", "out", "dropped.blocked-image", "dropped.blocked-host", "dropped.evaluation-set"];
    assert_eq!(policy.map(|name| count(ids::POLICY, name)), [6, 1, 1, 3, 1]);
    let dropped = reasons(&run, ids::POLICY);
    let reasons: Vec<&str> = ids_of[1..].iter().map(|id| dropped[&id.to_string()].as_str()).collect();
    assert_eq!(reasons, ["blocked-image", "blocked-host", "blocked-host", "blocked-host", "evaluation-set"]);
    let kept: Vec<_> = rows::<Image>(&run, ids::POLICY, "images").into_iter().map(|row| row.image).collect();
    assert_eq!(kept, [ids_of[0]]);
}

#[test]
fn a_page_that_is_too_large_is_left_out_unread_and_a_replaced_one_stops_the_build() {
    let Some(handmade) = Handmade::new(&[page(None, &[], &["A dog runs over the green field."])]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = S3Server::start(folder.path()).unwrap();
    let pages = folder.path().join(S3Server::BUCKET).join("pages");
    std::fs::create_dir(&pages).unwrap();
    std::fs::copy(handmade.folder.path().join("corpus/0.html"), pages.join("fine.html")).unwrap();
    std::fs::File::create(pages.join("large.html")).unwrap().set_len((16 << 20) + 1).unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    let script = move |seen: &Seen| {
        log.lock().unwrap().push(format!("{} {}", seen.method, seen.path));
        Fault::None
    };
    let proxy = FaultProxy::start(server.address(), script).unwrap();
    handmade.manifest("", "  stopAfter: documents\n", &[]);
    let build = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_realsyn"))
            .args(["build", "--no-report", "-f", "build.yaml", "--out", "out", "--endpoint", &proxy.endpoint()])
            .args(["--source", &format!("s3://{}/pages", S3Server::BUCKET)])
            .args(more)
            .current_dir(handmade.folder.path())
            .env("AWS_ACCESS_KEY_ID", S3Server::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", S3Server::SECRET_KEY)
            .env("AWS_REGION", "us-east-1")
            .output()
            .unwrap()
    };
    let output = build(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = handmade.sealed(None);
    let counts = ["in", "out", "dropped.too-large"].map(|name| run.seals[&ids::DOCUMENTS].count(name));
    assert_eq!(counts, [2, 1, 1]);
    // The listing reads what has no version; what comes after it are the stages.
    let asked: Vec<String> =
        asked.lock().unwrap().iter().skip_while(|line| !line.starts_with("HEAD")).cloned().collect();
    let read = |name: &str| asked.iter().any(|line| line.starts_with("GET ") && line.ends_with(name));
    assert!(read("/pages/fine.html") && !read("/pages/large.html"), "{asked:?}");

    // Replaced since it was listed, before the shard ran again.
    std::fs::remove_dir_all(handmade.folder.path().join("out/documents")).unwrap();
    std::fs::write(pages.join("fine.html"), "<p>Another page.</p>").unwrap();
    let output = build(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("fine.html has 20 bytes") && said.contains("--list"), "{said}");
    let output = build(&["--list"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
