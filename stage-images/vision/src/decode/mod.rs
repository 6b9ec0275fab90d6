//! Bounded decoding of untrusted image files.
//!
//! Each format is first walked by its container's own rules: that finds the sides, finds out whether the file is whole, and
//! leaves a copy that holds one picture and nothing else. Metadata, colour profiles, text, thumbnails and further frames never
//! reach a decoder, so they can neither cost memory nor survive into the data set.
//!
//! Colour profiles are ignored: samples are taken as sRGB.

mod bytes;
mod gif;
mod jpeg;
mod png;
mod webp;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::rgb::over_white;
use crate::{ImageReject, Rgb, orientation};

/// What a file may cost. Peak memory is about `max_bytes + 12 * max_pixels` bytes beside the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The longest file, in bytes.
    pub max_bytes: usize,
    /// The most pixels, width times height, of the canvas and of the frame on it.
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_pixels: 64_000_000 }
    }
}

impl DecodeLimits {
    fn check_pixels(&self, width: u32, height: u32) -> Result<(), ImageReject> {
        if width == 0 || height == 0 {
            return Err(ImageReject::Corrupt);
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageReject::TooManyPixels);
        }
        Ok(())
    }
}

/// A file's format, told from its first bytes, never from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Baseline, extended or progressive JPEG with Huffman coding and 8 bits a sample.
    Jpeg,
    /// PNG; of an animated one, the default image.
    Png,
    /// WebP, lossy or lossless; of an animated one, the first frame.
    WebP,
    /// GIF, the first frame.
    Gif,
}

impl Format {
    /// The format's name in data and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
        }
    }

    fn sniff(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            Some(Self::Jpeg)
        } else if bytes.starts_with(png::SIGNATURE) {
            Some(Self::Png)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::WebP)
        } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
            Some(Self::Gif)
        } else {
            None
        }
    }
}

/// What a file's header says, before any pixel is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The file's format.
    pub format: Format,
    /// Width in pixels, before the orientation is applied.
    pub width: u32,
    /// Height in pixels, before the orientation is applied.
    pub height: u32,
}

/// A decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The pixels as they are meant to be seen: oriented, over white, without metadata.
    pub rgb: Rgb,
    /// The file's format.
    pub format: Format,
    /// The file's own width in pixels, before the orientation is applied.
    pub source_width: u32,
    /// The file's own height in pixels, before the orientation is applied.
    pub source_height: u32,
}

/// One still picture, cut out of its container.
struct Still<'a> {
    width: u32,
    height: u32,
    /// A file of the same format that holds this picture and nothing else.
    clean: Vec<u8>,
    /// The frame's place on the canvas, where it is not the whole canvas.
    frame: Option<Frame>,
    exif: Option<&'a [u8]>,
}

/// Where a first frame lies on the canvas, in pixels. It may reach over the edge.
#[derive(Clone, Copy)]
struct Frame {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// Decodes a JPEG, PNG, WebP or GIF file to upright RGB over white.
///
/// A JPEG counts as whole only if its end-of-image marker is found behind its scans, and its scans are decoded strictly:
/// one that is cut off anywhere is refused, never half grey. The price is that the few files that lack nothing but that
/// marker are refused too. A file that was cut and then closed with that marker by another program is not told from a
/// whole one. A GIF or animated WebP is whole if its first frame is; the other frames are never read.
///
/// # Errors
/// - [`ImageReject::UnsupportedFormat`]: the first bytes are of no known format, or of a variant that is not read;
/// - [`ImageReject::TooManyBytes`], [`ImageReject::TooManyPixels`]: `limits`, checked before pixel memory is allocated;
/// - [`ImageReject::Truncated`]: the file ends before the picture does;
/// - [`ImageReject::Corrupt`]: anything else that the format forbids.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, ImageReject> {
    decode_if(bytes, limits, |_| Ok(()))
}

/// As [`decode`], if `accepts` the header of what has been found to be a whole file: so a picture that a rule on size or shape
/// refuses costs no decoding.
///
/// # Errors
/// As [`decode`]; what `accepts` says comes before what only the pixels' data can show.
pub fn decode_if(
    bytes: &[u8],
    limits: &DecodeLimits,
    accepts: impl FnOnce(&Header) -> Result<(), ImageReject>,
) -> Result<Decoded, ImageReject> {
    let (format, still) = walk(bytes, limits)?;
    accepts(&Header { format, width: still.width, height: still.height })?;
    let pixels = || match format {
        Format::Jpeg => jpeg::pixels(&still),
        Format::Png => png::pixels(&still),
        Format::WebP => webp::pixels(&still),
        Format::Gif => gif::pixels(&still),
    };
    // The last resort against a decoder's own mistakes; the decoders hold no state that outlives the call.
    let rgb = catch_unwind(AssertUnwindSafe(pixels)).unwrap_or(Err(ImageReject::Corrupt))?;
    let rgb = match still.frame {
        None => rgb,
        Some(frame) => on_canvas(&rgb, frame, still.width, still.height)?,
    };
    if (rgb.width(), rgb.height()) != (still.width, still.height) {
        return Err(ImageReject::Corrupt);
    }
    let turn = still.exif.map_or(1, orientation::orientation);
    Ok(Decoded { rgb: orientation::apply(rgb, turn), format, source_width: still.width, source_height: still.height })
}

