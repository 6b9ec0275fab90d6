//! Greedy generation of several texts at once.

use candle_core::{Device, Result as TensorResult, Tensor};

use super::SmolLm;
use super::decode::{Segment, attend, rotate};
use super::llama::{KeysValues, NAME};
use crate::{FinishReason, Generated, Generator, ModelError, Prompt};

/// Sequences decoded side by side. A step reads all weights once, whatever their number; a multiple of the six columns
/// that the matrix product's kernels compute at once.
const GROUP: usize = 24;

/// What the chat template says for the system when the caller does not.
const DEFAULT_SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

struct Sequence {
    /// Position in the group.
    slot: usize,
    /// Where `last` stands in the whole sequence.
    position: usize,
    /// Keys and values behind the shared prefix.
    own: Segment,
    last: u32,
}

impl SmolLm {
    /// The prompt in the model's chat template (ChatML), up to where the assistant speaks.
    fn chat(&self, index: usize, prompt: &Prompt<'_>) -> Result<Vec<u32>, ModelError> {
        let system = if prompt.system.trim().is_empty() { DEFAULT_SYSTEM } else { prompt.system.trim() };
        let mut ids = Vec::new();
        for (role, content) in [("system", system), ("user", prompt.user.trim())] {
            ids.push(self.turn_start);
            ids.extend(self.encode(index, &format!("{role}\n{content}"))?);
            ids.push(self.turn_end);
            ids.extend(self.encode(index, "\n")?);
        }
        ids.push(self.turn_start);
        ids.extend(self.encode(index, "assistant\n")?);
        let room = self.llama.sizes.context.saturating_sub(self.options.max_new_tokens);
        if ids.len() > room {
            let reason =
                format!("the prompt has {} tokens, at most {room} leave room for the answer; shorten it", ids.len());
            return Err(ModelError::Input { index, reason });
        }
        Ok(ids)
    }

    /// The best next token of each row of hidden states; the lowest id among equals.
    fn best(&self, x: &Tensor) -> TensorResult<Vec<u32>> {
        let logits = self.llama.logits(x)?.flatten_all()?.to_vec1::<f32>()?;
        let best = |row: &[f32]| (1..row.len()).fold(0, |best, id| if row[id] > row[best] { id } else { best });
        Ok(logits.chunks_exact(self.llama.sizes.vocabulary).map(|row| best(row) as u32).collect())
    }

    /// Generates for prompts that all begin with the tokens of `prefix`, given without them. Returns the new tokens,
    /// and whether the model ended its turn.
    fn continue_group(
        &self,
        prompts: &[&[u32]],
        shared: usize,
        past: &[KeysValues],
        prefix: &Segment,
    ) -> TensorResult<Vec<(Vec<u32>, FinishReason)>> {
        let mut results = vec![(Vec::new(), FinishReason::Length); prompts.len()];
        let mut open = Vec::new();
        for (slot, ids) in prompts.iter().enumerate() {
            let mut own = Segment::default();
            let past = (shared > 0).then_some(past);
            let hidden = self.llama.forward(ids, 1, past, |layer| own.push_layer(&layer, shared))?;
            let last = self.best(&hidden.narrow(0, ids.len() - 1, 1)?)?[0];
            open.push(Sequence { slot, position: shared + ids.len(), own, last });
        }
        loop {
            open.retain(|sequence| {
                let (tokens, finish) = &mut results[sequence.slot];
                if [self.turn_end, self.end_of_text].contains(&sequence.last) {
                    *finish = FinishReason::Stop;
                    return false;
                }
                if tokens.len() < self.options.max_new_tokens {
                    tokens.push(sequence.last);
                }
                tokens.len() < self.options.max_new_tokens
            });
            if open.is_empty() {
                return Ok(results);
            }
            let best = self.best(&self.step(&mut open, prefix)?)?;
            for (sequence, best) in open.iter_mut().zip(best) {
                sequence.last = best;
                sequence.position += 1;
            }
        }
    }

