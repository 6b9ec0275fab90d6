//! Hostile and broken files: each is refused by name or decoded, none panics, none costs more than its limits.

mod common;

use std::panic::catch_unwind;

use common::{Keyed, parallel, texture};
use image::{ColorType, ExtendedColorType, ImageEncoder, codecs};
use realsyn_vision::ImageReject::{self, *};
use realsyn_vision::{
    DecodeLimits, Decoded, Format, Header, Rgb, ShapeRules, decode, decode_if, encode_jpeg, resize_exact,
};

fn read(bytes: &[u8]) -> Result<Decoded, ImageReject> {
    catch_unwind(|| decode(bytes, &DecodeLimits::default())).expect("decode panicked")
}

fn small() -> Rgb {
    resize_exact(&texture(0), 120, 104)
}

fn png(rgb: &Rgb) -> Vec<u8> {
    let mut out = Vec::new();
    codecs::png::PngEncoder::new(&mut out)
        .write_image(rgb.data(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8)
        .unwrap();
    out
}

fn webp(rgb: &Rgb) -> Vec<u8> {
    let mut out = Vec::new();
    codecs::webp::WebPEncoder::new_lossless(&mut out)
        .encode(rgb.data(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8)
        .unwrap();
    out
}

fn gif(rgb: &Rgb) -> Vec<u8> {
    let mut out = Vec::new();
    codecs::gif::GifEncoder::new(&mut out)
        .encode(rgb.data(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8)
        .unwrap();
    out
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

fn chunk(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), payload].concat();
    [&(payload.len() as u32).to_be_bytes()[..], &body, &crc(&body).to_be_bytes()].concat()
}

/// A PNG of any claimed size, 8-bit grey, with any image data.
fn forged_png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", data), chunk(b"IEND", &[])].concat()
}

#[test]
fn a_huge_claim_is_refused_before_any_pixel() {
    let bomb = forged_png(60_000, 60_000, &[0x78, 0x01]);
    assert_eq!(read(&bomb), Err(TooManyPixels));
    assert_eq!(read(&forged_png(u32::MAX, u32::MAX, &[])), Err(TooManyPixels));
    assert_eq!(read(&forged_png(0, 5, &[])), Err(Corrupt));
    let mut jpeg = encode_jpeg(&small(), 80);
    let sof = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[sof + 5..sof + 9].copy_from_slice(&[0xff; 4]);
    assert_eq!(read(&jpeg), Err(TooManyPixels));
    let mut gif = gif(&small());
    gif[6..10].copy_from_slice(&[0xff; 4]);
    assert_eq!(read(&gif), Err(TooManyPixels));
    let limits = DecodeLimits { max_bytes: 100, ..DecodeLimits::default() };
    assert_eq!(decode(&jpeg, &limits), Err(TooManyBytes));
}

#[test]
fn what_the_header_shows_is_refused_before_any_pixel() {
    // Its pixels' data are no data.
    let tiny = forged_png(20, 30, b"not zlib");
    let accepts = |header: &Header| {
        assert_eq!((header.format, header.width, header.height), (Format::Png, 20, 30));
        ShapeRules { min_side: 100, max_aspect: 3.0 }.check(header.width, header.height)
    };
    assert_eq!(decode_if(&tiny, &DecodeLimits::default(), accepts), Err(TooSmall));
    assert_eq!(decode_if(&tiny, &DecodeLimits::default(), |_| Ok(())), Err(Corrupt));
}

#[test]
fn a_frame_larger_than_its_canvas_is_refused() {
    // A canvas of 1 × 1 with a frame of 65,535 × 65,535 on it.
    let mut bytes = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    bytes.extend_from_slice(b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0\x3b");
    assert_eq!(read(&bytes), Err(TooManyPixels));
    // The same in WebP: the canvas is small, the bitstream inside claims 16,384 × 16,384.
    let mut file = webp(&small());
    let stream = file.windows(4).position(|w| w == b"VP8L").unwrap() + 8;
    file[stream + 1..stream + 5].copy_from_slice(&0x0fff_ffff_u32.to_le_bytes());
    assert_eq!(read(&file), Err(TooManyPixels));
}

#[test]
fn a_second_jpeg_frame_header_is_refused() {
    let jpeg = encode_jpeg(&small(), 80);
    let sof = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    let length = 2 + usize::from(jpeg[sof + 2]) * 256 + usize::from(jpeg[sof + 3]);
    let twice = [&jpeg[..sof + length], &jpeg[sof..]].concat();
    assert_eq!(read(&twice), Err(Corrupt));
}

#[test]
fn of_a_hundred_thousand_gif_frames_one_is_decoded() {
    // Black pixel first; every later frame is white, and the file ends without a trailer.
    let mut bytes = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    bytes.extend_from_slice(b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
    for _ in 1..100_000 {
        bytes.extend_from_slice(b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0");
    }
    let started = std::time::Instant::now();
    assert_eq!(read(&bytes).unwrap().rgb.data(), [0, 0, 0]);
    // Milliseconds; decoding every frame takes far longer than this even unloaded.
    assert!(started.elapsed().as_secs() < 2);
}

#[test]
fn a_compressed_bomb_costs_its_claimed_pixels_only() {
    // A stored-block stream that goes on long after its 2 × 1 pixels, and one that ends before them.
    let stored = |n: u16| [&[0x78, 0x01, 0x01][..], &n.to_le_bytes(), &(!n).to_le_bytes(), &vec![0; n.into()]].concat();
    let long = forged_png(2, 1, &stored(65_535));
    assert_eq!(read(&long).map(|d| d.rgb.into_data()), Ok(vec![0; 6]));
    let short = read(&forged_png(8_000, 8_000, &stored(500)));
    assert!(matches!(short, Err(Corrupt | Truncated)), "{short:?}");
    // A colour profile that would inflate never reaches a decoder, whatever it holds.
    let mut file = png(&small());
    let profile = chunk(b"iCCP", &[b"x\0\0".to_vec(), vec![0x78; 1 << 20]].concat());
    file.splice(33..33, profile);
    assert_eq!(read(&file).unwrap().rgb, small());
}

#[test]
fn a_jpeg_cut_anywhere_is_refused() {
    let progressive: &[u8] = include_bytes!("fixtures/progressive.jpg");
    for whole in [encode_jpeg(&small(), 85), progressive.to_vec()] {
        read(&whole).unwrap();
        for cut in (0..whole.len()).step_by(37).chain(whole.len() - 40..whole.len()) {
            let got = read(&whole[..cut]);
            let want = if cut < 3 { UnsupportedFormat } else { Truncated };
            assert_eq!(got, Err(want), "cut at {cut} of {}", whole.len());
        }
        // What comes behind the end is nobody's.
        assert!(read(&[whole.as_slice(), b"trailing"].concat()).is_ok());
    }
}

#[test]
fn other_formats_cut_anywhere_are_refused() {
    for whole in [png(&small()), webp(&small())] {
        for cut in (0..whole.len() - 1).step_by(37).chain([whole.len() - 2]) {
            let got = read(&whole[..cut]);
            assert!(matches!(got, Err(Truncated | UnsupportedFormat)), "cut at {cut} of {}: {got:?}", whole.len());
        }
    }
    let whole = gif(&small());
    // The last two bytes are the frame's terminator and the file's trailer.
    for cut in (0..whole.len() - 2).step_by(37) {
        let got = read(&whole[..cut]);
        assert!(matches!(got, Err(Truncated | UnsupportedFormat)), "cut at {cut} of {}: {got:?}", whole.len());
    }
}

#[test]
fn noise_and_flipped_bytes_never_panic() {
    assert_eq!(read(&[]), Err(UnsupportedFormat));
    let whole = [
        encode_jpeg(&small(), 70),
        include_bytes!("fixtures/progressive.jpg").to_vec(),
        png(&small()),
        webp(&small()),
        gif(&small()),
    ];
    let refused = parallel(1_000, |i| {
        let mut key = Keyed::new("noise", i);
        let mut file = whole[i % whole.len()].clone();
        if i % 10 < 5 {
            // A true beginning, then noise.
            let keep = [2, 8, 12, 30, 200][i % 5].min(file.len());
            file.truncate(keep);
            file.extend(key.bytes(600));
        } else {
            for _ in 0..1 + i % 7 {
                let at = key.below(file.len() as u32) as usize;
                file[at] = key.below(256) as u8;
            }
        }
        read(&file).is_err()
    });
    assert!(refused.iter().filter(|r| **r).count() >= 500);
    for i in 0..100 {
        assert!(read(&Keyed::new("random", i).bytes(i * 13)).is_err());
    }
}

/// The file with an APP1 segment behind its start.
fn with_exif(jpeg: &[u8], block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16 + 8).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, b"Exif\0\0", block, &jpeg[2..]].concat()
}

#[test]
fn orientation_is_applied_and_broken_exif_costs_only_itself() {
    let jpeg = encode_jpeg(&small(), 90);
    let upright = read(&jpeg).unwrap();
    assert_eq!((upright.rgb.width(), upright.rgb.height()), (120, 104));
    let block = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = read(&with_exif(&jpeg, block)).unwrap();
    assert_eq!((turned.rgb.width(), turned.rgb.height()), (104, 120));
    assert_eq!((turned.source_width, turned.source_height), (120, 104));
    // Clockwise: the lower left corner comes to the upper left.
    let corner = 103 * 120 * 3;
    assert_eq!(turned.rgb.data()[..3], upright.rgb.data()[corner..corner + 3]);
    for i in 0..300 {
        let mut key = Keyed::new("exif", i);
        let noise = key.bytes(i);
        let garbage = if i % 2 == 0 { noise } else { [&block[..10 + i % 16], &noise].concat() };
        let got = read(&with_exif(&jpeg, &garbage)).unwrap();
        assert_eq!((got.source_width, got.source_height), (120, 104));
    }
}

#[test]
fn what_lies_under_transparency_is_white_and_every_depth_is_read() {
    let encode = |samples: &[u8], color: ColorType| {
        let mut out = Vec::new();
        codecs::png::PngEncoder::new(&mut out).write_image(samples, 2, 1, color.into()).unwrap();
        read(&out).unwrap().rgb.into_data()
    };
    assert_eq!(encode(&[9, 9, 9, 0, 10, 20, 30, 255], ColorType::Rgba8), [255, 255, 255, 10, 20, 30]);
    assert_eq!(encode(&[7, 200], ColorType::L8), [7, 7, 7, 200, 200, 200]);
    assert_eq!(encode(&[7, 255, 7, 0], ColorType::La8), [7, 7, 7, 255, 255, 255]);
    let wide = |v: [u16; 2]| v.iter().flat_map(|s| s.to_ne_bytes()).collect::<Vec<_>>();
    assert_eq!(encode(&wide([0x1234, 0xffff]), ColorType::L16), [0x12, 0x12, 0x12, 255, 255, 255]);
    // A GIF frame that covers the right half of its canvas: the left half is white.
    let mut bytes = b"GIF89a\x02\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    bytes.extend_from_slice(b"\x2c\x01\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b");
    assert_eq!(read(&bytes).unwrap().rgb.data(), [255, 255, 255, 0, 0, 0]);
}

#[test]
fn every_format_gives_the_same_picture() {
    for (file, exact) in
        [(png(&small()), true), (webp(&small()), true), (encode_jpeg(&small(), 95), false), (gif(&small()), false)]
    {
        let got = read(&file).unwrap();
        let pairs = got.rgb.data().iter().zip(small().into_data());
        let error: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>() / (120.0 * 104.0 * 3.0);
        // 256 colours over noise and JPEG at 95 stay within a few levels on average.
        assert!(if exact { error == 0.0 } else { error < 6.0 }, "{:?}: {error}", got.format);
    }
}
