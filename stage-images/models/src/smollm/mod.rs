//! SmolLM2-135M-Instruct from GGUF (Allal et al. 2025), as scorer and as generator.

mod decode;
mod generate;
mod gguf;
mod llama;
mod score;

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::ModelError;
use crate::workers::Workers;
use gguf::{Gguf, Sizes};
use llama::Llama;

/// Settings of [`SmolLm`].
#[derive(Debug, Clone, PartialEq)]
pub struct SmolLmOptions {
    /// Scoring: put the end-of-text token before each text, so that its first token is scored too. `false` scores
    /// tokens 2…t, as the usual perplexity scripts do for models without a start token.
    pub prepend_eos: bool,
    /// Scoring: a text is cut after this many tokens. At least 2.
    pub max_score_tokens: usize,
    /// Generation: tokens after which a text is cut.
    pub max_new_tokens: usize,
}

impl Default for SmolLmOptions {
    fn default() -> Self {
        Self { prepend_eos: false, max_score_tokens: 512, max_new_tokens: 96 }
    }
}

/// SmolLM2-135M-Instruct on the CPU: the 4-bit weights are widened to f32 once (about 650 MB), since a quantised
/// product gains nothing from a batch.
pub struct SmolLm {
    llama: Llama,
    tokenizer: Tokenizer,
    /// Between documents in the training data: "<|endoftext|>".
    end_of_text: u32,
    turn_start: u32,
    turn_end: u32,
    options: SmolLmOptions,
    workers: Workers,
}

impl SmolLm {
    /// Loads the one `.gguf` file of a model folder. Settings, tokenizer, and all tensors' names and shapes are checked
    /// here.
    pub fn load(folder: &Path, options: SmolLmOptions) -> Result<Self, ModelError> {
        let Opened { mut gguf, sizes, tokenizer, control: [end_of_text, turn_start, turn_end] } = Opened::of(folder)?;
        let llama = Llama::load(sizes, &mut |name, shape| gguf.tensor(name, shape))?;
        let workers = Workers::start().map_err(ModelError::io(folder))?;
        Ok(Self { llama, tokenizer, end_of_text, turn_start, turn_end, options, workers })
    }

    /// As [`Self::load`], without reading weights: the header is read, and the place of every tensor is checked.
    pub fn check(folder: &Path) -> Result<(), ModelError> {
        let Opened { gguf, sizes, .. } = Opened::of(folder)?;
        Llama::load(sizes, &mut |name, shape| gguf.check(name, shape).map(|()| Vec::new())).map(drop)
    }

    fn encode(&self, index: usize, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding =
            encoding.map_err(|error| ModelError::Input { index, reason: format!("cannot be tokenized: {error}") })?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// A model's file whose header is sound.
struct Opened {
    gguf: Gguf,
    sizes: Sizes,
    tokenizer: Tokenizer,
    /// The tokens that end a text, begin a turn and end it.
    control: [u32; 3],
}

impl Opened {
    fn of(folder: &Path) -> Result<Self, ModelError> {
        let path = find_gguf(folder)?;
        let gguf = Gguf::open(&path)?;
        let (sizes, tokenizer) = (gguf.sizes()?, gguf.tokenizer()?);
        if tokenizer.get_vocab_size(true) != sizes.vocabulary {
            return Err(ModelError::format(&path, "the tokenizer and the embeddings differ in size"));
        }
        let id = |token: &str| {
            let id = tokenizer.token_to_id(token);
            id.ok_or_else(|| ModelError::format(&path, format!("the vocabulary lacks `{token}`")))
        };
        let control = [id("<|endoftext|>")?, id("<|im_start|>")?, id("<|im_end|>")?];
        if !gguf.chat_template()?.contains("'<|im_start|>' + message['role']") {
            return Err(ModelError::format(&path, "the chat template is not ChatML"));
        }
        Ok(Self { gguf, sizes, tokenizer, control })
    }
}

fn find_gguf(folder: &Path) -> Result<PathBuf, ModelError> {
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(ModelError::io(folder))? {
        let path = entry.map_err(ModelError::io(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            found.push(path);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        n => Err(ModelError::format(folder, format!("expected one .gguf file in the folder, found {n}"))),
    }
}
