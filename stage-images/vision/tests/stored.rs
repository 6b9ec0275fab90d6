//! Stored sizes and their JPEG form: sides, bits that never change, nothing left of the source's metadata.

mod common;

use common::texture;
use realsyn_vision::{DecodeLimits, Rgb, decode, encode_jpeg, resize_exact, shrink};

#[test]
fn shrinks_to_the_short_side_and_never_enlarges() {
    let rgb = Rgb::new(301, 200, vec![90; 301 * 200 * 3]).unwrap();
    let small = shrink(&rgb, 100);
    assert_eq!((small.width(), small.height()), (151, 100));
    // Weights that sum to one leave a plain picture plain.
    assert!(small.data().iter().all(|&v| v == 90));
    assert_eq!(shrink(&rgb, 200), rgb);
    assert_eq!(shrink(&rgb, 336), rgb);
    assert_eq!(shrink(&rgb, 0), rgb);
    let thin = Rgb::new(1, 500, vec![0; 1500]).unwrap();
    assert_eq!(shrink(&thin, 1), thin);
    assert_eq!(resize_exact(&thin, 0, 3).height(), 3);
}

#[test]
fn the_same_bits_on_every_machine() {
    // Hashes of what the pinned resizer, encoder and decoder give; another CPU or version that gives other bits fails here.
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_string();
    let small = shrink(&texture(1), 100);
    let file = encode_jpeg(&small, 85);
    let back = decode(&file, &DecodeLimits::default()).unwrap().rgb;
    let got = [hash(small.data()), hash(&file), hash(back.data())];
    assert_eq!(got, ["5eeaeb3f6994a05a", "a7c2fdbfe5372603", "229a7ba59f5384e6"]);
}

#[test]
fn the_stored_form_holds_pictures_only() {
    let file = encode_jpeg(&texture(2), 85);
    for name in [&b"Exif"[..], b"ICC_PROFILE", b"http"] {
        assert!(!file.windows(name.len()).any(|w| w == name));
    }
    assert_eq!(encode_jpeg(&texture(2), 0), encode_jpeg(&texture(2), 1));
    assert_eq!(encode_jpeg(&texture(2), 255), encode_jpeg(&texture(2), 100));
    let long = Rgb::new(70_000, 2, vec![1; 70_000 * 2 * 3]).unwrap();
    assert_eq!(decode(&encode_jpeg(&long, 50), &DecodeLimits::default()).unwrap().source_width, 65_535);
}

#[test]
fn the_jpeg_decoder_gives_the_same_bits_with_and_without_simd() {
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::{bytestream::ZCursor, options::DecoderOptions};
    // The fixture has halved chroma, which takes the upsampler's own SIMD.
    let mut files = vec![include_bytes!("fixtures/progressive.jpg").to_vec()];
    files.extend((0..12).map(|i| encode_jpeg(&texture(i), 30 + 6 * i as u8)));
    for file in files {
        let read = |simd| {
            let options = DecoderOptions::default().set_use_unsafe(simd);
            JpegDecoder::new_with_options(ZCursor::new(file.as_slice()), options).decode().unwrap()
        };
        assert!(read(true) == read(false));
    }
}
