//! What writes synthetic texts: a model in this process, or one behind a server.

use std::sync::Arc;
use std::time::Duration;

use realsyn_crds::{BuildSpec, Engine, Stage};
use realsyn_models::{Generator, Prompt};
use realsyn_plan::SERVED_MODEL;
use realsyn_plan::memory::{MOST_SEQUENCES, batch_for, of_stage};
use realsyn_plan::placement::bytes_of;

use super::{Gpus, Models, StageError};
use crate::chat::{Answer, Asked, Chat, ChatError, Options, usual};

/// Questions at once for a server that others may ask, too.
const SHARED: usize = 32;
/// Questions at once for a server of our own, where nothing tells how many its GPUs have memory for.
const OWN: u32 = 256;

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
            *chat = Some(Arc::new(Chat::new(self.server_for(build)?)?));
        }
        Ok(Writer::Server(chat.clone().expect("just made")))
    }

    fn server_for(&self, build: &BuildSpec) -> Result<Options, StageError> {
        let settings = &build.stages.generate;
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
            in_flight: if own { side_by_side(build, Gpus::of_environment().as_ref()) as usize } else { SHARED },
            each: usual(settings.max_new_tokens),
            patience: self.server.patience,
        })
    }
}

/// How many sequences a server of our own works on at once: as many as its GPUs have memory for.
fn side_by_side(build: &BuildSpec, gpus: Option<&Gpus>) -> u32 {
    let fitting = |gpus: &Gpus| {
        let (model, dtype) = of_stage(build, Stage::Generate)?;
        batch_for(model, dtype, gpus.count(), bytes_of(gpus.product())?)
    };
    gpus.and_then(fitting).unwrap_or(OWN).min(MOST_SEQUENCES)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_as_much_as_its_gpus_have_memory_for() {
        let build = |uri: &str| -> BuildSpec {
            serde_json::from_value(serde_json::json!({
                "source": { "format": "html", "uri": "corpus" },
                "storage": { "uri": "s3://b/p" },
                "models": { "llm": { "sha256": "0".repeat(64), "uri": uri, "dtype": "bf16" } },
            }))
            .unwrap()
        };
        let llama = build("pvc://models/llama-3-8b-instruct");
        let asked = |build: &BuildSpec, count, product: &str| side_by_side(build, Some(&Gpus::new(count, product)));
        // Nine tenths of 40 GB are 36,000,000,000; docs/gpus.md has the rest of the sum.
        let of_40_gb = (36_000_000_000u64 - 1_073_741_824 - 16_060_000_000 - 603_979_776) / 68_134_912;
        for (count, product, expected) in [
            (1, "A100-SXM4-40GB", of_40_gb as u32),
            (1, "A100-SXM4-80GB-MIG-3g.40gb", of_40_gb as u32),
            (1, "A100-SXM4-80GB", MOST_SEQUENCES),
            // Two hold a half of each sequence.
            (2, "A100-SXM4-40GB", MOST_SEQUENCES),
            (1, "A10-24GB", 56),
            (1, "A100-SXM4-80GB-SHARED", OWN),
            (1, "unknown", OWN),
        ] {
            assert_eq!(asked(&llama, count, product), expected, "{count} of {product}");
        }
        assert_eq!(asked(&build("pvc://models/other"), 1, "A100-SXM4-40GB"), OWN);
        assert_eq!(side_by_side(&llama, None), OWN);
    }
}
