//! Variants of the formats that come from other encoders: see `fixtures/make.py` for what the picture shows.

use realsyn_vision::{DecodeLimits, Format, ImageReject, decode};

/// The picture's colour at x, y.
fn meant(x: usize, y: usize) -> [f64; 3] {
    [x as f64 * 4.0, y as f64 * 5.0, 64.0]
}

/// The mean difference in levels from what is meant at `x >= from`.
fn error(file: &[u8], format: Format, from: usize, meant: impl Fn(usize, usize) -> [f64; 3]) -> f64 {
    let got = decode(file, &DecodeLimits::default()).unwrap();
    assert_eq!((got.format, got.rgb.width(), got.rgb.height()), (format, 64, 48));
    let (mut sum, mut n) = (0.0, 0.0);
    for (y, row) in got.rgb.rows().enumerate() {
        for (x, pixel) in row.chunks(3).enumerate().skip(from) {
            let want = meant(x, y);
            sum += (0..3).map(|c| (f64::from(pixel[c]) - want[c]).abs()).sum::<f64>() / 3.0;
            n += 1.0;
        }
    }
    sum / n
}

#[test]
fn progressive_cmyk_and_grey_jpeg() {
    // A smooth ramp at quality 90 and above stays within about a level and a half; wrong colours are tens of levels off.
    assert!(error(include_bytes!("fixtures/progressive.jpg"), Format::Jpeg, 0, meant) < 2.5);
    assert!(error(include_bytes!("fixtures/cmyk.jpg"), Format::Jpeg, 0, meant) < 2.5);
    let luma = |x, y| {
        let [r, g, b] = meant(x, y);
        [0.299 * r + 0.587 * g + 0.114 * b; 3]
    };
    assert!(error(include_bytes!("fixtures/grey.jpg"), Format::Jpeg, 0, luma) < 2.5);
}

#[test]
fn lossy_transparent_and_animated_webp() {
    assert!(error(include_bytes!("fixtures/lossy.webp"), Format::WebP, 0, meant) < 4.0);
    // The first frame, not the black one.
    assert!(error(include_bytes!("fixtures/animated.webp"), Format::WebP, 0, meant) < 4.0);
    let alpha = include_bytes!("fixtures/alpha.webp");
    assert!(error(alpha, Format::WebP, 20, meant) < 4.0);
    let left = decode(alpha, &DecodeLimits::default()).unwrap().rgb;
    assert!(left.rows().all(|row| row[..12 * 3].iter().all(|&v| v == 255)), "what is transparent must be white");
}

#[test]
fn a_png_palette_of_two_bits() {
    // Four colours for a whole ramp: near on average, no more.
    assert!(error(include_bytes!("fixtures/palette.png"), Format::Png, 0, meant) < 50.0);
}

#[test]
fn arithmetic_and_twelve_bit_jpeg_are_unsupported_by_name() {
    let whole = include_bytes!("fixtures/progressive.jpg");
    let frame = whole.windows(2).position(|w| w == [0xff, 0xc2]).unwrap();
    let with = |at: usize, value: u8| {
        let mut file = whole.to_vec();
        file[at] = value;
        decode(&file, &DecodeLimits::default())
    };
    assert_eq!(with(frame + 1, 0xc9), Err(ImageReject::UnsupportedFormat));
    assert_eq!(with(frame + 4, 12), Err(ImageReject::UnsupportedFormat));
}

#[test]
fn other_webp_cut_anywhere_is_refused() {
    for whole in [
        &include_bytes!("fixtures/lossy.webp")[..],
        include_bytes!("fixtures/alpha.webp"),
        include_bytes!("fixtures/animated.webp"),
    ] {
        for cut in (12..whole.len() - 1).step_by(7) {
            let got = decode(&whole[..cut], &DecodeLimits::default());
            assert_eq!(got, Err(ImageReject::Truncated), "cut at {cut} of {}", whole.len());
        }
    }
}
