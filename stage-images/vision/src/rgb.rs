//! The one pixel format that leaves the decoder.

/// A picture: 8-bit RGB (as the file gives it, taken as sRGB), rows from the top, no padding, no metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl Rgb {
    /// A picture from `data: [height, width, 3]`; `None` if a side is zero or the length is not `width * height * 3`.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Option<Self> {
        let len = u64::from(width).checked_mul(u64::from(height))?.checked_mul(3)?;
        (len > 0 && u64::try_from(data.len()).ok()? == len).then_some(Self { width, height, data })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The samples, `[height, width, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The samples, `[height, width, 3]`, by value.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The rows from the top, each `[width, 3]`.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.data.chunks_exact(self.width as usize * 3)
    }
}

/// Lays one sample with transparency over white; `alpha` 0 is transparent.
pub(crate) fn over_white(sample: u8, alpha: u8) -> u8 {
    let (sample, alpha) = (u32::from(sample), u32::from(alpha));
    // The sum is at most 255 * 255, so the quotient fits.
    ((sample * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::{Rgb, over_white};

    #[test]
    fn a_wrong_length_or_an_empty_side_is_refused() {
        assert!(Rgb::new(2, 2, vec![0; 12]).is_some());
        assert!(Rgb::new(2, 2, vec![0; 11]).is_none());
        assert!(Rgb::new(0, 2, vec![]).is_none());
        assert!(Rgb::new(u32::MAX, u32::MAX, vec![0; 3]).is_none());
    }

    #[test]
    fn white_shows_through() {
        assert_eq!(over_white(10, 255), 10);
        assert_eq!(over_white(10, 0), 255);
        assert_eq!(over_white(0, 128), 127);
    }
}
