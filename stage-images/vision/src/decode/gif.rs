//! GIF: the walk up to the end of its first frame, and that frame's pixels.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;

use super::bytes::Bytes;
use super::{DecodeLimits, Frame, Still, flatten};
use crate::{ImageReject, Rgb};

const TRAILER: u8 = 0x3b;

/// Walks over the blocks up to the end of the first frame; the copy's canvas is that frame.
pub(super) fn walk<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Still<'a>, ImageReject> {
    let mut input = Bytes::new(bytes);
    let signature = input.take(6)?;
    let [w0, w1, h0, h1, packed, background, ratio] = input.array()?;
    let (width, height) = (u16::from_le_bytes([w0, w1]).into(), u16::from_le_bytes([h0, h1]).into());
    limits.check_pixels(width, height)?;
    let palette = input.take(palette_bytes(packed))?;
    let mut control: &[u8] = &[];
    loop {
        let start = input.at();
        match input.u8()? {
            0x21 => {
                let label = input.u8()?;
                sub_blocks(&mut input)?;
                if label == 0xf9 {
                    control = &bytes[start..input.at()];
                }
            }
            0x2c => {
                let [l0, l1, t0, t1, fw0, fw1, fh0, fh1, frame_packed] = input.array()?;
                let frame = Frame {
                    left: u16::from_le_bytes([l0, l1]).into(),
                    top: u16::from_le_bytes([t0, t1]).into(),
                    width: u16::from_le_bytes([fw0, fw1]).into(),
                    height: u16::from_le_bytes([fh0, fh1]).into(),
                };
                limits.check_pixels(frame.width, frame.height)?;
                let data = input.at();
                input.take(palette_bytes(frame_packed))?;
                input.u8()?;
                sub_blocks(&mut input)?;
                let mut clean = signature.to_vec();
                clean.extend_from_slice(&[fw0, fw1, fh0, fh1, packed, background, ratio]);
                clean.extend_from_slice(palette);
                clean.extend_from_slice(control);
                clean.extend_from_slice(&[0x2c, 0, 0, 0, 0, fw0, fw1, fh0, fh1, frame_packed]);
                clean.extend_from_slice(&bytes[data..input.at()]);
                clean.push(TRAILER);
                return Ok(Still { width, height, clean, frame: Some(frame), exif: None });
            }
            // The end of the file without a frame, or a block that does not exist.
            _ => return Err(ImageReject::Corrupt),
        }
    }
}

fn palette_bytes(packed: u8) -> usize {
    if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) }
}

fn sub_blocks(input: &mut Bytes<'_>) -> Result<(), ImageReject> {
    loop {
        let length = input.u8()?;
        if length == 0 {
            return Ok(());
        }
        input.take(usize::from(length))?;
    }
}

pub(super) fn pixels(still: &Still<'_>) -> Result<Rgb, ImageReject> {
    let decoder = GifDecoder::new(Cursor::new(&still.clean)).map_err(|e| super::reject_of(&e))?;
    flatten(decoder, still)
}
