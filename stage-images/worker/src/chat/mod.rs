//! A language model behind OpenAI's protocol: many questions in flight, answers in the order of the questions.
//!
//! The server is a stranger. It may be starting, restarting, busy, wrong or hostile; what a question costs is decided here:
//!
//! - it may answer later (no connection, a broken or late answer, 408, 425, 429, 5xx): asked again, ever later, until the
//!   server has not answered this question for [`Options::patience`]. Then the task ends, to be tried again;
//! - no answer will help this question (too long, filtered): a counted reason;
//! - what it says is no answer: asked three times, then a counted reason, unless nothing that it ever said could be read;
//! - everything else it refuses: the settings are wrong.

mod client;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use realsyn_models::{Generated, Prompt};
use realsyn_plan::Id;
use realsyn_plan::text::sentence;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use client::Client;
use wire::Said;

/// Tries of a question whose answers cannot be read.
const TRIES: u32 = 3;
/// The first wait before a question is asked again; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest such wait.
const LAST_WAIT: Duration = Duration::from_secs(15);

/// Where the model is, and how it is asked.
#[derive(Clone)]
pub struct Options {
    /// The base of the addresses: `http://host:port/v1`.
    pub endpoint: String,
    /// The name that the server gives the model.
    pub model: String,
    /// The key that the server asks for, if it does.
    pub key: Option<String>,
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// Questions asked at once, over all threads.
    pub in_flight: usize,
    /// How long one try may take. [`usual`] where nothing else is known.
    pub each: Duration,
    /// For how long a server may leave a question unanswered.
    pub patience: Duration,
}

/// How long an answer of so many tokens may take: a minute in the server's queue, and four tokens a second.
pub fn usual(max_tokens: u32) -> Duration {
    Duration::from_secs(60 + u64::from(max_tokens) / 4)
}

/// A question, and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What the answer is for: it gives the question its seed.
    pub id: Id,
    /// The question.
    pub prompt: Prompt<'a>,
}

/// A text, or the reason why there is none.
pub type Answer = Result<Generated, &'static str>;

/// Why no question is answered any more.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// Only a person can put it right.
    #[error("the language model at {endpoint}: {what}")]
    Settings {
        /// The server.
        endpoint: String,
        /// What is wrong, and what helps.
        what: String,
    },
    /// It has not answered for too long.
    #[error(
        "the language model at {endpoint} has left the question about {id} unanswered for {seconds} s: {why}. See what \
         its log says; the task is tried again"
    )]
    Gone {
        /// The server.
        endpoint: String,
        /// What the question was about.
        id: Id,
        /// For how long.
        seconds: u64,
        /// What it did last.
        why: String,
    },
}

/// A language model's server.
pub struct Chat {
    client: Client,
    options: Options,
    free: Semaphore,
    /// Whether it is known to speak the protocol.
    understood: AtomicBool,
    /// Whether it was said that it is away.
    away: AtomicBool,
    runtime: Runtime,
}

impl Chat {
    /// Does not talk to the server yet.
    ///
    /// # Errors
    /// An address or a key that cannot be one.
    pub fn new(options: Options) -> Result<Self, ChatError> {
        let wrong = |what| ChatError::Settings { endpoint: options.endpoint.clone(), what };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self {
            client: Client::new(&options).map_err(wrong)?,
            free: Semaphore::new(options.in_flight),
            understood: AtomicBool::new(false),
            away: AtomicBool::new(false),
            runtime: runtime.map_err(|error| wrong(format!("no thread to ask it from: {error}")))?,
            options,
        })
    }

    /// One answer for each question, in their order.
    ///
    /// # Errors
    /// The first that concerns all questions; the others in flight are dropped.
    pub fn ask(&self, questions: &[Asked<'_>]) -> Result<Vec<Answer>, ChatError> {
        let mut answers = self.runtime.block_on(
            stream::iter(questions.iter().enumerate())
                .map(|(at, asked)| async move { Ok::<_, ChatError>((at, self.answer(asked).await?)) })
                .buffer_unordered(self.options.in_flight)
                .try_collect::<Vec<_>>(),
        )?;
        answers.sort_unstable_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn answer(&self, asked: &Asked<'_>) -> Result<Answer, ChatError> {
        let (mut waits, mut unreadable) = (0, 0);
        let mut unanswered_since = None;
        loop {
            let permit = self.free.acquire().await.expect("never closed");
            let began = Instant::now();
            let said = self.client.ask(asked, &self.options).await;
            drop(permit);
            let (why, after) = match said {
                Said::Text(text) => {
                    self.is_back();
                    self.understood.store(true, Ordering::Relaxed);
                    return Ok(Ok(text));
                }
                Said::Never(reason) => {
                    self.is_back();
                    return Ok(Err(reason));
                }
                Said::Wrong(what) => return Err(self.wrong(what)),
                Said::Nonsense(why) => {
                    unreadable += 1;
                    if unreadable < TRIES {
                        (why, None)
                    } else if self.understood.load(Ordering::Relaxed) {
                        tracing::warn!(id = %asked.id, why, "the language model gave no answer that can be read");
                        return Ok(Err("bad-answer"));
                    } else {
                        return Err(self.wrong(format!(
                            "{why}. It has answered nothing else yet: see whether this is the address of a chat server"
                        )));
                    }
                }
                Said::Later { why, after } => (why, after),
            };
            let since = *unanswered_since.get_or_insert(began);
            let left = self.options.patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(ChatError::Gone {
                    endpoint: self.options.endpoint.clone(),
                    id: asked.id,
                    seconds: since.elapsed().as_secs(),
                    why: sentence(&why, 300),
                });
            }
            self.is_away(&why);
            tokio::time::sleep(wait(asked.id, waits).max(after.unwrap_or_default()).min(left)).await;
            waits += 1;
        }
    }

    fn wrong(&self, what: String) -> ChatError {
        ChatError::Settings { endpoint: self.options.endpoint.clone(), what }
    }

    fn is_away(&self, why: &str) {
        if !self.away.swap(true, Ordering::Relaxed) {
            let (endpoint, patience) = (&self.options.endpoint, self.options.patience.as_secs());
            tracing::warn!(endpoint, why, "the language model does not answer; asking again for up to {patience} s");
        }
    }

    fn is_back(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::warn!(endpoint = self.options.endpoint, "the language model answers");
        }
    }
}

/// Up to half shorter, by what the question is about, so that questions which failed together do not come back together.
fn wait(id: Id, waits: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << waits.min(10)).min(LAST_WAIT);
    whole.mul_f64(1.0 - f64::from(id.0[15]) / 512.0)
}
