//! The two sides of one request of OpenAI's protocol: what is asked, and what an answer means. Pure; every answer is taken
//! for hostile.

use std::time::Duration;

use http::StatusCode;
use realsyn_models::{FinishReason, Generated};
use realsyn_plan::Id;
use realsyn_plan::text::sentence;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Asked;

/// What a server says of a failure, at most so many characters of it.
const QUOTED: usize = 200;
/// How servers call a prompt that does not fit: OpenAI's code, vLLM's sentences, llama.cpp's.
const TOO_LONG: &[&str] = &[
    "context_length_exceeded",
    "context length",
    "maximum model length",
    "max_model_len",
    "context size",
    "max_tokens must be at least 1",
];

/// What came of one request.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// A text.
    Text(Generated),
    /// This question has no answer, whoever asks again: a counted reason.
    Never(&'static str),
    /// It may answer later; perhaps it says when.
    Later { why: String, after: Option<Duration> },
    /// Something that is no answer.
    Nonsense(String),
    /// The settings are wrong: what is, and what helps.
    Wrong(String),
}

impl Said {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None }
    }
}

/// The body of a request. The same question has the same seed wherever and whenever it is asked.
pub(super) fn request(asked: &Asked, model: &str, max_tokens: u32) -> Vec<u8> {
    let body = json!({
        "model": model,
        "messages": [
            { "role": "system", "content": asked.prompt.system },
            { "role": "user", "content": asked.prompt.user },
        ],
        "temperature": 0,
        "seed": seed(asked.id),
        "max_tokens": max_tokens,
        "n": 1,
        "stream": false,
    });
    body.to_string().into_bytes()
}

/// 31 bits: the most that every server takes.
fn seed(id: Id) -> u32 {
    u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]) >> 1
}

/// How long a body may be: more than `max_tokens` of text can need, however it is escaped.
pub(super) fn longest(max_tokens: u32) -> usize {
    (1 << 16) + 256 * max_tokens as usize
}

/// What an answer means.
pub(super) fn read(status: StatusCode, after: Option<Duration>, body: &[u8], model: &str, max_tokens: u32) -> Said {
    if status == StatusCode::OK {
        return text(body, max_tokens);
    }
    let message = complaint(body);
    let lower = message.to_lowercase();
    match status.as_u16() {
        400 | 413 | 422 if TOO_LONG.iter().any(|words| lower.contains(words)) => Said::Never("too-long"),
        400 if lower.contains("content_filter") => Said::Never("refusal"),
        413 => Said::Never("too-long"),
        408 | 425 | 429 | 500 | 502..=504 | 506.. => {
            Said::Later { why: format!("it answered {}", words(status, &message)), after }
        }
        401 | 403 => Said::Wrong(format!(
            "it answered {}: set OPENAI_API_KEY to a key that may use the model; pods take it from the Secret that \
             spec.storage.credentials names",
            words(status, &message)
        )),
        404 => Said::Wrong(format!(
            "it answered {}: it serves no model `{}`, or no chat below this address; correct \
             spec.stages.generate.model or endpoint",
            words(status, &message),
            sentence(model, 100)
        )),
        300..400 => Said::Wrong(format!("it answered {}: give the address that it sends to", words(status, &message))),
        _ => Said::Wrong(format!(
            "it refused the request with {}: see whether it takes temperature, seed, max_tokens and a system message",
            words(status, &message)
        )),
    }
}

fn words(status: StatusCode, message: &str) -> String {
    if message.is_empty() { status.as_str().to_owned() } else { format!("{} ({message})", status.as_str()) }
}

/// What a server says of a failure, whichever of the usual forms it has: `{"error": {"message", "code"}}`,
/// `{"message", "code"}`, or anything.
fn complaint(body: &[u8]) -> String {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let about = if parsed["error"].is_object() { &parsed["error"] } else { &parsed };
    let parts = ["code", "type", "message"].map(|field| about[field].as_str().unwrap_or_default());
    let said = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    let said = if said.is_empty() { String::from_utf8_lossy(&body[..body.len().min(4 * QUOTED)]).into() } else { said };
    sentence(&said, QUOTED)
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: u32,
}

fn text(body: &[u8], max_tokens: u32) -> Said {
    let completion: Completion = match serde_json::from_slice(body) {
        Ok(completion) => completion,
        Err(error) => return Said::Nonsense(sentence(&format!("its answer cannot be read: {error}"), QUOTED)),
    };
    let Some(choice) = completion.choices.into_iter().next() else {
        return Said::Nonsense("its answer holds no choice".to_owned());
    };
    let finish = match choice.finish_reason.as_deref() {
        _ if choice.message.refusal.is_some() => return Said::Never("refusal"),
        Some("content_filter") => return Said::Never("refusal"),
        Some("stop") => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        other => {
            let reason = other.map_or("no finish_reason".to_owned(), |reason| format!("finish_reason `{reason}`"));
            return Said::Nonsense(sentence(&format!("its answer has {reason}"), QUOTED));
        }
    };
    let text = choice.message.content.unwrap_or_default();
    // Nobody writes such characters in a sentence, and some steer terminals.
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Said::Nonsense("its answer holds control characters".to_owned());
    }
    let tokens = completion.usage.map_or(0, |usage| usage.completion_tokens).min(max_tokens);
    Said::Text(Generated { text: text.trim().to_owned(), tokens, finish })
}
