//! The Llama architecture in f32: RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied embeddings.

use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope_i;

use super::gguf::Sizes;
use crate::ModelError;
use crate::numeric::{MaskedSoftmax, SwiGlu, add, log_sum_exp};
use crate::weights::stack_transposed;

pub(super) const NAME: &str = "smollm2";

/// Rows whose logits are held at once: 128 × 49,152 f32 are 25 MB.
const LOGIT_ROWS: usize = 128;

/// The values of a tensor, by its name and the shape that it must have.
type Tensors<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, ModelError> + 'a;

pub(super) struct Llama {
    pub(super) sizes: Sizes,
    /// `[vocabulary, width]`, for looking tokens up.
    embeddings: Vec<f32>,
    /// The same, transposed, for the product that gives the logits.
    head: Tensor,
    norm: Tensor,
    pub(super) layers: Vec<Layer>,
    /// Cosines and sines of the positions' angles, `[context, head / 2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Weights of one layer, all `[input, output]`.
pub(super) struct Layer {
    attention_norm: Tensor,
    /// Query, key and value heads side by side.
    attention_in: Tensor,
    attention_out: Tensor,
    feed_norm: Tensor,
    /// Gate and up side by side.
    feed_in: Tensor,
    feed_out: Tensor,
}

/// Keys and values of one layer, `[batch, kv_heads, tokens, head]`, keys with their positions applied.
#[derive(Clone)]
pub(super) struct KeysValues {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
}

impl Layer {
    fn load(tensor: &mut Tensors, sizes: &Sizes, index: usize) -> Result<Self, ModelError> {
        let (width, inner, kv) = (sizes.width, sizes.inner, sizes.kv_heads * sizes.head());
        let mut take = |part: &str, shape: &[usize]| tensor(&format!("blk.{index}.{part}.weight"), shape);
        let vector = |data: Vec<f32>| Tensor::new(data, &Device::Cpu).map_err(ModelError::compute(NAME));
        let heads = [take("attn_q", &[width, width])?, take("attn_k", &[kv, width])?, take("attn_v", &[kv, width])?];
        let feed = [take("ffn_gate", &[inner, width])?, take("ffn_up", &[inner, width])?];
        Ok(Self {
            attention_norm: vector(take("attn_norm", &[width])?)?,
            attention_in: stack_transposed(&heads, width)?,
            attention_out: stack_transposed(&[take("attn_output", &[width, width])?], width)?,
            feed_norm: vector(take("ffn_norm", &[width])?)?,
            feed_in: stack_transposed(&feed, width)?,
            feed_out: stack_transposed(&[take("ffn_down", &[width, inner])?], inner)?,
        })
    }

    /// The projected heads of `x: [rows, width]`: `[rows, (heads + 2 · kv_heads) · head]`.
    pub(super) fn heads(&self, x: &Tensor, epsilon: f32) -> TensorResult<Tensor> {
        rms_norm(x, &self.attention_norm, epsilon)?.matmul(&self.attention_in)
    }

