//! PNG: the walk over its chunks, and its pixels.

use std::io::Cursor;

use image::Limits;
use image::codecs::png::PngDecoder;

use super::bytes::Bytes;
use super::{DecodeLimits, Still, flatten};
use crate::{ImageReject, Rgb};

pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Walks from chunk to chunk up to `IEND`; keeps header, palette, transparency and image data.
pub(super) fn walk<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Still<'a>, ImageReject> {
    let mut input = Bytes::new(bytes);
    let mut clean = input.take(SIGNATURE.len())?.to_vec();
    let mut sides = None;
    let mut exif = None;
    loop {
        let start = input.at();
        let length = u32::from_be_bytes(input.array()?) as usize;
        let kind = input.array::<4>()?;
        if sides.is_none() != (&kind == b"IHDR") {
            return Err(ImageReject::Corrupt);
        }
        let payload = input.take(length)?;
        input.take(4)?;
        match &kind {
            b"IHDR" => {
                let &[w3, w2, w1, w0, h3, h2, h1, h0, ..] = payload else { return Err(ImageReject::Corrupt) };
                let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
                limits.check_pixels(width, height)?;
                sides = Some((width, height));
            }
            b"PLTE" | b"tRNS" | b"IDAT" | b"IEND" => {}
            b"eXIf" => {
                exif = exif.or(Some(payload));
                continue;
            }
            _ => continue,
        }
        clean.extend_from_slice(&bytes[start..input.at()]);
        if &kind == b"IEND" {
            break;
        }
    }
    let (width, height) = sides.ok_or(ImageReject::Corrupt)?;
    Ok(Still { width, height, clean, frame: None, exif })
}

/// Decodes the image data; checksums of the chunks that matter are verified.
pub(super) fn pixels(still: &Still<'_>) -> Result<Rgb, ImageReject> {
    let mut limits = Limits::no_limits();
    // Rows and chunks in flight; a picture's row is at most 8 bytes a pixel.
    limits.max_alloc = Some(u64::from(still.width) * 32 + (16 << 20) + still.clean.len() as u64);
    let decoder = PngDecoder::with_limits(Cursor::new(&still.clean), limits).map_err(|e| super::reject_of(&e))?;
    flatten(decoder, still)
}
