//! JPEG (ITU T.81): the walk over its marker segments, and its pixels.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::bytes::Bytes;
use super::{DecodeLimits, Still};
use crate::{ImageReject, Rgb};

/// More scans than any encoder writes; each one walks over the whole picture, so they bound the time.
const MAX_SCANS: usize = 100;

/// Walks from marker to marker up to the end of the image; keeps tables, frame, scans and what tells the colour space.
pub(super) fn walk<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Still<'a>, ImageReject> {
    let mut input = Bytes::new(bytes);
    let mut clean = input.take(2)?.to_vec();
    let mut sides = None;
    let mut exif = None;
    let mut scans = 0;
    loop {
        let marker = next_marker(&mut input)?;
        match marker {
            // Restarts outside a scan, a second start of image, and the reserved one without a length.
            0x01 | 0xd0..=0xd8 => continue,
            0xd9 => break,
            _ => {}
        }
        let length = input.array::<2>()?;
        let payload = usize::from(u16::from_be_bytes(length)).checked_sub(2).ok_or(ImageReject::Corrupt)?;
        let payload = input.take(payload)?;
        match marker {
            0xc0..=0xc2 => {
                // Two frames would let a small one pass the check and a large one be decoded.
                if sides.is_some() {
                    return Err(ImageReject::Corrupt);
                }
                let &[precision, h1, h0, w1, w0, ..] = payload else { return Err(ImageReject::Corrupt) };
                if precision != 8 {
                    return Err(ImageReject::UnsupportedFormat);
                }
                let (width, height) = (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
                limits.check_pixels(width, height)?;
                sides = Some((width, height));
            }
            // Lossless, hierarchical and arithmetic coding.
            0xc3 | 0xc5..=0xcf => return Err(ImageReject::UnsupportedFormat),
            0xe1 => {
                exif = exif.or_else(|| payload.strip_prefix(b"Exif\0\0"));
                continue;
            }
            // Huffman and quantisation tables, restart interval, JFIF, Adobe, start of scan.
            0xc4 | 0xdb | 0xdd | 0xe0 | 0xee | 0xda => {}
            _ => continue,
        }
        clean.extend_from_slice(&[0xff, marker]);
        clean.extend_from_slice(&length);
        clean.extend_from_slice(payload);
        if marker == 0xda {
            scans += 1;
            if sides.is_none() || scans > MAX_SCANS {
                return Err(ImageReject::Corrupt);
            }
            clean.extend_from_slice(entropy_coded(bytes, &mut input)?);
        }
    }
    clean.extend_from_slice(&[0xff, 0xd9]);
    let (width, height) = sides.filter(|_| scans > 0).ok_or(ImageReject::Corrupt)?;
    Ok(Still { width, height, clean, frame: None, exif })
}

/// The next marker's code; stray bytes before it are stepped over, as every decoder does.
fn next_marker(input: &mut Bytes<'_>) -> Result<u8, ImageReject> {
    loop {
        input.skip_to(0xff);
        let mut code = input.u8()?;
        while code == 0xff {
            code = input.u8()?;
        }
        if code != 0 {
            return Ok(code);
        }
    }
}

/// A scan's data, up to the first marker that is no restart.
fn entropy_coded<'a>(bytes: &'a [u8], input: &mut Bytes<'a>) -> Result<&'a [u8], ImageReject> {
    let start = input.at();
    loop {
        input.skip_to(0xff);
        let end = input.at();
        // `next_marker` must find the same marker, so look ahead on a copy.
        let mut ahead = Bytes::new(&bytes[end..]);
        let mut code = ahead.array::<2>()?[1];
        while code == 0xff {
            code = ahead.u8()?;
        }
        if code != 0 && !(0xd0..=0xd7).contains(&code) {
            return Ok(&bytes[start..end]);
        }
        input.take(ahead.at())?;
    }
}

/// Decodes strictly: missing or impossible entropy-coded data is an error.
pub(super) fn pixels(still: &Still<'_>) -> Result<Rgb, ImageReject> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_max_scans(MAX_SCANS);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(still.clean.as_slice()), options);
    decoder.decode_headers().map_err(|e| reject_of(&e))?;
    let grey = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => true,
        Some(ColorSpace::RGB | ColorSpace::YCbCr | ColorSpace::CMYK | ColorSpace::YCCK) => false,
        _ => return Err(ImageReject::UnsupportedFormat),
    };
    let target = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(target));
    let raw = decoder.decode().map_err(|e| reject_of(&e))?;
    let data = if grey { raw.iter().flat_map(|&l| [l; 3]).collect() } else { raw };
    Rgb::new(still.width, still.height, data).ok_or(ImageReject::Corrupt)
}

fn reject_of(error: &DecodeErrors) -> ImageReject {
    match error {
        DecodeErrors::Unsupported(_) => ImageReject::UnsupportedFormat,
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => ImageReject::Truncated,
        _ => ImageReject::Corrupt,
    }
}