fn walk<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<(Format, Still<'a>), ImageReject> {
    let format = Format::sniff(bytes).ok_or(ImageReject::UnsupportedFormat)?;
    if bytes.len() > limits.max_bytes {
        return Err(ImageReject::TooManyBytes);
    }
    let still = match format {
        Format::Jpeg => jpeg::walk(bytes, limits),
        Format::Png => png::walk(bytes, limits),
        Format::WebP => webp::walk(bytes, limits),
        Format::Gif => gif::walk(bytes, limits),
    }?;
    Ok((format, still))
}

/// Lays a frame on a white canvas; what reaches over the edge is cut.
fn on_canvas(rgb: &Rgb, frame: Frame, width: u32, height: u32) -> Result<Rgb, ImageReject> {
    if (rgb.width(), rgb.height()) != (frame.width, frame.height) {
        return Err(ImageReject::Corrupt);
    }
    let (w, h) = (width as usize, height as usize);
    let mut data = vec![255; w * h * 3];
    let columns = w.saturating_sub(frame.left as usize).min(frame.width as usize) * 3;
    if columns > 0 {
        let canvas = data.chunks_exact_mut(w * 3).skip(frame.top as usize);
        for (to, from) in canvas.zip(rgb.rows()) {
            let left = frame.left as usize * 3;
            to[left..left + columns].copy_from_slice(&from[..columns]);
        }
    }
    Rgb::new(width, height, data).ok_or(ImageReject::Corrupt)
}

/// Reads a decoder of the `image` crate into RGB over white.
fn flatten(decoder: impl image::ImageDecoder, still: &Still<'_>) -> Result<Rgb, ImageReject> {
    let (width, height) = still.frame.map_or((still.width, still.height), |f| (f.width, f.height));
    // The sides were checked against the limits by the walk; a decoder that sees others has been fooled.
    if decoder.dimensions() != (width, height) {
        return Err(ImageReject::Corrupt);
    }
    let color = decoder.color_type();
    let len = usize::try_from(decoder.total_bytes()).map_err(|_| ImageReject::TooManyPixels)?;
    let mut raw = vec![0; len];
    decoder.read_image(&mut raw).map_err(|e| reject_of(&e))?;
    let data = match color {
        image::ColorType::Rgb8 => raw,
        image::ColorType::L8 => raw.iter().flat_map(|&l| [l; 3]).collect(),
        image::ColorType::La8 => raw.chunks_exact(2).flat_map(|p| [over_white(p[0], p[1]); 3]).collect(),
        image::ColorType::Rgba8 => to_rgb(&raw, 4, |p| [0, 1, 2].map(|c| over_white(p[c], p[3]))),
        image::ColorType::L16 => to_rgb(&raw, 2, |p| [narrow(p, 0); 3]),
        image::ColorType::La16 => to_rgb(&raw, 4, |p| [over_white(narrow(p, 0), narrow(p, 1)); 3]),
        image::ColorType::Rgb16 => to_rgb(&raw, 6, |p| [0, 1, 2].map(|c| narrow(p, c))),
        image::ColorType::Rgba16 => to_rgb(&raw, 8, |p| [0, 1, 2].map(|c| over_white(narrow(p, c), narrow(p, 3)))),
        _ => return Err(ImageReject::UnsupportedFormat),
    };
    Rgb::new(width, height, data).ok_or(ImageReject::Corrupt)
}

fn to_rgb(raw: &[u8], pixel_bytes: usize, convert: impl Fn(&[u8]) -> [u8; 3]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() / pixel_bytes * 3);
    for pixel in raw.chunks_exact(pixel_bytes) {
        out.extend_from_slice(&convert(pixel));
    }
    out
}

/// A 16-bit sample to the nearest 8-bit one: 0 to 0, 65,535 to 255.
fn narrow(pixel: &[u8], channel: usize) -> u8 {
    let sample = u32::from(u16::from_ne_bytes([pixel[channel * 2], pixel[channel * 2 + 1]]));
    // At most (65,535 * 255 + 32,767) / 65,535 = 255.
    ((sample * 255 + 32_767) / 65_535) as u8
}

fn reject_of(error: &image::ImageError) -> ImageReject {
    match error {
        image::ImageError::Unsupported(_) => ImageReject::UnsupportedFormat,
        image::ImageError::Limits(_) => ImageReject::TooManyPixels,
        image::ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => ImageReject::Truncated,
        _ => ImageReject::Corrupt,
    }
}
