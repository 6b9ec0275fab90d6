//! What writes synthetic texts: a model in this process, or one behind a server.

use std::sync::Arc;
use std::time::Duration;

use realsyn_crds::{BuildSpec, Engine, Generate};
use realsyn_models::{Generator, Prompt};
use realsyn_plan::SERVED_MODEL;

use super::{Models, StageError};
use crate::chat::{Answer, Asked, Chat, ChatError, Options, usual};

/// Questions at once for a server that others may ask, too.
const SHARED: usize = 32;
/// Questions at once for a server of our own: as many as it works on side by side.
const OWN: usize = 256;

/// A language model's server beside this process.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Its address, if there is one: `http://127.0.0.1:8000/v1`.
    pub address: Option<String>,
    /// For how long it, or an endpoint, may leave a question unanswered.
    pub patience: Duration,
}

/// What writes synthetic texts.
pub enum Writer {
    /// A model in this process.
    Model(Arc<dyn Generator>),
    /// A server.
    Server(Arc<Chat>),
}

impl Writer {
    /// One answer for each question, in their order.
    ///
    /// # Errors
    /// As the model or [`Chat::ask`].
    pub fn ask(&self, questions: &[Asked<'_>]) -> Result<Vec<Answer>, StageError> {
        match self {
            Self::Model(model) => {
                let prompts: Vec<Prompt> = questions.iter().map(|asked| asked.prompt).collect();
                let texts = model.generate(&prompts).map_err(anyhow::Error::from)?;
                Ok(texts.into_iter().map(Ok).collect())
            }
            Self::Server(chat) => Ok(chat.ask(questions)?),
        }
    }
}

impl Models {
    /// What writes synthetic texts, as `stages.generate` says.
    ///
    /// # Errors
    /// A model that is not there, or a server that cannot be asked.
    pub fn writer(&self, build: &BuildSpec) -> Result<Writer, StageError> {
        let settings = &build.stages.generate;
        if settings.device.engine == Engine::Cpu {
            return Ok(Writer::Model(self.generator(settings.max_new_tokens as usize)?));
        }
        // One for all shards: the number of questions in flight is counted in it.
        let mut chat = self.chat.lock().expect("no holder panics");
        if chat.is_none() {
            *chat = Some(Arc::new(Chat::new(self.server_for(settings)?)?));
        }
        Ok(Writer::Server(chat.clone().expect("just made")))
    }

    fn server_for(&self, settings: &Generate) -> Result<Options, StageError> {
        let own = settings.device.engine == Engine::Cuda;
        let (endpoint, model) = if own {
            // What it serves lies where this process sees it, too: it must be what the build says, whoever loads it.
            self.find("llm")?;
            (given(self.server.address.as_ref(), "--server")?, SERVED_MODEL.to_owned())
        } else {
            let endpoint = given(settings.endpoint.as_ref(), "spec.stages.generate.endpoint")?;
            (endpoint, given(settings.model.as_ref(), "spec.stages.generate.model")?)
        };
        let key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !own && !key.trim().is_empty());
        Ok(Options {
            endpoint,
            model,
            key,
            max_tokens: settings.max_new_tokens,
            in_flight: if own { OWN } else { SHARED },
            each: usual(settings.max_new_tokens),
            patience: self.server.patience,
        })
    }
}

fn given(value: Option<&String>, what: &str) -> Result<String, StageError> {
    value.cloned().ok_or_else(|| StageError::Settings(format!("generate asks a server, and {what} is not given")))
}

impl From<ChatError> for StageError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Settings { .. } => Self::Settings(error.to_string()),
            ChatError::Gone { .. } => Self::Server(error.to_string()),
        }
    }
}
