//! The end of each of several logs that come one after the other, each below a line of its own.

use std::collections::VecDeque;

/// What begins such a line; the worker writes it.
const HEAD: &str = "── ";
/// Nobody writes a longer line.
const LONGEST: usize = 1 << 20;

/// Passes on heads, and of what follows each the last so many lines.
#[derive(Debug)]
pub struct LastLines {
    most: usize,
    /// The line that has begun.
    line: Vec<u8>,
    kept: VecDeque<Vec<u8>>,
}

impl LastLines {
    /// Of each log so many lines.
    pub fn new(most: usize) -> Self {
        Self { most, line: Vec::new(), kept: VecDeque::new() }
    }

    /// More of what is printed.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn take(&mut self, text: &[u8], sink: &mut impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") || self.line.len() > LONGEST {
                self.end_line(sink)?;
            }
        }
        Ok(())
    }

    /// Nothing follows.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn end(&mut self, sink: &mut impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        self.end_line(sink)?;
        self.kept.drain(..).try_for_each(|line| sink(&line))
    }

    fn end_line(&mut self, sink: &mut impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if line.starts_with(HEAD.as_bytes()) {
            self.kept.drain(..).try_for_each(|line| sink(&line))?;
            return sink(&line);
        }
        if !line.is_empty() {
            self.kept.push_back(line);
            if self.kept.len() > self.most {
                self.kept.pop_front();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_log_the_end_is_passed_on_wherever_it_is_cut() {
        let printed = "── task 0, a\none\ntwo\nthree\n── task 1, b\n── task 2, c\nfour".as_bytes();
        for cut in 0..printed.len() {
            let (mut last, mut seen) = (LastLines::new(2), Vec::new());
            let mut sink = |text: &[u8]| {
                seen.extend_from_slice(text);
                Ok(())
            };
            last.take(&printed[..cut], &mut sink).unwrap();
            last.take(&printed[cut..], &mut sink).unwrap();
            last.end(&mut sink).unwrap();
            let expected = "── task 0, a\ntwo\nthree\n── task 1, b\n── task 2, c\nfour";
            assert_eq!(String::from_utf8(seen).unwrap(), expected, "cut at {cut}");
        }
    }
}
