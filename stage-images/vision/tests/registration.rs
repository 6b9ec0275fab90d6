//! Crops that a registration must find, and pictures of one layout that it must keep apart; the default thresholds lie between.

mod common;

use common::{Keyed, copy, diagram, drawing, openstax, parallel, screenshot, texture};
use realsyn_vision::{DecodeLimits, RegistrationThresholds, Rgb, Thumbnail, decode, encode_jpeg};

/// A picture without 5 % of its width and of its height, cut off on keyed sides and saved again.
fn crop(rgb: &Rgb, key: usize) -> Rgb {
    let mut key = Keyed::new("crop", key);
    let (width, height) = (rgb.width() * 95 / 100, rgb.height() * 95 / 100);
    let (x, y) = (key.below(rgb.width() - width + 1) as usize, key.below(rgb.height() - height + 1) as usize);
    let row = |r: &[u8]| r[3 * x..3 * (x + width as usize)].to_vec();
    let data = rgb.rows().skip(y).take(height as usize).flat_map(row).collect();
    saved(&Rgb::new(width, height, data).unwrap())
}

fn saved(rgb: &Rgb) -> Rgb {
    decode(&encode_jpeg(rgb, 90), &DecodeLimits::default()).unwrap().rgb
}

fn same(a: &Thumbnail, b: &Thumbnail) -> bool {
    a.shows_same(b, &RegistrationThresholds::default())
}

/// How many of the pairs in place show the same, and how many of all others.
fn counted(originals: &[Thumbnail], copies: &[Thumbnail]) -> (usize, usize) {
    let found = originals.iter().zip(copies).filter(|(a, b)| same(a, b)).count();
    let wrong = |i: usize| originals[i + 1..].iter().filter(|other| same(&originals[i], other)).count();
    (found, parallel(originals.len(), wrong).iter().sum())
}

#[test]
fn crops_of_screenshots_and_diagrams_are_found_and_their_neighbours_are_not() {
    const EACH: usize = 100;
    type Generator = fn(usize) -> Rgb;
    let kinds: [(&str, Generator); 4] =
        [("texture", texture), ("screenshot", screenshot), ("drawing", drawing), ("diagram", diagram)];
    for (name, generate) in kinds {
        let (originals, crops): (Vec<_>, Vec<_>) = parallel(EACH, |i| {
            let rgb = generate(i);
            (Thumbnail::of(&saved(&rgb)), Thumbnail::of(&crop(&rgb, i)))
        })
        .into_iter()
        .unzip();
        let (found, wrong) = counted(&originals, &crops);
        let turned = crops.iter().zip(&originals).filter(|(a, b)| same(a, b)).count();
        let others = EACH * (EACH - 1) / 2;
        eprintln!(
            "{name}: {found} of {EACH} crops found, {turned} the other way round, {wrong} of {others} other pairs"
        );
        assert_eq!(wrong, 0, "{name}");
        assert!(found * 100 >= 98 * EACH, "{name}: {found}");
        // Black lines of two pixels lose more than a third of their contrast where they are cut anew into cells.
        assert!(turned * 100 >= if name == "drawing" { 90 } else { 98 } * EACH, "{name}: {turned}");
    }
}

#[test]
fn crops_and_copies_of_photographs_are_found_and_other_photographs_are_not() {
    const PHOTOGRAPHS: usize = 150;
    let Some(paths) = openstax() else {
        eprintln!("SKIPPED: no OpenStax sample; set REALSYN_OPENSTAX to its folder");
        return;
    };
    let step = paths.len() / PHOTOGRAPHS;
    let all = parallel(PHOTOGRAPHS, |i| {
        let rgb = decode(&std::fs::read(&paths[i * step]).unwrap(), &DecodeLimits::default()).unwrap().rgb;
        [Thumbnail::of(&rgb), Thumbnail::of(&copy(&rgb, i)), Thumbnail::of(&crop(&rgb, i))]
    });
    let of = |at: usize| all.iter().map(|three| three[at].clone()).collect::<Vec<_>>();
    let (copies, wrong) = counted(&of(0), &of(1));
    let (crops, _) = counted(&of(0), &of(2));
    eprintln!("{copies} copies and {crops} crops of {PHOTOGRAPHS} found, {wrong} wrong pairs");
    assert!(copies * 100 >= 99 * PHOTOGRAPHS && crops * 100 >= 97 * PHOTOGRAPHS, "{copies} copies, {crops} crops");
    assert_eq!(wrong, 0);
}
