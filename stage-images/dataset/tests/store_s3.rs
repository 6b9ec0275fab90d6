//! The S3 store against a real server process, directly and through a proxy that injects faults.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use realsyn_dataset::store::{
    AT_ONCE, Credentials, PutNew, S3Options, S3Store, Settled, Store, StoreError, StoreExt, StoreOptions, at_once,
    check_conditional, open,
};
use realsyn_e2e::{Fault, FaultProxy, S3Server, Seen, conformance};
use tempfile::TempDir;

/// A server with an empty bucket.
fn server() -> (TempDir, S3Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = S3Server::start(folder.path()).unwrap();
    (folder, server)
}

fn keys() -> Credentials {
    Credentials::Static {
        access_key: S3Server::ACCESS_KEY.into(),
        secret_key: S3Server::SECRET_KEY.into(),
        session_token: None,
    }
}

/// Options with short pauses, for a service on this machine.
fn options(endpoint: String, prefix: &str) -> S3Options {
    let mut options = S3Options::new(S3Server::BUCKET, prefix);
    options.endpoint = Some(endpoint);
    options.region = Some("us-east-1".into());
    options.credentials = keys();
    options.first_pause = Duration::from_millis(1);
    options.longest_pause = Duration::from_millis(20);
    options.min_bytes_per_second = 1 << 30;
    options
}

fn direct(server: &S3Server, prefix: &str) -> S3Store {
    S3Store::new(options(server.endpoint(), prefix)).unwrap()
}

/// A store whose requests meet the faults of a script, one after the other, and then none; and how many came.
fn scripted(upstream: SocketAddr, faults: &[Fault], change: impl FnOnce(&mut S3Options)) -> Scripted {
    let seen = Arc::new(AtomicUsize::new(0));
    let (faults, count) = (faults.to_vec(), Arc::clone(&seen));
    let proxy = FaultProxy::start(upstream, move |_| {
        faults.get(count.fetch_add(1, Ordering::Relaxed)).copied().unwrap_or(Fault::None)
    })
    .unwrap();
    let mut options = options(proxy.endpoint(), "");
    change(&mut options);
    Scripted { store: S3Store::new(options).unwrap(), seen, _proxy: proxy }
}

struct Scripted {
    store: S3Store,
    seen: Arc<AtomicUsize>,
    _proxy: FaultProxy,
}

impl Scripted {
    fn requests(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }
}

#[test]
fn a_bucket_conforms() {
    let (_folder, server) = server();
    conformance(&direct(&server, ""), 1_100);
}

#[test]
fn a_part_of_a_bucket_conforms_and_shows_nothing_beside_it() {
    let (_folder, server) = server();
    direct(&server, "").put("part-of-another/object", b"").unwrap();
    let options = StoreOptions {
        create: false,
        endpoint: Some(server.endpoint()),
        region: Some("us-east-1".into()),
        credentials: keys(),
    };
    let store = open("s3://bucket/part/", &options).unwrap();
    assert_eq!(store.describe(), "s3://bucket/part");
    conformance(&*store, 20);
    assert!(direct(&server, "").list_names("race").unwrap().is_empty());
    assert_eq!(direct(&server, "").list_names("part/race").unwrap().len(), 2);
}

