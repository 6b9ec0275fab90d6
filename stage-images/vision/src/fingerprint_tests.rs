use super::{CELLS, Fingerprint, Thresholds, fine};
use crate::{BAND_MAX_DISTANCE, Rgb, bands, hamming, phash};

/// Blocks whose grey is a fixed scramble of `salt`, 60 × 40 pixels, times `gain` plus `lift`.
fn blocks(salt: u32, gain: f32, lift: f32) -> Rgb {
    let grey = |i: u32| ((i / 10 % 6 + i / 600 * 6 + salt).wrapping_mul(2_654_435_761) >> 25) as f32;
    Rgb::new(60, 40, (0..2400).flat_map(|i| [(grey(i) * gain + lift) as u8; 3]).collect()).unwrap()
}

#[test]
fn stored_form_comes_back() {
    let print = Fingerprint::of(&blocks(1, 1.0, 0.0)).unwrap();
    assert_eq!(Fingerprint::from_bytes(&print.to_bytes()), Some(print.clone()));
    assert_eq!(Fingerprint::from_bytes(&print.to_bytes()[1..]), None);
}

#[test]
fn brightness_and_contrast_change_nothing_and_another_picture_does() {
    let limits = Thresholds::default();
    let print = |salt, gain, lift| Fingerprint::of(&blocks(salt, gain, lift)).unwrap();
    let (a, brighter, other) = (print(1, 1.0, 0.0), print(1, 1.5, 40.0), print(2, 1.0, 0.0));
    assert!(a.same(&brighter, &limits), "{:?}", a.likeness(&brighter));
    assert!(!a.same(&other, &limits), "{:?}", a.likeness(&other));
    assert_eq!(a.likeness(&other), other.likeness(&a));
}

#[test]
fn another_aspect_ratio_is_another_picture() {
    let rgb = blocks(1, 1.0, 0.0);
    let squeezed = crate::resize_exact(&rgb, 50, 40);
    let (a, b) = (Fingerprint::of(&rgb).unwrap(), Fingerprint::of(&squeezed).unwrap());
    assert!(!a.same(&b, &Thresholds::default()));
    assert!(a.same(&b, &Thresholds { max_aspect: 1.25, ..Thresholds::default() }), "{:?}", a.likeness(&b));
}

#[test]
fn flat_pictures_have_no_fingerprint() {
    let plain = Rgb::new(30, 30, vec![200; 2700]).unwrap();
    assert_eq!(phash(&plain), None);
    assert_eq!(Fingerprint::of(&plain), None);
    // Noise of one level, as compression leaves it.
    let noisy =
        Rgb::new(32, 32, (0..3072_u32).map(|i| 200 + (i.wrapping_mul(2_654_435_761) >> 31) as u8).collect()).unwrap();
    assert_eq!(phash(&noisy), None);
    assert!(phash(&blocks(1, 1.0, 0.0)).is_some());
}

#[test]
fn every_pair_within_the_distance_shares_a_band() {
    // Any set of differing bits that is spread over as many blocks as it can be is the worst case; so all choices of
    // blocks with one bit each, at shifting places within the blocks.
    let hash = 0x0123_4567_89ab_cdef_u64;
    for blocks in 0_u32..256 {
        if blocks.count_ones() > BAND_MAX_DISTANCE {
            continue;
        }
        for place in 0..8 {
            let flipped = (0..8).filter(|b| blocks >> b & 1 == 1).fold(hash, |h, b| h ^ 1 << (b * 8 + (place + b) % 8));
            assert_eq!(hamming(hash, flipped), blocks.count_ones());
            let (one, two) = (bands(hash), bands(flipped));
            assert!(one.iter().any(|key| two.contains(key)));
        }
    }
    let mut keys = bands(hash).to_vec();
    keys.dedup();
    assert_eq!(keys.len(), crate::BAND_COUNT);
}

#[test]
fn fine_structure_of_a_constant_is_zero_and_of_a_dot_is_local() {
    assert_eq!(fine(&[9; CELLS]), [0; CELLS]);
    let mut dot = [0; CELLS];
    dot[super::DETAIL_SIDE * 5 + 7] = 1;
    let out = fine(&dot);
    assert_eq!(out[super::DETAIL_SIDE * 5 + 7], 8);
    assert_eq!(out.iter().filter(|&&v| v == -1).count(), 8);
    assert_eq!(out.iter().sum::<i32>(), 0);
}
