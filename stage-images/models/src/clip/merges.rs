//! Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) with CLIP's end-of-word mark.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::Path;

use crate::ModelError;

/// The merges that count. OpenAI's file goes on behind them.
pub(super) const COUNT: usize = 49_152 - 256 - 2;
/// Ends the last part of a word.
const END: &str = "</w>";
/// Ids of the bytes, then of the bytes at the end of a word, then of the merges.
const BYTES: u32 = 256;

/// A vocabulary: bytes, and what is merged from them.
pub(super) struct Merges {
    /// What two neighbours become. Ids grow with rank: the smallest is merged first.
    merged: HashMap<(u32, u32), u32>,
    /// What an id stands for: bytes, and whether a word ends there.
    parts: Vec<(Box<[u8]>, bool)>,
    /// The id of each byte.
    bytes: [u32; 256],
}

impl Merges {
    /// Reads the lines of a merges file: a line that says `#version`, then two parts a line.
    pub(super) fn read(text: &str, path: &Path) -> Result<Self, ModelError> {
        let mut lines = text.lines();
        if !lines.next().is_some_and(|first| first.contains("#version")) {
            return Err(ModelError::format(path, "the first line of a merges file says `#version`"));
        }
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).take(COUNT).collect();
        if lines.len() < COUNT {
            let reason = format!("has {} merges, and CLIP's vocabulary {COUNT}", lines.len());
            return Err(ModelError::format(path, reason));
        }
        Self::of(&lines).map_err(|(line, reason)| ModelError::format(path, format!("line {}: {reason}", line + 2)))
    }

    /// The vocabulary of merges, the most frequent first; or the index of a merge that cannot be, and why.
    fn of(merges: &[&str]) -> Result<Self, (usize, String)> {
        let alphabet = alphabet();
        let mut bytes = [0; 256];
        let mut ids: HashMap<String, u32> = HashMap::with_capacity(2 * BYTES as usize + merges.len());
        let mut parts: Vec<(Box<[u8]>, bool)> = Vec::with_capacity(2 * BYTES as usize + merges.len());
        for end in [false, true] {
            for (byte, letter) in &alphabet {
                let id = parts.len() as u32;
                ids.insert(format!("{letter}{}", if end { END } else { "" }), id);
                parts.push(([*byte].into(), end));
                bytes[usize::from(*byte)] = id % BYTES;
            }
        }
        let mut merged = HashMap::with_capacity(merges.len());
        for (at, line) in merges.iter().enumerate() {
            let wrong = |reason: &str| (at, format!("`{line}` {reason}"));
            let (left, right) = line.split_once(' ').ok_or_else(|| wrong("is not two parts"))?;
            let known = |part: &str| ids.get(part).copied().ok_or_else(|| wrong("merges what no line before it made"));
            let (a, b) = (known(left)?, known(right)?);
            let ((first, early), (last, end)) = (&parts[a as usize], &parts[b as usize]);
            if *early {
                return Err(wrong("goes on behind the end of a word"));
            }
            let part = ([&first[..], &last[..]].concat().into(), *end);
            let id = parts.len() as u32;
            if ids.insert(format!("{left}{right}"), id).is_some() {
                return Err(wrong("makes what another line made"));
            }
            parts.push(part);
            merged.insert((a, b), id);
        }
        Ok(Self { merged, parts, bytes })
    }

    /// The number of ids.
    pub(super) fn len(&self) -> u32 {
        self.parts.len() as u32
    }

    /// Bytes of an id, and whether a word ends behind them; `None` for an id that is not of this vocabulary.
    pub(super) fn part(&self, id: u32) -> Option<(&[u8], bool)> {
        self.parts.get(id as usize).map(|(bytes, end)| (&bytes[..], *end))
    }

    /// The ids of a word that is not empty: of all neighbours the pair of lowest rank is merged, the leftmost first, until
    /// there is none. n log n in the word's length.
    pub(super) fn encode(&self, word: &[u8]) -> Vec<u32> {
        let mut ids: Vec<u32> = word.iter().map(|byte| self.bytes[usize::from(*byte)]).collect();
        let last = ids.len() - 1;
        ids[last] += BYTES;
        // A merge keeps the left place, and the right one is passed over from then on.
        let mut before: Vec<Option<usize>> = (0..=last).map(|at| at.checked_sub(1)).collect();
        let mut after: Vec<Option<usize>> = (1..=last).map(Some).chain([None]).collect();
        let mut gone = vec![false; ids.len()];
        let pair = |ids: &[u32], left: usize, right: usize| self.merged.get(&(ids[left], ids[right])).copied();
        let mut queue: BinaryHeap<Reverse<(u32, usize)>> =
            (0..last).filter_map(|at| Some(Reverse((pair(&ids, at, at + 1)?, at)))).collect();
        while let Some(Reverse((id, left))) = queue.pop() {
            let Some(right) = after[left].filter(|_| !gone[left]) else { continue };
            // What is not made of these two any more was entered before one of them grew.
            if pair(&ids, left, right) != Some(id) {
                continue;
            }
            ids[left] = id;
            gone[right] = true;
            after[left] = after[right];
            if let Some(next) = after[left] {
                before[next] = Some(left);
                queue.extend(pair(&ids, left, next).map(|id| Reverse((id, left))));
            }
            if let Some(previous) = before[left] {
                queue.extend(pair(&ids, previous, left).map(|id| Reverse((id, previous))));
            }
        }
        ids.into_iter().zip(gone).filter(|(_, gone)| !gone).map(|(id, _)| id).collect()
    }
}

