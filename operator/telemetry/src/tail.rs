//! The end of the log, kept in memory.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much of it is kept.
const BYTES: usize = 64 << 10;

/// The last 64 KiB of what is written to it. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tail(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// Whether something before them is gone.
    cut: bool,
}

impl Tail {
    /// What is kept, in whole lines.
    pub fn lines(&self) -> Vec<u8> {
        let kept = self.kept();
        let line = if kept.cut { kept.bytes.iter().position(|b| *b == b'\n').map_or(0, |end| end + 1) } else { 0 };
        kept.bytes.range(line..).copied().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.kept();
        let last = &bytes[bytes.len().saturating_sub(BYTES)..];
        let gone = (kept.bytes.len() + last.len()).saturating_sub(BYTES);
        kept.bytes.drain(..gone);
        kept.bytes.extend(last);
        kept.cut |= gone > 0 || last.len() < bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_in_whole_lines() {
        let mut tail = Tail::default();
        tail.write_all(b"first\n").unwrap();
        assert_eq!(tail.lines(), b"first\n");
        for n in 0..10_000 {
            writeln!(tail, "line {n:05}").unwrap();
        }
        // Lines of eleven bytes: as many whole ones as fit behind the one that was cut.
        let lines = tail.lines();
        assert_eq!(lines.len(), BYTES / 11 * 11);
        assert!(lines.starts_with(format!("line {:05}\n", 10_000 - BYTES / 11).as_bytes()));
        assert!(lines.ends_with(b"line 09999\n"));
        tail.write_all(&[b'x'; BYTES + 1]).unwrap();
        assert_eq!(tail.lines().len(), BYTES);
    }
}