#[test]
fn a_bucket_conforms_behind_faults() {
    let (_folder, server) = server();
    let injected: usize = std::thread::scope(|scope| {
        let run = |worker: u64| {
            // Most of the time is spent waiting for bodies that stall, so a few run side by side.
            let seeds = (0..30).filter(|seed| seed % 6 == worker);
            let faults = seeds.map(|seed| {
                let proxy = FaultProxy::seeded(server.address(), seed, 20).unwrap();
                let mut options = options(proxy.endpoint(), &format!("seed-{seed}"));
                options.page_size = 7;
                options.response_timeout = Duration::from_millis(250);
                options.attempts = 10;
                conformance(&S3Store::new(options).unwrap(), 24);
                proxy.faults()
            });
            faults.sum::<usize>()
        };
        let workers = [0, 1, 2, 3, 4, 5].map(|worker| scope.spawn(move || run(worker)));
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    // Each run sends some 250 requests, of which the proxy strikes about one in six.
    assert!(injected > 30 * 25, "only {injected} faults were injected");
}

#[test]
fn a_conditional_put_says_what_is_known() {
    use Fault::{Answer, AnswerAfter, LoseRequest, LoseResponse, None, Reset};
    let (_folder, server) = server();
    let cases: [(&str, &[Fault], PutNew); 9] = [
        ("clear", &[], PutNew::Created),
        ("busy", &[Answer(503), Answer(500)], PutNew::Created),
        ("lost-request", &[LoseRequest], PutNew::Unknown),
        ("reset", &[Reset], PutNew::Unknown),
        ("lost-answer", &[LoseResponse], PutNew::Unknown),
        ("conflict", &[Answer(409)], PutNew::Unknown),
        ("conflict-after", &[AnswerAfter(409)], PutNew::Unknown),
        // The second attempt finds the first one's object: taken, but perhaps by ourselves.
        ("done-but-500", &[AnswerAfter(500), None], PutNew::Unknown),
        ("412", &[Answer(412)], PutNew::Exists),
    ];
    for (name, faults, answer) in cases {
        let run = scripted(server.address(), faults, |_| ());
        assert_eq!(run.store.put_new(name, b"ours").unwrap(), answer, "{name}");
        // Whatever it was, it settles to ours, also when the reading back goes wrong once more.
        assert_eq!(run.store.put_new_settled(name, b"ours").unwrap(), Settled::Ours, "{name}");
        assert_eq!(direct(&server, "").put_new(name, b"theirs").unwrap(), PutNew::Exists, "{name}");
        assert_eq!(direct(&server, "").get_required(name).unwrap(), b"ours", "{name}");
    }
}

#[test]
fn a_late_conditional_put_never_replaces_the_one_that_was_seen() {
    let (_folder, server) = server();
    let late = scripted(server.address(), &[Fault::DeliverLate], |_| ());
    assert_eq!(late.store.put_new("late", b"late").unwrap(), PutNew::Unknown);
    let seen = match direct(&server, "").put_new_settled("late", b"prompt").unwrap() {
        Settled::Ours => b"prompt".to_vec(),
        Settled::Theirs(bytes) => bytes,
    };
    // Whichever came first, it stays.
    assert_eq!(direct(&server, "").get_required("late").unwrap(), seen);
}

#[test]
fn bodies_that_stop_early_or_stall_are_asked_for_again() {
    let (_folder, server) = server();
    let bytes: Vec<u8> = (0..200_000_u32).map(|index| (index % 253) as u8).collect();
    direct(&server, "").put("object", &bytes).unwrap();
    for fault in [Fault::TruncateBody, Fault::StallBody, Fault::LoseResponse, Fault::Answer(500)] {
        let short = |options: &mut S3Options| options.response_timeout = Duration::from_millis(500);
        let run = scripted(server.address(), &[fault, fault], short);
        assert_eq!(run.store.get_required("object").unwrap(), bytes, "{fault:?}");
        assert_eq!(run.requests(), 3, "{fault:?}");
        let run = scripted(server.address(), &[fault], short);
        assert_eq!(run.store.get_range("object", 7..100_000).unwrap(), bytes[7..100_000], "{fault:?}");
        assert_eq!(run.requests(), 2, "{fault:?}");
    }
}

#[test]
fn a_store_that_stays_broken_is_an_error_that_names_the_object() {
    let (_folder, server) = server();
    direct(&server, "").put("object", &[7; 1000]).unwrap();
    for fault in [Fault::TruncateBody, Fault::StallBody, Fault::Answer(503), Fault::Reset] {
        let run = scripted(server.address(), &[fault; 50], |options| {
            options.attempts = 3;
            options.response_timeout = Duration::from_millis(100);
        });
        let begun = Instant::now();
        let error = run.store.get("object").unwrap_err();
        // Three attempts, each with an answer and a body of 100 ms at most.
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?} took {:?}", begun.elapsed());
        assert!(matches!(error, StoreError::Unavailable(_)) && error.is_passing(), "{fault:?}: {error:?}");
        assert!(error.to_string().contains("bucket/object"), "{error}");
        assert_eq!(error.failure().operation, "get");
        assert_eq!(run.requests(), 3, "{fault:?}");
    }
}

#[test]
fn a_store_that_ignores_conditions_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    // The header is part of the signature, so only a server without keys takes a request that lost it.
    let server = S3Server::start_open(folder.path()).unwrap();
    let strip = |seen: &Seen| {
        if seen.conditional { Fault::StripCondition } else { Fault::None }
    };
    let proxy = FaultProxy::start(server.address(), strip).unwrap();
    let anonymous = |endpoint| {
        let mut options = options(endpoint, "");
        options.credentials = Credentials::Anonymous;
        S3Store::new(options).unwrap()
    };
    let error = check_conditional(&anonymous(proxy.endpoint())).unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    assert!(error.to_string().contains("ignores If-None-Match"), "{error}");
    let store = anonymous(server.endpoint());
    check_conditional(&store).unwrap();
    assert!(store.list_names("").unwrap().is_empty(), "the probe is removed");
}

