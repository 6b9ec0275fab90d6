//! The sentence encoder all-MiniLM-L6-v2: a BERT with mean pooling and unit length (Reimers and Gurevych 2019; Wang et
//! al. 2020).

use std::path::Path;

use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::ops::layer_norm;
use tokenizers::Tokenizer;

use crate::batches::by_length;
use crate::numeric::{Gelu, MaskedSoftmax, add, normalize};
use crate::weights::{Weights, stack_transposed};
use crate::workers::Workers;
use crate::{ModelError, TextEncoder};

const NAME: &str = "all-minilm-l6-v2";
const VOCABULARY: usize = 30522;
const WIDTH: usize = 384;
const HEADS: usize = 12;
const HEAD: usize = WIDTH / HEADS;
const LAYERS: usize = 6;
const INNER: usize = 1536;
const POSITIONS: usize = 512;
const EPSILON: f32 = 1e-12;
/// The model was trained on at most this many word pieces, `[CLS]` and `[SEP]` included; what is beyond is cut.
const MAX_TOKENS: usize = 256;
/// Padded tokens in one batch.
const BUDGET: usize = 1024;

/// all-MiniLM-L6-v2 on the CPU in f32: texts to 384 dimensions of unit length.
///
/// Texts longer than 256 word pieces are cut. A text's vector depends on the others of its batch by rounding alone: any
/// two batchings give vectors at most 1e-5 apart in Euclidean length (about 10 times what is measured; two unit vectors
/// that are orthogonal are 1.41 apart).
pub struct MiniLm {
    tokenizer: Tokenizer,
    words: Vec<f32>,
    /// Position and token-type embeddings, summed: this encoder has one segment only.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    workers: Workers,
}

struct Norm {
    gain: Tensor,
    bias: Tensor,
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

struct Layer {
    attention_in: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    inner: Linear,
    outer: Linear,
    norm: Norm,
}

impl Norm {
    fn load(weights: &mut Weights, name: &str) -> Result<Self, ModelError> {
        let gain = weights.tensor(&format!("{name}.weight"), &[WIDTH])?;
        Ok(Self { gain, bias: weights.tensor(&format!("{name}.bias"), &[WIDTH])? })
    }

    fn apply(&self, x: &Tensor) -> TensorResult<Tensor> {
        layer_norm(x, &self.gain, &self.bias, EPSILON)
    }
}

impl Linear {
    /// One product for several layers with the same input, their outputs side by side.
    fn load(weights: &mut Weights, names: &[String], input: usize, output: usize) -> Result<Self, ModelError> {
        let mut matrices = Vec::new();
        let mut bias = Vec::new();
        for name in names {
            matrices.push(weights.take(&format!("{name}.weight"), &[output, input])?);
            bias.extend(weights.take(&format!("{name}.bias"), &[output])?);
        }
        let bias = Tensor::new(bias, &Device::Cpu).map_err(ModelError::compute(NAME))?;
        Ok(Self { weight: stack_transposed(&matrices, input)?, bias })
    }

    fn apply(&self, x: &Tensor) -> TensorResult<Tensor> {
        add(&x.matmul(&self.weight)?, &self.bias)
    }
}

impl Layer {
    fn load(weights: &mut Weights, index: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let heads = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(Self {
            attention_in: Linear::load(weights, &heads, WIDTH, WIDTH)?,
            attention_out: Linear::load(weights, &[name("attention.output.dense")], WIDTH, WIDTH)?,
            attention_norm: Norm::load(weights, &name("attention.output.LayerNorm"))?,
            inner: Linear::load(weights, &[name("intermediate.dense")], WIDTH, INNER)?,
            outer: Linear::load(weights, &[name("output.dense")], INNER, WIDTH)?,
            norm: Norm::load(weights, &name("output.LayerNorm"))?,
        })
    }