    /// Hidden states `[open.len(), width]` after each sequence's last token, which joins its keys and values.
    fn step(&self, open: &mut [Sequence], prefix: &Segment) -> TensorResult<Tensor> {
        let sizes = &self.llama.sizes;
        let (heads, kv_heads, head) = (sizes.heads, sizes.kv_heads, sizes.head());
        let last: Vec<u32> = open.iter().map(|sequence| sequence.last).collect();
        let mut x = self.llama.embed(&last)?;
        for (index, layer) in self.llama.layers.iter().enumerate() {
            let mut projected = layer.heads(&x, sizes.epsilon)?.flatten_all()?.to_vec1::<f32>()?;
            let mut attention = vec![0f32; open.len() * sizes.width];
            let rows =
                projected.chunks_exact_mut((heads + 2 * kv_heads) * head).zip(attention.chunks_exact_mut(sizes.width));
            for (sequence, (row, out)) in open.iter_mut().zip(rows) {
                let (rotated, values) = row.split_at_mut((heads + kv_heads) * head);
                rotate(rotated, head, self.llama.angles(sequence.position));
                let (query, keys) = rotated.split_at(heads * head);
                sequence.own.push_token(index, keys, values, head);
                attend(query, out, head, &[prefix, &sequence.own], index);
            }
            let attention = Tensor::from_vec(attention, (open.len(), sizes.width), &Device::Cpu)?;
            x = layer.finish(&x, &attention, sizes.epsilon)?;
        }
        Ok(x)
    }
}

/// Greedy, so the same prompts give the same texts. The tokens with which all prompts of a call begin go through the
/// model once.
impl Generator for SmolLm {
    fn generate(&self, prompts: &[Prompt<'_>]) -> Result<Vec<Generated>, ModelError> {
        let chats: Vec<Vec<u32>> =
            prompts.iter().enumerate().map(|(i, prompt)| self.chat(i, prompt)).collect::<Result<_, _>>()?;
        let shared = shared_prefix(&chats);
        let mut past = Vec::new();
        let mut prefix = Segment::default();
        if shared > 0 {
            let keep = |layer: KeysValues| {
                prefix.push_layer(&layer, 0)?;
                past.push(layer);
                Ok(())
            };
            self.llama.forward(&chats[0][..shared], 1, None, keep).map_err(ModelError::compute(NAME))?;
        }
        // Long prompts first; texts of one group start together.
        let mut order: Vec<usize> = (0..chats.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(chats[i].len()), i));
        let groups: Vec<&[usize]> = order.chunks(GROUP).collect();
        let results = self.workers.map(groups.len(), |g| {
            let group: Vec<&[u32]> = groups[g].iter().map(|&i| &chats[i][shared..]).collect();
            self.continue_group(&group, shared, &past, &prefix).map_err(ModelError::compute(NAME))
        })?;
        let mut texts: Vec<Option<Generated>> = vec![None; prompts.len()];
        for (&index, (ids, finish)) in order.iter().zip(results.concat()) {
            let text = self.tokenizer.decode(&ids, true);
            let text = text
                .map_err(|error| ModelError::Input { index, reason: format!("the answer cannot be spelt: {error}") })?;
            texts[index] = Some(Generated { text: text.trim().to_owned(), tokens: ids.len() as u32, finish });
        }
        Ok(texts.into_iter().flatten().collect())
    }
}

/// How many tokens all begin with; at least one token of each is left.
fn shared_prefix(chats: &[Vec<u32>]) -> usize {
    let Some((first, rest)) = chats.split_first() else { return 0 };
    let common = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count().min(other.len() - 1);
    rest.iter().map(common).fold(first.len() - 1, usize::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_prefix_leaves_a_token_of_each() {
        assert_eq!(shared_prefix(&[]), 0);
        assert_eq!(shared_prefix(&[vec![1, 2, 3]]), 2);
        assert_eq!(shared_prefix(&[vec![1, 2, 3], vec![1, 2]]), 1);
        assert_eq!(shared_prefix(&[vec![1, 2, 3], vec![1, 2, 4], vec![1, 2, 3, 9]]), 2);
        assert_eq!(shared_prefix(&[vec![1, 2], vec![3, 4]]), 0);
    }
}