/// Bytes with the letters that stand for them, in the order of their ids: printable ones stand for themselves and come
/// first, the others are counted up from U+0100.
fn alphabet() -> Vec<(u8, char)> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let (shown, hidden): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).partition(printable);
    let hidden = hidden.into_iter().zip('\u{100}'..);
    shown.into_iter().map(|byte| (byte, char::from(byte))).chain(hidden).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(merges: &Merges, word: &str) -> Vec<String> {
        let show = |id| {
            let (bytes, end) = merges.part(id).unwrap();
            format!("{}{}", String::from_utf8_lossy(bytes), if end { "." } else { "" })
        };
        merges.encode(word.as_bytes()).into_iter().map(show).collect()
    }

    /// The definition: of the pairs that are there the one of lowest rank is merged wherever it is, from left to right.
    fn naive(merges: &Merges, word: &[u8]) -> Vec<u32> {
        let mut ids: Vec<u32> = word.iter().map(|b| merges.bytes[usize::from(*b)]).collect();
        *ids.last_mut().unwrap() += BYTES;
        while let Some(id) = ids.windows(2).filter_map(|w| merges.merged.get(&(w[0], w[1]))).min().copied() {
            let mut at = 0;
            while at + 1 < ids.len() {
                if merges.merged.get(&(ids[at], ids[at + 1])) == Some(&id) {
                    ids[at] = id;
                    ids.remove(at + 1);
                }
                at += 1;
            }
        }
        ids
    }

    #[test]
    fn the_lowest_rank_is_merged_first_and_a_word_knows_its_end() {
        let merges = Merges::of(&["a b</w>", "a a", "aa aa", "b c", "bc d</w>", "aa b</w>"]).unwrap();
        assert_eq!(shown(&merges, "ab"), ["ab."]);
        assert_eq!(shown(&merges, "aab"), ["a", "ab."], "rank before length");
        assert_eq!(shown(&merges, "aaaaa"), ["aaaa", "a."]);
        assert_eq!(shown(&merges, "abcd"), ["a", "bcd."]);
        assert_eq!(shown(&merges, "é"), ["\u{fffd}", "\u{fffd}."]);
    }

    #[test]
    fn the_queue_merges_as_the_definition_does() {
        let merges =
            Merges::of(&["a b", "b a", "a a", "ab a", "aa b</w>", "ba b</w>", "ab ab", "aba ba", "a a</w>"]).unwrap();
        for length in 1..=12 {
            for bits in 0..1u32 << length {
                let word: Vec<u8> = (0..length).map(|at| if bits >> at & 1 == 0 { b'a' } else { b'b' }).collect();
                assert_eq!(merges.encode(&word), naive(&merges, &word), "{}", String::from_utf8_lossy(&word));
            }
        }
    }

    #[test]
    fn what_is_no_vocabulary_is_refused_with_the_line() {
        let refused = |merges: &[&str]| Merges::of(merges).err().unwrap();
        assert_eq!(refused(&["a b", "ab"]), (1, "`ab` is not two parts".into()));
        assert_eq!(refused(&["ab c"]), (0, "`ab c` merges what no line before it made".into()));
        assert_eq!(refused(&["a b", "b c", "ab c", "a bc"]).0, 3);
        assert_eq!(refused(&["a</w> b"]).0, 0);
        let read = |text: &str| Merges::read(text, Path::new("merges.txt")).err().unwrap().to_string();
        assert!(read("i n\n").contains("#version"));
        assert!(read("#version: 0.2\ni n\n").contains("has 1 merges, and CLIP's vocabulary 48894"));
    }
}
