//! Perplexity: how surprised the model is by a text.

use candle_core::{Device, Result as TensorResult, Tensor};

use super::SmolLm;
use super::llama::NAME;
use crate::batches::by_length;
use crate::{ModelError, Scorer, TextScore};

/// Padded tokens in one batch.
const BUDGET: usize = 1024;

impl SmolLm {
    /// The surprisals of the scored tokens of each text of one batch. Texts have at least two tokens.
    fn surprisals(&self, texts: &[&[u32]]) -> TensorResult<Vec<Vec<f64>>> {
        // The last token of a text predicts nothing, so it is no input.
        let longest = texts.iter().map(|ids| ids.len() - 1).max().unwrap_or(0);
        let mut ids = vec![self.end_of_text; texts.len() * longest];
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (i, text) in texts.iter().enumerate() {
            let inputs = &text[..text.len() - 1];
            ids[i * longest..][..inputs.len()].copy_from_slice(inputs);
            rows.extend((i * longest) as u32..(i * longest + inputs.len()) as u32);
            targets.extend_from_slice(&text[1..]);
        }
        let hidden = self.llama.forward(&ids, texts.len(), None, |_| Ok(()))?;
        let hidden = hidden.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        let mut surprisals = self.llama.surprisals(&hidden, &targets)?.into_iter();
        Ok(texts.iter().map(|ids| surprisals.by_ref().take(ids.len() - 1).collect()).collect())
    }
}

/// The text's content alone decides its score up to rounding: batches differ in the order in which products are summed,
/// which moves the mean surprisal of a text by at most 1e-4 nats (more than 10 times what is measured).
impl Scorer for SmolLm {
    fn score(&self, texts: &[&str]) -> Result<Vec<TextScore>, ModelError> {
        let mut tokens = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let mut ids = self.encode(index, text)?;
            if self.options.prepend_eos {
                ids.insert(0, self.end_of_text);
            }
            ids.truncate(self.options.max_score_tokens.max(2));
            tokens.push(ids);
        }
        let lengths: Vec<usize> = tokens.iter().map(|ids| if ids.len() < 2 { 0 } else { ids.len() }).collect();
        let groups = by_length(&lengths, BUDGET);
        let batches = self.workers.map(groups.len(), |g| {
            let group: Vec<&[u32]> = groups[g].iter().map(|&i| tokens[i].as_slice()).collect();
            self.surprisals(&group).map_err(ModelError::compute(NAME))
        })?;
        let mut scores = vec![TextScore { nll_sum: 0.0, tokens: 0 }; texts.len()];
        for (group, batch) in groups.iter().zip(&batches) {
            for (&index, surprisals) in group.iter().zip(batch) {
                scores[index] = TextScore { nll_sum: surprisals.iter().sum(), tokens: surprisals.len() as u32 };
            }
        }
        Ok(scores)
    }
}