    /// `x: [lengths.len() · longest, WIDTH]`.
    fn apply(&self, x: &Tensor, lengths: &[usize], longest: usize) -> TensorResult<Tensor> {
        let batch = lengths.len();
        let heads = self.attention_in.apply(x)?.reshape((batch, longest, 3 * HEADS, HEAD))?;
        let part = |i: usize| heads.narrow(2, i * HEADS, HEADS)?.transpose(1, 2)?.contiguous();
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let softmax =
            MaskedSoftmax { scale: (HEAD as f32).sqrt().recip(), visible: |row| lengths[row / (HEADS * longest)] };
        let attention = query.matmul(&key.t()?)?.apply_op1_no_bwd(&softmax)?.matmul(&value)?;
        let attention = attention.transpose(1, 2)?.reshape((batch * longest, WIDTH))?;
        let x = self.attention_norm.apply(&add(&self.attention_out.apply(&attention)?, x)?)?;
        let inner = self.inner.apply(&x)?.apply_op1_no_bwd(&Gelu)?;
        self.norm.apply(&add(&self.outer.apply(&inner)?, &x)?)
    }
}

impl MiniLm {
    /// Loads `model.safetensors` and `tokenizer.json` from a model folder. Names and shapes of all tensors are checked
    /// here.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let mut weights = Weights::safetensors(&folder.join("model.safetensors"))?;
        let words = weights.take("embeddings.word_embeddings.weight", &[VOCABULARY, WIDTH])?;
        let mut positions = weights.take("embeddings.position_embeddings.weight", &[POSITIONS, WIDTH])?;
        let segments = weights.take("embeddings.token_type_embeddings.weight", &[2, WIDTH])?;
        for row in positions.chunks_exact_mut(WIDTH) {
            row.iter_mut().zip(&segments).for_each(|(position, segment)| *position += segment);
        }
        let norm = Norm::load(&mut weights, "embeddings.LayerNorm")?;
        let layers = (0..LAYERS).map(|index| Layer::load(&mut weights, index)).collect::<Result<_, _>>()?;
        let workers = Workers::start().map_err(ModelError::io(folder))?;
        Ok(Self { tokenizer: tokenizer(&folder.join("tokenizer.json"))?, words, positions, norm, layers, workers })
    }

    fn tokens(&self, index: usize, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.tokenizer.encode_fast(text, true);
        let encoding =
            encoding.map_err(|error| ModelError::Input { index, reason: format!("cannot be tokenized: {error}") })?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.len() > MAX_TOKENS {
            let separator = ids[ids.len() - 1];
            ids.truncate(MAX_TOKENS - 1);
            ids.push(separator);
        }
        Ok(ids)
    }

    /// Mean-pooled vectors of unit length of one batch, `[texts.len(), WIDTH]`.
    fn forward(&self, texts: &[&[u32]]) -> TensorResult<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut x = vec![0f32; texts.len() * longest * WIDTH];
        for (ids, rows) in texts.iter().zip(x.chunks_exact_mut(longest * WIDTH)) {
            let rows = rows.chunks_exact_mut(WIDTH).zip(self.positions.chunks_exact(WIDTH));
            for (&id, (row, position)) in ids.iter().zip(rows) {
                let word = &self.words[id as usize * WIDTH..][..WIDTH];
                row.iter_mut().zip(word).zip(position).for_each(|((x, word), position)| *x = word + position);
            }
        }
        let mut x = self.norm.apply(&Tensor::from_vec(x, (texts.len() * longest, WIDTH), &Device::Cpu)?)?;
        for layer in &self.layers {
            x = layer.apply(&x, &lengths, longest)?;
        }
        let x = x.flatten_all()?.to_vec1::<f32>()?;
        let mut pooled = vec![0f32; texts.len() * WIDTH];
        for ((rows, &length), mean) in x.chunks_exact(longest * WIDTH).zip(&lengths).zip(pooled.chunks_exact_mut(WIDTH))
        {
            for row in rows.chunks_exact(WIDTH).take(length) {
                mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
            }
            // The division by the length is part of the scaling to unit length.
            normalize(mean);
        }
        Ok(pooled)
    }
}

fn tokenizer(path: &Path) -> Result<Tokenizer, ModelError> {
    let text = std::fs::read_to_string(path).map_err(ModelError::io(path))?;
    let broken = |error: tokenizers::Error| ModelError::format(path, format!("not a tokenizer ({error})"));
    // `from_bytes` would compile the whole deserializer once more, here.
    let mut tokenizer: Tokenizer = text.parse().map_err(broken)?;
    // The file asks for 128 tokens, padded to 128. The model takes 256, and batches are padded here.
    tokenizer.with_padding(None).with_truncation(None).map_err(broken)?;
    // A text that spells "[SEP]" is a text.
    tokenizer.set_encode_special_tokens(true);
    if tokenizer.get_vocab_size(true) != VOCABULARY {
        return Err(ModelError::format(
            path,
            format!("has {} tokens, the model {VOCABULARY}", tokenizer.get_vocab_size(true)),
        ));
    }
    Ok(tokenizer)
}

impl TextEncoder for MiniLm {
    fn dim(&self) -> usize {
        WIDTH
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        let tokens: Vec<Vec<u32>> =
            texts.iter().enumerate().map(|(i, text)| self.tokens(i, text)).collect::<Result<_, _>>()?;
        let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
        let groups = by_length(&lengths, BUDGET);
        let vectors = self.workers.map(groups.len(), |g| {
            let group: Vec<&[u32]> = groups[g].iter().map(|&i| tokens[i].as_slice()).collect();
            self.forward(&group).map_err(ModelError::compute(NAME))
        })?;
        let mut out = vec![0f32; texts.len() * WIDTH];
        for (group, vectors) in groups.iter().zip(&vectors) {
            for (&index, vector) in group.iter().zip(vectors.chunks_exact(WIDTH)) {
                out[index * WIDTH..][..WIDTH].copy_from_slice(vector);
            }
        }
        Ok(out)
    }
}
