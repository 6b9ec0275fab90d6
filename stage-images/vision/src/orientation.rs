//! The orientation that a camera wrote beside the pixels.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Rgb;

/// No EXIF block above this length is parsed: a JPEG cannot hold a longer one, and other formats do not need to.
const MAX_EXIF_BYTES: usize = 1 << 16;

/// The EXIF orientation, 1 to 8; 1 (as stored) where the block is broken, too long, or says nothing.
///
/// `exif` starts with the TIFF header (`II` or `MM`).
pub(crate) fn orientation(exif: &[u8]) -> u8 {
    if exif.len() > MAX_EXIF_BYTES {
        return 1;
    }
    let parse = || {
        let mut reader = exif::Reader::new();
        reader.continue_on_error(true);
        let parsed = reader.read_raw(exif.to_vec()).or_else(|e| e.distill_partial_result(|_| {})).ok()?;
        let field = parsed.get_field(exif::Tag::Orientation, exif::In::PRIMARY)?;
        u8::try_from(field.value.get_uint(0)?).ok().filter(|v| (1..=8).contains(v))
    };
    // A broken block must cost its orientation, never the picture.
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten().unwrap_or(1)
}

/// Turns and mirrors a picture so that it stands as EXIF `orientation` says; any value outside 2 to 8 leaves it as it is.
pub(crate) fn apply(rgb: Rgb, orientation: u8) -> Rgb {
    if !(2..=8).contains(&orientation) {
        return rgb;
    }
    let (w, h) = (rgb.width() as usize, rgb.height() as usize);
    let turned = orientation >= 5;
    let (out_w, out_h) = if turned { (h, w) } else { (w, h) };
    let source = rgb.data();
    let mut data = Vec::with_capacity(source.len());
    for y in 0..out_h {
        for x in 0..out_w {
            let (sx, sy) = match orientation {
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (y, h - 1 - x),
                7 => (w - 1 - y, h - 1 - x),
                _ => (w - 1 - y, x),
            };
            let at = (sy * w + sx) * 3;
            data.extend_from_slice(&source[at..at + 3]);
        }
    }
    let (width, height) = if turned { (rgb.height(), rgb.width()) } else { (rgb.width(), rgb.height()) };
    // Every pixel moved exactly once, so the length is the source's.
    Rgb::new(width, height, data).unwrap_or(rgb)
}

#[cfg(test)]
mod tests {
    use super::{apply, orientation};
    use crate::Rgb;

    /// 3 × 2 pixels, each its own letter: `abc` over `def`.
    fn letters() -> Rgb {
        Rgb::new(3, 2, b"abcdef".iter().flat_map(|&c| [c; 3]).collect()).unwrap()
    }

    fn read(rgb: &Rgb) -> Vec<String> {
        rgb.rows().map(|row| row.chunks(3).map(|p| p[0] as char).collect()).collect()
    }

    #[test]
    fn all_eight_orientations() {
        let want: [&[&str]; 8] = [
            &["abc", "def"],
            &["cba", "fed"],
            &["fed", "cba"],
            &["def", "abc"],
            &["ad", "be", "cf"],
            &["da", "eb", "fc"],
            &["fc", "eb", "da"],
            &["cf", "be", "ad"],
        ];
        for (i, want) in want.iter().enumerate() {
            assert_eq!(read(&apply(letters(), i as u8 + 1)), *want, "orientation {}", i + 1);
        }
        assert_eq!(apply(letters(), 9), letters());
    }

    #[test]
    fn broken_blocks_say_nothing() {
        assert_eq!(orientation(b""), 1);
        assert_eq!(orientation(b"II*\0"), 1);
        assert_eq!(orientation(&[0xff; 500]), 1);
        assert_eq!(orientation(&vec![0; 1 << 20]), 1);
        // A directory that points at itself.
        assert_eq!(orientation(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"), 1);
        // Orientation 6, then orientation 77.
        let block = |value: u8| {
            let mut b = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
            b.extend_from_slice(&[value, 0, 0, 0, 0, 0, 0]);
            b
        };
        assert_eq!(orientation(&block(6)), 6);
        assert_eq!(orientation(&block(77)), 1);
    }
}
