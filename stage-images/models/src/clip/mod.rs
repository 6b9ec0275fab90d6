//! CLIP's tokenizer (Radford et al. 2021, §2.4), of which a release takes the form of its texts.

mod clean;
mod entities;
mod merges;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use regex::Regex;

use self::clean::clean;
use self::merges::Merges;
use crate::ModelError;

/// Tokens that the text encoder takes, start and end among them.
const CONTEXT: usize = 77;
/// A merges file: as in every folder of a CLIP model on the Hugging Face hub, and as OpenAI and open_clip ship it.
const FILES: [&str; 3] = ["merges.txt", "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt"];
/// OpenAI's file has 3.2 MB.
const MAX_BYTES: u64 = 32 << 20;
/// The two tokens behind the vocabulary. Their names are tokens wherever they stand in a text, as in open_clip.
const SPECIAL: [&str; 2] = ["<start_of_text>", "<end_of_text>"];

/// CLIP's tokenizer as open_clip has it: texts to at most 77 tokens, and back.
///
/// Of what it does to a text first one thing is missing: ftfy's repair of text in a wrong encoding ("donâ€™t"), which
/// guesses. Such a text is tokenized as it stands.
pub struct ClipTokenizer {
    merges: Merges,
    words: Regex,
}

/// Whether CLIP's tokenizer sees nothing in a text: white space, control characters, or references to such.
pub fn is_blank_to_clip(text: &str) -> bool {
    clean(text).is_empty()
}

impl ClipTokenizer {
    /// The file in a model folder that has CLIP's merges, if there is one.
    pub fn file(folder: &Path) -> Option<PathBuf> {
        FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
    }

    /// Loads the merges from such a file.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(ModelError::io(path))?;
        let zipped = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn Read> = if zipped { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        let mut text = String::new();
        reader.take(MAX_BYTES).read_to_string(&mut text).map_err(ModelError::io(path))?;
        let special = SPECIAL.join("|");
        let words = format!(r"(?i){special}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+");
        Ok(Self { merges: Merges::read(&text, path)?, words: Regex::new(&words).expect("the pattern is well-formed") })
    }

    /// The tokens of a text with start and end, at most 77: what is beyond is cut, be it within a word.
    pub fn tokens(&self, text: &str) -> Vec<u32> {
        let [start, end] = [self.merges.len(), self.merges.len() + 1];
        let mut tokens = vec![start];
        for word in self.words.find_iter(&clean(text)) {
            match SPECIAL.iter().position(|name| *name == word.as_str()) {
                Some(at) => tokens.push([start, end][at]),
                None => tokens.extend(self.merges.encode(word.as_str().as_bytes())),
            }
            if tokens.len() >= CONTEXT {
                break;
            }
        }
        tokens.truncate(CONTEXT - 1);
        tokens.push(end);
        tokens
    }

    /// The text that tokens stand for, a space behind every word. U+FFFD stands for a character that was cut in two.
    fn decode(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &token in tokens {
            match self.merges.part(token) {
                Some((part, end)) => {
                    bytes.extend_from_slice(part);
                    bytes.extend(end.then_some(b' '));
                }
                None => {
                    let name = SPECIAL.get((token - self.merges.len()) as usize);
                    bytes.extend_from_slice(name.copied().unwrap_or_default().as_bytes());
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text as the tokenizer gives it back: lower case, spaces between words, digits and punctuation, cut to what the
    /// text encoder takes. Empty only where [`is_blank_to_clip`].
    pub fn roundtrip(&self, text: &str) -> String {
        let tokens = self.tokens(text);
        self.decode(&tokens[1..tokens.len() - 1]).trim().to_owned()
    }
}
