//! A cursor over a file in memory that answers "truncated" where the file ends.

use crate::ImageReject;

/// Walks over a file's bytes.
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.all.len()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], ImageReject> {
        let end = self.at.checked_add(n).ok_or(ImageReject::Truncated)?;
        let taken = self.all.get(self.at..end).ok_or(ImageReject::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageReject> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| ImageReject::Truncated)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ImageReject> {
        Ok(self.array::<1>()?[0])
    }

    /// Steps to the next byte that equals `wanted`, or to the end.
    pub(super) fn skip_to(&mut self, wanted: u8) {
        let rest = &self.all[self.at..];
        self.at += rest.iter().position(|&b| b == wanted).unwrap_or(rest.len());
    }
}
