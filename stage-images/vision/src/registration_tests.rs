use super::*;

/// Waves of a few periods, so that every part of the picture has contrast.
fn waves(width: u32, height: u32, left: f64, top: f64, view: f64) -> Rgb {
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (
                left + view * (f64::from(x) + 0.5) / f64::from(width),
                top + view * (f64::from(y) + 0.5) / f64::from(height),
            );
            let level = 128.0 + 50.0 * (17.0 * u + 5.0 * v * v).sin() + 40.0 * (9.0 * v - 11.0 * u * v).cos();
            data.extend([level as u8; 3]);
        }
    }
    Rgb::new(width, height, data).unwrap()
}

#[test]
fn a_crop_is_found_where_it_was_cut() {
    let whole = Thumbnail::of(&waves(300, 200, 0.0, 0.0, 1.0));
    for (left, top, view) in [(0.0, 0.0, 1.0), (0.0, 0.0, 0.95), (0.05, 0.02, 0.95), (0.04, 0.06, 0.9)] {
        let crop = Thumbnail::of(&waves(285, 190, left, top, view));
        let found = whole.register(&crop).unwrap();
        // A sixteenth of a cell is the last step.
        assert!((found.scale - view).abs() < 1.0 / 256.0, "{left} {top} {view}: {found:?}");
        assert!(whole.shows_same(&crop, &RegistrationThresholds::default()), "{found:?}");
        assert!(crop.shows_same(&whole, &RegistrationThresholds::default()), "{found:?}");
    }
}

#[test]
fn brightness_and_contrast_do_not_count_and_other_pictures_do() {
    let picture = waves(200, 200, 0.0, 0.0, 1.0);
    let paler = picture.data().iter().map(|v| 100 + v / 3).collect();
    let paler = Thumbnail::of(&Rgb::new(200, 200, paler).unwrap());
    let limits = RegistrationThresholds::default();
    assert!(Thumbnail::of(&picture).shows_same(&paler, &limits));
    assert!(!Thumbnail::of(&picture).shows_same(&Thumbnail::of(&waves(200, 200, 0.5, 0.5, 1.0)), &limits));
    // Flat pictures have nothing to agree in.
    let flat = Thumbnail::of(&Rgb::new(200, 200, vec![7; 120_000]).unwrap());
    assert!(!flat.shows_same(&flat, &limits));
}

/// A sixty-fourth of the picture differs: the whole still correlates, the tile does not.
#[test]
fn a_part_that_only_one_picture_has_parts_them() {
    let picture = waves(256, 256, 0.0, 0.0, 1.0);
    let mut data = picture.data().to_vec();
    for y in 96..128 {
        for x in 96..128 {
            let at = (y * 256 + x) * 3;
            data[at..at + 3].fill(if (x / 8 + y / 8) % 2 == 0 { 100 } else { 150 });
        }
    }
    let changed = Thumbnail::of(&Rgb::new(256, 256, data).unwrap());
    let found = Thumbnail::of(&picture).register(&changed).unwrap();
    assert!(found.structure > 0.5 && found.worst_tile > 0.9, "{found:?}");
    assert!(!Thumbnail::of(&picture).shows_same(&changed, &RegistrationThresholds::default()));
}

#[test]
fn the_stored_form_is_read_back_and_other_lengths_are_not() {
    let thumbnail = Thumbnail::of(&waves(30, 20, 0.0, 0.0, 1.0));
    let bytes = thumbnail.to_bytes();
    assert_eq!(bytes.len(), Thumbnail::BYTES);
    assert_eq!(Thumbnail::from_bytes(&bytes), Some(thumbnail));
    assert_eq!(Thumbnail::from_bytes(&bytes[1..]), None);
    assert_eq!(Thumbnail::from_bytes(&[0; Thumbnail::BYTES]), None);
}

/// What lies beyond the edge of a crop is not known there, so how its outermost cells are smoothed is no difference.
#[test]
fn a_line_at_the_edge_does_not_part_a_crop_from_its_picture() {
    let lines = |left: usize, top: usize, side: usize| {
        let dark = |x: usize, y: usize| (7..9).contains(&x) || (100..102).contains(&x) && (31..120).contains(&y);
        let level = |x: usize, y: usize| if dark(x, y) || dark(y, x) { 0 } else { 255 };
        let data = (0..side * side).flat_map(|at| [level(left + at % side, top + at / side); 3]).collect();
        Thumbnail::of(&Rgb::new(side as u32, side as u32, data).unwrap())
    };
    let (whole, crop) = (lines(0, 0, 200), lines(9, 2, 190));
    for found in [whole.register(&crop).unwrap(), crop.register(&whole).unwrap()] {
        assert!(found.worst_tile < 0.5, "{found:?}");
    }
}