#[test]
fn wrong_settings_are_named() {
    let (_folder, server) = server();
    let with = |change: &dyn Fn(&mut S3Options)| {
        let mut options = options(server.endpoint(), "");
        change(&mut options);
        S3Store::new(options).unwrap().list_names("").unwrap_err()
    };
    let error = with(&|options| options.bucket = "other".into());
    assert!(matches!(error, StoreError::Misconfigured(_)) && error.to_string().contains("NoSuchBucket"), "{error}");
    let wrong = Credentials::Static { access_key: "who".into(), secret_key: "s3cret".into(), session_token: None };
    let error = with(&|options| options.credentials = wrong.clone());
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("service error"), "the SDK's error is kept");
    let error = with(&|options| options.credentials = Credentials::Anonymous);
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    assert!(!format!("{:?}", options(server.endpoint(), "")).contains(S3Server::SECRET_KEY));
    assert!(S3Store::new(S3Options::new("bucket", "../up")).is_err());
}

#[test]
fn a_server_that_dies_and_comes_back_loses_nothing() {
    let (_folder, mut server) = server();
    let mut patient = options(server.endpoint(), "");
    patient.attempts = 60;
    patient.longest_pause = Duration::from_millis(100);
    let store = S3Store::new(patient).unwrap();
    store.put("before", b"1").unwrap();
    server.kill().unwrap();
    let answer = Mutex::new(None);
    std::thread::scope(|scope| {
        scope.spawn(|| *answer.lock().unwrap() = Some(store.get("before")));
        server.restart().unwrap();
    });
    assert_eq!(answer.into_inner().unwrap().unwrap().unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.put_new_settled("after", b"2").unwrap(), Settled::Ours);
}

#[test]
fn large_objects_go_in_parts() {
    let (folder, server) = server();
    let bytes: Vec<u8> = (0..11 << 20).map(|index: u32| (index % 249) as u8).collect();
    let file = folder.path().join("large");
    std::fs::write(&file, &bytes).unwrap();
    // Begin, three parts and the end, each of which fails once; the end is done but its answer is lost, and then the
    // service does not know the upload any more.
    use Fault::{Answer, LoseRequest, LoseResponse, None, Reset};
    let faults = [Answer(503), None, LoseResponse, None, Reset, None, LoseRequest, None, LoseResponse, Answer(404)];
    let run = scripted(server.address(), &faults, |options| options.part_size = 5 << 20);
    run.store.put("by-bytes", &bytes).unwrap();
    assert!(direct(&server, "").get_required("by-bytes").unwrap() == bytes);
    assert_eq!(run.store.put_file("by-file", &file).unwrap(), bytes.len() as u64);
    assert!(direct(&server, "").get_required("by-file").unwrap() == bytes);
    assert_eq!(direct(&server, "").list_names("").unwrap(), ["by-bytes", "by-file"]);
}

#[test]
fn an_upload_that_fails_leaves_no_object() {
    let (_folder, server) = server();
    let upload = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&upload);
    // The second part never gets through.
    let proxy = FaultProxy::start(server.address(), move |seen| {
        let nth = if seen.method == "PUT" { count.fetch_add(1, Ordering::Relaxed) } else { 0 };
        if nth >= 1 { Fault::Answer(503) } else { Fault::None }
    })
    .unwrap();
    let mut options = options(proxy.endpoint(), "");
    (options.part_size, options.attempts) = (5 << 20, 2);
    let error = S3Store::new(options).unwrap().put("large", &vec![1; 6 << 20]).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(upload.load(Ordering::Relaxed), 3);
    assert_eq!(direct(&server, "").get("large").unwrap(), None);
}

/// Beside the obvious way, one after the other, in the same run: both through a proxy that answers late, as a service does
/// that is not on this machine.
#[test]
#[ignore = "a benchmark: make bench-store"]
fn many_objects_at_once() {
    const OBJECTS: usize = 1000;
    let (_folder, server) = server();
    let near = direct(&server, "");
    let name = |n: usize| format!("records/{n:05}.commit.json");
    at_once(OBJECTS, |n| near.put(&name(n), &[b'x'; 1024])).unwrap();
    println!("| answers later by | one after the other | {AT_ONCE} at once | ratio |\n|---|---|---|---|");
    for late in [0, 10, 30] {
        let proxy = FaultProxy::start(server.address(), move |_| Fault::Late(late)).unwrap();
        let far = S3Store::new(options(proxy.endpoint(), "")).unwrap();
        let seconds = |read: &dyn Fn()| {
            let began = Instant::now();
            read();
            began.elapsed().as_secs_f64()
        };
        let single =
            seconds(&|| (0..OBJECTS).for_each(|n| assert_eq!(far.get(&name(n)).unwrap().unwrap().len(), 1024)));
        let many = seconds(&|| {
            let read = at_once(OBJECTS, |n| far.get_required(&name(n))).unwrap();
            assert!(read.iter().all(|bytes| bytes.len() == 1024));
        });
        println!("| {late} ms | {single:.2} s | {many:.2} s | {:.1} |", single / many);
    }
}
