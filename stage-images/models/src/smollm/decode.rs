//! Attention of single new tokens over cached keys and values, in plain loops: for one row the tensor library's copies
//! would cost more than the sums.

use candle_core::Result as TensorResult;

use super::llama::KeysValues;
use crate::numeric::softmax;

/// Keys and values of a run of tokens.
#[derive(Default)]
pub(super) struct Segment {
    /// `[layers][kv_heads]`.
    layers: Vec<Vec<HeadCache>>,
}

/// `[tokens, head]` each.
#[derive(Default)]
struct HeadCache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Segment {
    /// Appends the next layer's keys and values of batch entry 0, without those of the first `skip` tokens.
    pub(super) fn push_layer(&mut self, layer: &KeysValues, skip: usize) -> TensorResult<()> {
        let (_, kv_heads, tokens, _) = layer.keys.dims4()?;
        let own = |all: &candle_core::Tensor, kv_head| {
            all.get(0)?.get(kv_head)?.narrow(0, skip, tokens - skip)?.flatten_all()?.to_vec1::<f32>()
        };
        let head = |kv_head| Ok(HeadCache { keys: own(&layer.keys, kv_head)?, values: own(&layer.values, kv_head)? });
        self.layers.push((0..kv_heads).map(head).collect::<TensorResult<_>>()?);
        Ok(())
    }

    /// Appends one token's keys and values, `[kv_heads, head]` each, to a layer.
    pub(super) fn push_token(&mut self, layer: usize, keys: &[f32], values: &[f32], head: usize) {
        let new = keys.chunks_exact(head).zip(values.chunks_exact(head));
        for (cache, (keys, values)) in self.layers[layer].iter_mut().zip(new) {
            cache.keys.extend_from_slice(keys);
            cache.values.extend_from_slice(values);
        }
    }
}

/// Turns each pair of neighbouring dimensions of each head in place by its angle; `angles` are `[head / 2]` cosines and
/// sines.
pub(super) fn rotate(heads: &mut [f32], head: usize, (cos, sin): (&[f32], &[f32])) {
    for head in heads.chunks_exact_mut(head) {
        for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
            (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
        }
    }
}

/// Attention of one token's `query: [heads, head]` over a layer of the segments in order, into `out: [heads, head]`,
/// zero before.
pub(super) fn attend(query: &[f32], out: &mut [f32], head: usize, segments: &[&Segment], layer: usize) {
    let kv_heads = segments.iter().filter_map(|segment| segment.layers.get(layer)).map(Vec::len).max().unwrap_or(1);
    let group = query.len() / head / kv_heads;
    let mut weights = Vec::new();
    for (index, (query, out)) in query.chunks_exact(head).zip(out.chunks_exact_mut(head)).enumerate() {
        let caches =
            || segments.iter().filter_map(|segment| segment.layers.get(layer)).map(|caches| &caches[index / group]);
        weights.clear();
        weights.extend(caches().flat_map(|cache| cache.keys.chunks_exact(head)).map(|key| dot(query, key)));
        softmax(&mut weights, (head as f32).sqrt().recip());
        let values = caches().flat_map(|cache| cache.values.chunks_exact(head));
        for (&weight, value) in weights.iter().zip(values) {
            out.iter_mut().zip(value).for_each(|(out, value)| *out += weight * value);
        }
    }
}

/// Summed in eight lanes, which the compiler keeps in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest = a.len() - a.len() % 8;
    lanes.iter().sum::<f32>() + a[rest..].iter().zip(&b[rest..]).map(|(a, b)| a * b).sum::<f32>()
}
