//! Reads a GGUF file: settings, tokenizer and weights, the weights widened to f32.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use crate::ModelError;

/// GGUF's mark for tokens that are no text, such as the ends of turns.
const CONTROL: i64 = 3;

/// An open GGUF file whose header has been read.
pub(super) struct Gguf {
    path: PathBuf,
    content: Content,
    file: BufReader<File>,
}

/// Sizes of a Llama network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) context: usize,
    pub(super) vocabulary: usize,
    pub(super) rope_base: f64,
    pub(super) epsilon: f32,
}

impl Sizes {
    /// Dimensions of one head.
    pub(super) fn head(&self) -> usize {
        self.width / self.heads
    }
}

impl Gguf {
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let mut file = BufReader::new(File::open(path).map_err(ModelError::io(path))?);
        let content = Content::read(&mut file)
            .map_err(|error| ModelError::format(path, format!("not a whole GGUF file ({error})")))?;
        Ok(Self { path: path.to_owned(), content, file })
    }

    fn wrong(&self, reason: String) -> ModelError {
        ModelError::format(&self.path, reason)
    }

    fn value<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl Fn(&Value) -> candle_core::Result<T>,
    ) -> Result<T, ModelError> {
        let value =
            self.content.metadata.get(key).ok_or_else(|| self.wrong(format!("the setting `{key}` is missing")))?;
        read(value).map_err(|_| self.wrong(format!("the setting `{key}` is not {kind}")))
    }

    fn size(&self, key: &str) -> Result<usize, ModelError> {
        self.value(key, "a 32-bit count", |value| value.to_u32()).map(|n| n as usize)
    }

    fn strings(&self, key: &str) -> Result<Vec<String>, ModelError> {
        self.value(key, "a list of strings", |value| {
            value.to_vec()?.iter().map(|item| item.to_string().cloned()).collect()
        })
    }

    pub(super) fn chat_template(&self) -> Result<String, ModelError> {
        self.value("tokenizer.chat_template", "a string", |value| value.to_string().cloned())
    }

    /// The sizes in the header, checked for agreeing with each other; the tensors' shapes are checked against them
    /// later.
    pub(super) fn sizes(&self) -> Result<Sizes, ModelError> {
        let architecture = self.value("general.architecture", "a string", |value| value.to_string().cloned())?;
        if architecture != "llama" {
            return Err(self.wrong(format!("the architecture is `{architecture}`, this loader knows `llama`")));
        }
        let sizes = Sizes {
            layers: self.size("llama.block_count")?,
            width: self.size("llama.embedding_length")?,
            inner: self.size("llama.feed_forward_length")?,
            heads: self.size("llama.attention.head_count")?,
            kv_heads: self.size("llama.attention.head_count_kv")?,
            context: self.size("llama.context_length")?,
            vocabulary: self.size("llama.vocab_size")?,
            rope_base: f64::from(self.value("llama.rope.freq_base", "a 32-bit float", |value| value.to_f32())?),
            epsilon: self.value("llama.attention.layer_norm_rms_epsilon", "a 32-bit float", |value| value.to_f32())?,
        };
        let rotated = self.size("llama.rope.dimension_count")?;
        let counts =
            [sizes.layers, sizes.width, sizes.inner, sizes.heads, sizes.kv_heads, sizes.context, sizes.vocabulary];
        let divides = counts.iter().all(|&n| n > 0 && n <= 1 << 20)
            && sizes.width.is_multiple_of(2 * sizes.heads)
            && sizes.heads.is_multiple_of(sizes.kv_heads);
        if !divides || rotated != sizes.head() {
            return Err(
                self.wrong(format!("the sizes do not fit together: {sizes:?}, {rotated} rotated dimensions of a head"))
            );
        }
        Ok(sizes)
    }

    /// Sees that there is a tensor `name` of this shape whose values lie in the file.
    pub(super) fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        let Some(info) = self.content.tensor_infos.get(name) else {
            return Err(ModelError::MissingTensor { path: self.path.clone(), name: name.to_owned(), similar: None });
        };
        if info.shape.dims() != shape {
            let (expected, found) = (shape.to_vec(), info.shape.dims().to_vec());
            return Err(ModelError::Shape { path: self.path.clone(), name: name.to_owned(), expected, found });
        }
        let blocks = info.shape.elem_count().div_ceil(info.ggml_dtype.block_size()) as u64;
        let end = (blocks.checked_mul(info.ggml_dtype.type_size() as u64))
            .and_then(|bytes| self.content.tensor_data_offset.checked_add(info.offset)?.checked_add(bytes));
        let length = self.file.get_ref().metadata().map_err(ModelError::io(&self.path))?.len();
        if end.is_none_or(|end| end > length) {
            return Err(self.wrong(format!("tensor `{name}` reaches beyond the end of the file")));
        }
        Ok(())
    }

    /// The tensor `name` in f32, row-major, `shape` with the output dimension first.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.check(name, shape)?;
        let tensor = self.content.tensor(&mut self.file, name, &Device::Cpu);
        let values = tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>());
        values.map_err(|error| self.wrong(format!("tensor `{name}` cannot be read ({error})")))
    }

    /// The byte-level BPE tokenizer in the header. Digits stand alone, as this family of models was trained.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        let (model, split) = (
            self.value("tokenizer.ggml.model", "a string", |value| value.to_string().cloned())?,
            self.value("tokenizer.ggml.pre", "a string", |value| value.to_string().cloned())?,
        );
        if (model.as_str(), split.as_str()) != ("gpt2", "smollm") {
            return Err(self.wrong(format!("the tokenizer is `{model}`/`{split}`, this loader knows `gpt2`/`smollm`")));
        }
        let tokens = self.strings("tokenizer.ggml.tokens")?;
        let kinds = self.value("tokenizer.ggml.token_type", "a list of integers", |value| {
            value.to_vec()?.iter().map(|item| item.to_i32().map(i64::from)).collect::<candle_core::Result<Vec<i64>>>()
        })?;
        if kinds.len() != tokens.len() {
            return Err(self.wrong(format!("{} tokens but {} token types", tokens.len(), kinds.len())));
        }
        let mut merges = Vec::new();
        for merge in self.strings("tokenizer.ggml.merges")? {
            let (left, right) =
                merge.split_once(' ').ok_or_else(|| self.wrong(format!("`{merge}` is not a merge of two tokens")))?;
            merges.push((left.to_owned(), right.to_owned()));
        }
        let control: Vec<AddedToken> = (tokens.iter().zip(&kinds))
            .filter(|(_, kind)| **kind == CONTROL)
            .map(|(token, _)| AddedToken::from(token.as_str(), true))
            .collect();
        let vocabulary: Vec<(String, u32)> = tokens.into_iter().zip(0..).collect();
        let broken = |error: tokenizers::Error| self.wrong(format!("the tokenizer cannot be built ({error})"));
        let model =
            BPE::builder().vocab_and_merges(vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges);
        let mut tokenizer = Tokenizer::new(model.build().map_err(broken)?);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
            Digits::new(true).into(),
            tokenizers::pre_tokenizers::byte_level::ByteLevel::new(false, true, true).into(),
        ])));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        tokenizer.add_special_tokens(control).map_err(broken)?;
        // Documents are hostile: one that spells "<|im_end|>" must not end a turn. Control tokens are placed by id.
        tokenizer.set_encode_special_tokens(true);
        Ok(tokenizer)
    }
}