    /// What follows the attention: output projection, feed-forward network, both residuals.
    pub(super) fn finish(&self, x: &Tensor, attention: &Tensor, epsilon: f32) -> TensorResult<Tensor> {
        let x = add(x, &attention.matmul(&self.attention_out)?)?;
        let inner = rms_norm(&x, &self.feed_norm, epsilon)?.matmul(&self.feed_in)?.apply_op1_no_bwd(&SwiGlu)?;
        add(&inner.matmul(&self.feed_out)?, &x)
    }
}

impl Llama {
    /// Asks `tensor` for each tensor that a network of these sizes has. With one that answers with nothing, names and shapes are
    /// gone through as when loading, and no weight is read.
    pub(super) fn load(sizes: Sizes, tensor: &mut Tensors) -> Result<Self, ModelError> {
        let embeddings = tensor("token_embd.weight", &[sizes.vocabulary, sizes.width])?;
        let head = stack_transposed(std::slice::from_ref(&embeddings), sizes.width)?;
        let norm = tensor("output_norm.weight", &[sizes.width])?;
        let layers = (0..sizes.layers).map(|index| Layer::load(tensor, &sizes, index)).collect::<Result<_, _>>()?;
        let norm = Tensor::new(norm, &Device::Cpu).map_err(ModelError::compute(NAME))?;
        let half = sizes.head() / 2;
        let frequencies: Vec<f64> = (0..half).map(|i| sizes.rope_base.powf(-(i as f64) / half as f64)).collect();
        let angles = || {
            (0..sizes.context).flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency))
        };
        let cos = angles().map(|angle| angle.cos() as f32).collect();
        let sin = angles().map(|angle| angle.sin() as f32).collect();
        Ok(Self { sizes, embeddings, head, norm, layers, cos, sin })
    }

    /// Cosines and sines at a position, `[head / 2]` each.
    pub(super) fn angles(&self, position: usize) -> (&[f32], &[f32]) {
        let half = self.sizes.head() / 2;
        (&self.cos[position * half..][..half], &self.sin[position * half..][..half])
    }

    /// `[ids.len(), width]`.
    pub(super) fn embed(&self, ids: &[u32]) -> TensorResult<Tensor> {
        let width = self.sizes.width;
        let rows = ids.iter().flat_map(|&id| &self.embeddings[id as usize * width..][..width]).copied().collect();
        Tensor::from_vec(rows, (ids.len(), width), &Device::Cpu)
    }

    /// Last hidden states `[batch · tokens, width]` of `ids: [batch, tokens]`, which follow `past` (one entry per
    /// layer, batch 1, shared by the whole batch). `keep` receives each layer's keys and values, past ones included.
    ///
    /// A token sees those before it alone, so what pads a row's end changes nothing before it.
    pub(super) fn forward(
        &self,
        ids: &[u32],
        batch: usize,
        past: Option<&[KeysValues]>,
        mut keep: impl FnMut(KeysValues) -> TensorResult<()>,
    ) -> TensorResult<Tensor> {
        let Sizes { heads, kv_heads, epsilon, .. } = self.sizes;
        let (head, tokens) = (self.sizes.head(), ids.len() / batch);
        let start = past.map_or(Ok(0), |past| past[0].keys.dim(2))?;
        let table = |angles: &[f32]| {
            Tensor::from_slice(&angles[start * head / 2..][..tokens * head / 2], (tokens, head / 2), &Device::Cpu)
        };
        let (cos, sin) = (table(&self.cos)?, table(&self.sin)?);
        let softmax = MaskedSoftmax { scale: (head as f32).sqrt().recip(), visible: |row| start + row % tokens + 1 };
        let group = heads / kv_heads;
        let mut x = self.embed(ids)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let projected = layer.heads(&x, epsilon)?.reshape((batch, tokens, heads + 2 * kv_heads, head))?;
            let part = |from, n| projected.narrow(2, from, n)?.transpose(1, 2)?.contiguous();
            let query = rope_i(&part(0, heads)?, &cos, &sin)?;
            let mut keys = rope_i(&part(heads, kv_heads)?, &cos, &sin)?;
            let mut values = part(heads + kv_heads, kv_heads)?;
            if let Some(past) = past {
                let shape = (batch, kv_heads, start, head);
                keys = Tensor::cat(&[&past[index].keys.broadcast_as(shape)?, &keys], 2)?;
                values = Tensor::cat(&[&past[index].values.broadcast_as(shape)?, &values], 2)?;
            }
            // The query heads of a group are stacked, so that each key head takes part in one product.
            let query = query.reshape((batch, kv_heads, group * tokens, head))?;
            let weights = query.matmul(&keys.t()?)?.apply_op1_no_bwd(&softmax)?;
            let attention = weights.matmul(&values)?.reshape((batch, heads, tokens, head))?;
            let attention = attention.transpose(1, 2)?.reshape((batch * tokens, heads * head))?;
            keep(KeysValues { keys, values })?;
            x = layer.finish(&x, &attention, epsilon)?;
        }
        Ok(x)
    }

    /// Logits `[rows, vocabulary]` of hidden states `x: [rows, width]`.
    pub(super) fn logits(&self, x: &Tensor) -> TensorResult<Tensor> {
        rms_norm(x, &self.norm, self.sizes.epsilon)?.matmul(&self.head)
    }

    /// −ln p(target) of each row of `x: [targets.len(), width]`. Only a few rows' logits are held at a time.
    pub(super) fn surprisals(&self, x: &Tensor, targets: &[u32]) -> TensorResult<Vec<f64>> {
        let mut out = Vec::with_capacity(targets.len());
        for (chunk, targets) in targets.chunks(LOGIT_ROWS).enumerate() {
            let logits = self.logits(&x.narrow(0, chunk * LOGIT_ROWS, targets.len())?)?;
            for (row, &target) in
                logits.flatten_all()?.to_vec1::<f32>()?.chunks_exact(self.sizes.vocabulary).zip(targets)
            {
                out.push(log_sum_exp(row) - f64::from(row[target as usize]));
            }
        }
        Ok(out)
    }
}
