//! A small real language model behind OpenAI's protocol, for tests: SmolLM2 on the processor, greedy, in the template that
//! the CPU engine uses. What waits at the same time is generated side by side.

#![forbid(unsafe_code)]

mod http;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use realsyn_models::{FinishReason, Generated, Generator, Prompt, SmolLm, SmolLmOptions};
use serde_json::{Value, json};

use http::{Reply, Request};

/// Prompts generated side by side.
const BATCH: usize = 24;

/// A question, and where its answer goes.
struct Waiting {
    system: String,
    user: String,
    answer: Sender<Reply>,
}

/// A running server; its threads end with the process.
pub struct ChatServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    /// The name that requests must give the model.
    name: String,
    /// Where questions go once the first has come: it says how long answers may be, and the model is loaded for that.
    queue: Mutex<Option<(u64, Sender<Waiting>)>>,
    answered: AtomicU64,
}

impl ChatServer {
    /// Serves the model in `folder` as `name`.
    pub fn start(address: SocketAddr, folder: &Path, name: &str) -> anyhow::Result<Self> {
        // Better known now than when the first question comes.
        SmolLm::load(folder, SmolLmOptions::default()).with_context(|| format!("the model {}", folder.display()))?;
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        let address = listener.local_addr()?;
        let shared = Shared {
            folder: folder.to_owned(),
            name: name.to_owned(),
            queue: Mutex::default(),
            answered: AtomicU64::default(),
        };
        let shared = Arc::new(shared);
        let serving = shared.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || shared.serve(&connection));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Questions that were answered with a text.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// One connection, for as long as it is kept. A client that turns away ends it.
    fn serve(&self, connection: &TcpStream) {
        while let Ok(Some(request)) = http::read(connection) {
            if http::write(connection, &self.reply(&request)).is_err() {
                return;
            }
        }
    }

    fn reply(&self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/health") => (200, json!({})),
            ("GET", "/v1/models") => {
                (200, json!({ "object": "list", "data": [{ "id": self.name, "object": "model" }] }))
            }
            ("POST", "/v1/chat/completions") => self.completion(&request.body),
            _ => refusal(404, "Not Found"),
        }
    }

    fn completion(&self, body: &[u8]) -> Reply {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        if asked["model"] != json!(self.name) {
            return refusal(404, &format!("The model {} does not exist.", asked["model"]));
        }
        let content = |role: &str| {
            let messages = asked["messages"].as_array().into_iter().flatten();
            let mut of_role = messages.filter(|message| message["role"] == role);
            of_role.next().and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned()
        };
        let Some(longest) = asked["max_tokens"].as_u64().filter(|n| *n > 0) else {
            return refusal(400, "max_tokens is missing");
        };
        let Some(queue) = self.queue(longest) else {
            return refusal(400, "one max_tokens for the life of this server");
        };
        let (answer, answered) = channel();
        let waiting = Waiting { system: content("system"), user: content("user"), answer };
        let reply = queue.send(waiting).ok().and_then(|()| answered.recv().ok());
        let reply = reply.unwrap_or_else(|| refusal(500, "the model is gone"));
        self.answered.fetch_add(u64::from(reply.0 == 200), Ordering::Relaxed);
        reply
    }

    fn queue(&self, longest: u64) -> Option<Sender<Waiting>> {
        let mut queue = self.queue.lock().expect("no holder panics");
        if let Some((loaded, queue)) = &*queue {
            return (*loaded == longest).then(|| queue.clone());
        }
        let options = SmolLmOptions { max_new_tokens: longest as usize, ..SmolLmOptions::default() };
        let model = SmolLm::load(&self.folder, options).ok()?;
        let (send, receive) = channel();
        std::thread::spawn(move || work(&model, &receive));
        *queue = Some((longest, send.clone()));
        Some(send)
    }
}

/// Takes what waits, a batch at a time.
fn work(model: &SmolLm, queue: &Receiver<Waiting>) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Waiting> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
        let prompts: Vec<Prompt> = batch.iter().map(|w| Prompt { system: &w.system, user: &w.user }).collect();
        let replies = match model.generate(&prompts) {
            Ok(texts) => texts.iter().map(chosen).collect(),
            Err(error) => vec![refusal(400, &error.to_string()); batch.len()],
        };
        for (waiting, reply) in batch.iter().zip(replies) {
            // A client that turned away wants it no more.
            _ = waiting.answer.send(reply);
        }
    }
}

fn chosen(text: &Generated) -> Reply {
    let finish = match text.finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    };
    let message = json!({ "role": "assistant", "content": text.text });
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
    let usage = json!({ "completion_tokens": text.tokens });
    (200, json!({ "object": "chat.completion", "choices": [choice], "usage": usage }))
}

fn refusal(status: u16, message: &str) -> Reply {
    (status, json!({ "object": "error", "message": message, "code": status }))
}
