//! Against a scripted server: a listener that answers by hand, so that it can also answer wrongly.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use realsyn_models::{FinishReason, Prompt};
use realsyn_plan::Id;
use serde_json::{Value, json};

use super::*;

/// A request as the server saw it.
struct Request {
    /// How many there were before it.
    number: u32,
    head: String,
    body: Value,
}

impl Request {
    fn user(&self) -> &str {
        self.body["messages"][1]["content"].as_str().unwrap()
    }
}

/// What is written back, after which the connection is closed.
type Reply = Vec<u8>;
type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server that runs until it is dropped.
struct Server {
    address: SocketAddr,
    down: Arc<AtomicBool>,
}

impl Server {
    fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    fn start_at(address: SocketAddr, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (address, down) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let (script, is_down, count): (Arc<Script>, _, _) =
            (Arc::new(script), down.clone(), Arc::new(AtomicU32::new(0)));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if is_down.load(Ordering::SeqCst) {
                    return;
                }
                let (script, count) = (script.clone(), count.clone());
                std::thread::spawn(move || answer(connection.unwrap(), &*script, &count));
            }
        });
        Self { address, down }
    }

    fn chat(&self) -> Chat {
        Chat::new(options(self.address)).unwrap()
    }
}

fn options(address: SocketAddr) -> Options {
    Options {
        endpoint: format!("http://{address}/v1/"),
        model: "small".to_owned(),
        key: None,
        max_tokens: 48,
        in_flight: 4,
        each: Duration::from_secs(20),
        patience: Duration::from_secs(20),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then lets go of the port.
        _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }
}

fn answer(connection: TcpStream, script: &Script, count: &AtomicU32) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let number = count.fetch_add(1, Ordering::SeqCst);
    let request = Request { number, head, body: serde_json::from_slice(&body).unwrap() };
    // The client may have turned away.
    _ = (&connection).write_all(&script(&request));
}

