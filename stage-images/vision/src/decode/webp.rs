//! WebP: the walk over its chunks up to the first frame, and that frame's pixels.

use std::io::Cursor;

use image::codecs::webp::WebPDecoder;

use super::bytes::Bytes;
use super::{DecodeLimits, Frame, Still, flatten};
use crate::{ImageReject, Rgb};

/// The bitstream of one frame, with its separate alpha plane if it has one.
#[derive(Default)]
struct Bitstream<'a> {
    alpha: Option<&'a [u8]>,
    image: Option<(&'static [u8; 4], &'a [u8])>,
}

impl<'a> Bitstream<'a> {
    /// Takes a chunk if it belongs to a frame; the first of each kind counts.
    fn offer(&mut self, kind: [u8; 4], payload: &'a [u8]) {
        match &kind {
            b"ALPH" => self.alpha = self.alpha.or(Some(payload)),
            b"VP8 " => self.image = self.image.or(Some((b"VP8 ", payload))),
            b"VP8L" => self.image = self.image.or(Some((b"VP8L", payload))),
            _ => {}
        }
    }

    /// The sides that the bitstream's own header names: these are what a decoder allocates.
    fn sides(&self) -> Result<(u32, u32), ImageReject> {
        match self.image {
            Some((b"VP8 ", &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..])) => {
                let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                Ok((side(w0, w1), side(h0, h1)))
            }
            Some((b"VP8L", &[0x2f, b0, b1, b2, b3, ..])) => {
                let bits = u32::from_le_bytes([b0, b1, b2, b3]);
                Ok(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
            }
            _ => Err(ImageReject::Corrupt),
        }
    }

    /// A file with this frame alone.
    fn file(&self, width: u32, height: u32) -> Vec<u8> {
        let mut body = b"WEBP".to_vec();
        let Some((kind, image)) = self.image else { return body };
        if let (b"VP8 ", Some(alpha)) = (kind, self.alpha) {
            let mut extended = vec![0x10, 0, 0, 0];
            extended.extend_from_slice(&(width - 1).to_le_bytes()[..3]);
            extended.extend_from_slice(&(height - 1).to_le_bytes()[..3]);
            push_chunk(&mut body, b"VP8X", &extended);
            push_chunk(&mut body, b"ALPH", alpha);
        }
        push_chunk(&mut body, kind, image);
        let mut file = Vec::with_capacity(body.len() + 8);
        push_chunk(&mut file, b"RIFF", &body);
        file
    }
}

fn push_chunk(out: &mut Vec<u8>, kind: &[u8; 4], payload: &[u8]) {
    out.extend_from_slice(kind);
    // A chunk was cut from a file within the limit on bytes, and a RIFF file is below 4 GiB.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
    if payload.len() % 2 == 1 {
        out.push(0);
    }
}

fn chunk<'a>(input: &mut Bytes<'a>) -> Result<([u8; 4], &'a [u8]), ImageReject> {
    let kind = input.array()?;
    let length = u32::from_le_bytes(input.array()?) as usize;
    let payload = input.take(length)?;
    // The last chunk's padding byte is often missing.
    if length % 2 == 1 && !input.is_at_end() {
        input.u8()?;
    }
    Ok((kind, payload))
}

fn u24(bytes: [u8; 3]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
}

/// Walks over the chunks that the RIFF header claims; later frames of an animation are stepped over.
pub(super) fn walk<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Still<'a>, ImageReject> {
    let mut input = Bytes::new(bytes);
    input.take(4)?;
    let claimed = u32::from_le_bytes(input.array()?) as usize;
    // Bytes behind the claimed end are nobody's; a missing padding byte at the end is common.
    let end = claimed.saturating_add(8).min(bytes.len());
    if claimed.saturating_add(8) > bytes.len() + 1 {
        return Err(ImageReject::Truncated);
    }
    let mut input = Bytes::new(bytes.get(12..end).ok_or(ImageReject::Corrupt)?);
    let (mut canvas, mut frame, mut exif) = (None, None, None);
    let mut bitstream = Bitstream::default();
    while !input.is_at_end() {
        let (kind, payload) = chunk(&mut input)?;
        match &kind {
            b"VP8X" => {
                let &[_, _, _, _, w0, w1, w2, h0, h1, h2, ..] = payload else { return Err(ImageReject::Corrupt) };
                let (width, height) = (u24([w0, w1, w2]) + 1, u24([h0, h1, h2]) + 1);
                limits.check_pixels(width, height)?;
                canvas = canvas.or(Some((width, height)));
            }
            b"ANMF" if frame.is_none() => {
                let mut inner = Bytes::new(payload);
                let [l0, l1, l2, t0, t1, t2, w0, w1, w2, h0, h1, h2, _, _, _, _] = inner.array()?;
                frame = Some(Frame {
                    left: u24([l0, l1, l2]) * 2,
                    top: u24([t0, t1, t2]) * 2,
                    width: u24([w0, w1, w2]) + 1,
                    height: u24([h0, h1, h2]) + 1,
                });
                while !inner.is_at_end() {
                    let (kind, payload) = chunk(&mut inner)?;
                    bitstream.offer(kind, payload);
                }
            }
            b"EXIF" => exif = exif.or(Some(payload.strip_prefix(b"Exif\0\0").unwrap_or(payload))),
            _ => bitstream.offer(kind, payload),
        }
    }
    let (width, height) = bitstream.sides()?;
    limits.check_pixels(width, height)?;
    let expected = frame.map(|f| (f.width, f.height)).or(canvas).unwrap_or((width, height));
    if expected != (width, height) || (frame.is_some() && canvas.is_none()) {
        return Err(ImageReject::Corrupt);
    }
    let clean = bitstream.file(width, height);
    let (width, height) = canvas.unwrap_or((width, height));
    Ok(Still { width, height, clean, frame, exif })
}

pub(super) fn pixels(still: &Still<'_>) -> Result<Rgb, ImageReject> {
    let decoder = WebPDecoder::new(Cursor::new(&still.clean)).map_err(|e| super::reject_of(&e))?;
    flatten(decoder, still)
}
