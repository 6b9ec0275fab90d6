//! Why an image is left out.

/// Why an image is left out. The list is closed: the names are written into data sets and counted in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum ImageReject {
    /// Not JPEG, PNG, WebP or GIF, or a kind of them that is not read (arithmetic, lossless or 12-bit JPEG).
    #[error("the image is of a format that is not read; convert it to JPEG, PNG, WebP or GIF")]
    UnsupportedFormat,
    /// The file is larger than [`DecodeLimits::max_bytes`](crate::DecodeLimits::max_bytes).
    #[error("the image file is larger than the limit; raise the limit on bytes or shrink the image")]
    TooManyBytes,
    /// Its header claims more pixels than [`DecodeLimits::max_pixels`](crate::DecodeLimits::max_pixels).
    #[error("the image claims more pixels than the limit; raise the limit on pixels or shrink the image")]
    TooManyPixels,
    /// The file ends before the image does.
    #[error("the image file ends before the image does; fetch it again")]
    Truncated,
    /// The file contradicts its own format.
    #[error("the image file contradicts its format; fetch it again or leave it out")]
    Corrupt,
    /// The shorter side is below the rule's least (paper §3.1).
    #[error("the image's shorter side is below the rule's least")]
    TooSmall,
    /// The longer side is more than the rule's multiple of the shorter one (paper §3.1).
    #[error("the image is longer and narrower than the rule allows")]
    BadAspect,
}

impl ImageReject {
    /// Every reason, in the order in which they are checked.
    pub const ALL: [Self; 7] = [
        Self::UnsupportedFormat,
        Self::TooManyBytes,
        Self::TooManyPixels,
        Self::Truncated,
        Self::Corrupt,
        Self::TooSmall,
        Self::BadAspect,
    ];

    /// The reason's name in data and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedFormat => "unsupported-format",
            Self::TooManyBytes => "too-many-bytes",
            Self::TooManyPixels => "too-many-pixels",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::TooSmall => "too-small",
            Self::BadAspect => "bad-aspect",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ImageReject;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = ImageReject::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ImageReject::ALL.len());
    }
}