fn reply(status: u16, headers: &str, body: &str) -> Reply {
    format!("HTTP/1.1 {status} x\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn says(text: &str) -> Reply {
    let choice = json!({ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
    reply(200, "", &json!({ "choices": [choice], "usage": { "completion_tokens": 3 } }).to_string())
}

fn id(n: usize) -> Id {
    Id::of_sentence(&n.to_string())
}

fn ask_one(chat: &Chat) -> Result<Answer, ChatError> {
    Ok(chat.ask(&[Asked { id: id(0), prompt: Prompt { system: "s", user: "u" } }])?.remove(0))
}

#[test]
fn answers_come_in_order_from_a_queue_that_is_full_and_no_fuller() {
    const AT_ONCE: usize = 4;
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (full, seen) = ((Mutex::new(0), Condvar::new()), most.clone());
    let seeds = Arc::new(Mutex::new(HashSet::new()));
    let kept = seeds.clone();
    let server = Server::start(move |request| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Nobody is answered before as many are here as may be.
        let (count, changed) = &full;
        *count.lock().unwrap() += 1;
        changed.notify_all();
        drop(changed.wait_while(count.lock().unwrap(), |count| *count < AT_ONCE).unwrap());
        let body = &request.body;
        assert_eq!(
            (&body["temperature"], &body["max_tokens"], &body["model"]),
            (&json!(0), &json!(48), &json!("small"))
        );
        assert!(request.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", request.head);
        kept.lock().unwrap().insert(body["seed"].as_u64().unwrap());
        now.fetch_sub(1, Ordering::SeqCst);
        says(&format!("answer to {}", request.user()))
    });
    let chat = server.chat();
    let users: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let asked: Vec<Asked> =
        users.iter().enumerate().map(|(n, user)| Asked { id: id(n), prompt: Prompt { system: "s", user } }).collect();
    // Two threads, as two shards: the bound is on both together.
    let both = std::thread::scope(|scope| {
        let first = scope.spawn(|| chat.ask(&asked).unwrap());
        (chat.ask(&asked).unwrap(), first.join().unwrap())
    });
    for answers in [both.0, both.1] {
        let texts: Vec<String> = answers.into_iter().map(|answer| answer.unwrap().text).collect();
        assert_eq!(texts, users.iter().map(|user| format!("answer to {user}")).collect::<Vec<_>>());
    }
    assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    let seeds = seeds.lock().unwrap();
    assert!(seeds.len() == 40 && seeds.iter().all(|seed| *seed < 1 << 31), "{seeds:?}");
}

#[test]
fn a_server_that_comes_back_is_asked_again() {
    let once: Vec<(&str, Reply)> = vec![
        ("busy", reply(429, "retry-after: 1\r\n", "{}")),
        ("broken", reply(500, "", "Internal Server Error")),
        ("no way through", reply(502, "", "<html>")),
        ("not there", reply(503, "", "")),
        ("too slow", reply(504, "", "")),
        ("closed", Vec::new()),
        ("cut", says("a text")[..60].to_vec()),
        ("cut in its body", says("a text")[..120].to_vec()),
        ("no HTTP", b"SSH-2.0-x\r\n".to_vec()),
        ("no JSON", reply(200, "", "<html>welcome</html>")),
    ];
    for (what, first) in once {
        let server = Server::start(move |request| if request.number == 0 { first.clone() } else { says("a text") });
        let began = Instant::now();
        let text = ask_one(&server.chat()).unwrap().unwrap();
        assert_eq!((text.text.as_str(), text.tokens, text.finish), ("a text", 3, FinishReason::Stop), "{what}");
        assert!(what != "busy" || began.elapsed() >= Duration::from_secs(1), "it said when");
    }
}

#[test]
fn what_only_a_person_can_put_right_says_what_helps() {
    let refused = [
        (reply(401, "", r#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#), "OPENAI_API_KEY"),
        (reply(403, "", ""), "OPENAI_API_KEY"),
        (
            reply(404, "", r#"{"object":"error","message":"The model `small` does not exist.","code":404}"#),
            "no model `small`",
        ),
        (reply(307, "location: http://127.0.0.1:1/\r\n", ""), "the address that it sends to"),
        (reply(400, "", r#"{"error":{"message":"temperature must be 1"}}"#), "temperature must be 1"),
        (reply(501, "", "no"), "refused the request with 501"),
    ];
    for (answer, what) in refused {
        let server = Server::start(move |_| answer.clone());
        let error = ask_one(&server.chat()).unwrap_err();
        assert!(matches!(error, ChatError::Settings { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(what) && said.contains(&server.address.to_string()), "{said}");
    }
}

#[test]
fn a_question_that_nobody_can_answer_costs_itself_alone() {
    let choice = |message: Value, finish: &str| {
        json!({ "choices": [{ "message": message, "finish_reason": finish }] }).to_string()
    };
    let never = [
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 64 tokens. However"}"#.to_owned(),
            "too-long",
        ),
        (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#.to_owned(), "too-long"),
        (413, String::new(), "too-long"),
        (400, r#"{"error":{"message":"x","code":"content_filter"}}"#.to_owned(), "refusal"),
        (200, choice(json!({ "content": "" }), "content_filter"), "refusal"),
        (200, choice(json!({ "content": null, "refusal": "No." }), "stop"), "refusal"),
    ];
    for (status, body, reason) in never {
        let server = Server::start(move |_| reply(status, "", &body));
        assert_eq!(ask_one(&server.chat()).unwrap(), Err(reason));
    }
    let server = Server::start(move |_| reply(200, "", &choice(json!({ "content": null }), "length")));
    let empty = ask_one(&server.chat()).unwrap().unwrap();
    assert_eq!((empty.text.as_str(), empty.finish), ("", FinishReason::Length));
}

fn is_no_answer(body: String) {
    let shown: String = body.chars().take(80).collect();
    let server = Server::start(move |request| if request.user() == "u" { reply(200, "", &body) } else { says("fine") });
    // Of a server that has said nothing else yet the address may be wrong.
    let error = ask_one(&server.chat()).unwrap_err();
    assert!(error.to_string().contains("whether this is the address of a chat server"), "{shown}: {error}");
    let chat = server.chat();
    chat.ask(&[Asked { id: id(1), prompt: Prompt { system: "s", user: "another" } }]).unwrap()[0].as_ref().unwrap();
    assert_eq!(ask_one(&chat).unwrap(), Err("bad-answer"), "{shown}");
}

#[test]
fn answers_are_hostile() {
    let endless = format!("{}{}", "{\"choices\": [\"", "x".repeat(1 << 20));
    let bodies = [
        "[]".to_owned(),
        "{\"choices\": []}".to_owned(),
        "[".repeat(100_000),
        json!({ "choices": [{ "message": { "content": "t" }, "finish_reason": "tool_calls" }] }).to_string(),
        json!({ "choices": [{ "message": { "content": "t" }, "finish_reason": null }] }).to_string(),
        json!({ "choices": [{ "message": { "content": "\u{1b}[2Jt" }, "finish_reason": "stop" }] }).to_string(),
        json!({ "choices": [{ "message": { "content": 7 }, "finish_reason": "stop" }] }).to_string(),
        json!({ "choices": [{ "message": { "content": "t" }, "finish_reason": "stop" }], "usage": { "completion_tokens": -1 } })
            .to_string(),
        endless,
    ];
    // Side by side: each is asked for three times, with waits between.
    std::thread::scope(|scope| bodies.into_iter().for_each(|body| _ = scope.spawn(|| is_no_answer(body))));
    let boasts = json!({ "choices": [{ "message": { "content": "t" }, "finish_reason": "stop" }], "usage": { "completion_tokens": u32::MAX } });
    let server = Server::start(move |_| reply(200, "", &boasts.to_string()));
    assert_eq!(ask_one(&server.chat()).unwrap().unwrap().tokens, 48);
}

#[test]
fn a_server_that_stays_away_ends_the_task_in_time() {
    let address = {
        let server = Server::start(|_| Vec::new());
        server.address
    };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for (address, why) in [(address, "refused"), (silent.local_addr().unwrap(), "no answer within")] {
        let options =
            Options { each: Duration::from_millis(150), patience: Duration::from_millis(600), ..options(address) };
        let began = Instant::now();
        let error = Chat::new(options).unwrap().ask(&[Asked { id: id(0), prompt: Prompt { system: "s", user: "u" } }]);
        let error = error.unwrap_err();
        assert!(matches!(error, ChatError::Gone { .. }), "{error}");
        assert!(error.to_string().contains(why) && error.to_string().contains(&address.to_string()), "{error}");
        assert!(began.elapsed() >= Duration::from_millis(600));
    }
}

#[test]
fn a_restart_in_the_middle_loses_no_question() {
    let server = Server::start(|request| if request.number < 6 { says(request.user()) } else { Vec::new() });
    let (address, chat) = (server.address, server.chat());
    let users: Vec<String> = (0..24).map(|n| n.to_string()).collect();
    let asked: Vec<Asked> =
        users.iter().enumerate().map(|(n, user)| Asked { id: id(n), prompt: Prompt { system: "s", user } }).collect();
    let answers = std::thread::scope(|scope| {
        let asking = scope.spawn(|| chat.ask(&asked).unwrap());
        while !chat.away.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        drop(server);
        let _again = Server::start_at(address, |request| says(request.user()));
        asking.join().unwrap()
    });
    let texts: Vec<String> = answers.into_iter().map(|answer| answer.unwrap().text).collect();
    assert_eq!(texts, users);
    assert!(!chat.away.load(Ordering::Relaxed));
}

#[test]
fn the_key_is_sent_and_shown_to_nobody() {
    let server = Server::start(|request| {
        assert!(request.head.to_lowercase().contains("authorization: bearer secret-1\r\n"), "{}", request.head);
        reply(401, "", r#"{"message":"no"}"#)
    });
    let with_key = Options { key: Some(" secret-1\n".to_owned()), ..options(server.address) };
    let error = ask_one(&Chat::new(with_key).unwrap()).unwrap_err();
    assert!(!format!("{error:?}").contains("secret-1"), "{error:?}");
    for (endpoint, key) in [("ftp://h/v1", None), ("h", None), ("http://h/v1", Some("a\nb".to_owned()))] {
        let strange = Options { endpoint: endpoint.to_owned(), key, ..options(server.address) };
        assert!(matches!(Chat::new(strange), Err(ChatError::Settings { .. })), "{endpoint}");
    }
}

#[test]
fn waits_grow_to_a_bound_and_differ() {
    let waits: Vec<Duration> = (0..20).map(|n| wait(id(3), n)).collect();
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[19] <= LAST_WAIT);
    assert!(waits[0] >= FIRST_WAIT / 2 && waits[0] <= FIRST_WAIT);
    assert!((0..50).map(|n| wait(id(n), 4)).collect::<HashSet<_>>().len() > 30);
}
