//! The size at which pictures are stored, and the stored form.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::Rgb;

/// The largest side a JPEG can have.
const MAX_JPEG_SIDE: u32 = 65_535;

/// Shrinks a picture so that its shorter side is `short_side` pixels, keeping its aspect ratio to the nearest pixel (halves up).
///
/// Never enlarges: a picture that is already that small, and any picture where `short_side` is 0, comes back as it is.
pub fn shrink(rgb: &Rgb, short_side: u32) -> Rgb {
    let (w, h) = (rgb.width(), rgb.height());
    let short = w.min(h);
    if short_side == 0 || short <= short_side {
        return rgb.clone();
    }
    let scale = |side: u32| {
        let scaled = (u64::from(side) * u64::from(short_side) * 2 + u64::from(short)) / (2 * u64::from(short));
        // Smaller than `side`, because the scale is below one.
        scaled.max(1) as u32
    };
    resize_exact(rgb, scale(w), scale(h))
}

/// Resizes to exactly `width` × `height` pixels (a side of 0 counts as 1), stretching where the aspect ratio differs.
///
/// Catmull-Rom, with the kernel widened when shrinking. Its weights are polynomials, so they don't depend on the platform's
/// `sin`, and 8-bit pixels are convolved in fixed point, so the bits are the same with and without SIMD.
pub fn resize_exact(rgb: &Rgb, width: u32, height: u32) -> Rgb {
    let (width, height) = (width.max(1), height.max(1));
    if (width, height) == (rgb.width(), rgb.height()) {
        return rgb.clone();
    }
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    let mut data = vec![0; width as usize * height as usize * 3];
    // Typed, because the other form is compiled once for each of the sixteen types of pixels.
    let source = TypedImageRef::<U8x3>::from_buffer(rgb.width(), rgb.height(), rgb.data());
    let target = TypedImage::<U8x3>::from_buffer(width, height, &mut data);
    let (source, mut target) = source.and_then(|source| Ok((source, target?))).expect("three bytes for each pixel");
    Resizer::new().resize_typed(&source, &mut target, &options).expect("nothing is cut out of the source");
    Rgb::new(width, height, data).expect("the target's buffer has exactly its pixels")
}

/// Writes a baseline JPEG with the standard Huffman tables and no metadata, at `quality` 1 to 100 (taken to the nearer end outside).
///
/// The same pixels and quality give the same bytes. A picture with a side above 65,535 is shrunk to fit, since JPEG has no larger ones.
pub fn encode_jpeg(rgb: &Rgb, quality: u8) -> Vec<u8> {
    let long = rgb.width().max(rgb.height());
    if long > MAX_JPEG_SIDE {
        let fit = |side: u32| (u64::from(side) * u64::from(MAX_JPEG_SIDE) / u64::from(long)).max(1) as u32;
        return encode_jpeg(&resize_exact(rgb, fit(rgb.width()), fit(rgb.height())), quality);
    }
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, quality.clamp(1, 100))
        .encode(rgb.data(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8)
        .expect("writing to memory cannot fail and the sides fit a JPEG");
    out
}
