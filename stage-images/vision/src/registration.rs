//! Whether one picture shows what another does, though it was cropped: their thumbnails are laid onto each other.
//!
//! A hash of a whole picture does not survive a crop, and an embedding cannot tell two screenshots of one layout apart. So a
//! pair that an embedding proposes is *registered*: the scale and the shift are sought at which the second thumbnail, laid onto
//! the first, correlates best with it. What must then agree is the fine structure, and every part on its own.

use crate::Rgb;
use crate::thumbnail::grey;

/// The side of a [`Thumbnail`], in cells.
pub const THUMBNAIL_SIDE: usize = 64;

const CELLS: usize = THUMBNAIL_SIDE * THUMBNAIL_SIDE;

/// The side of the parts that are compared one by one, in cells.
const TILE: usize = 8;

/// The sides at which a registration is sought, coarse to fine.
const SIDES: [usize; 3] = [16, 32, THUMBNAIL_SIDE];

/// Scales and shifts of the first search, as fractions of a side: crops of up to a tenth, off centre by up to a twentieth.
const STEP: f64 = 0.025;
const SCALES: i32 = 4;
const SHIFTS: i32 = 2;

/// The least share of the second picture that must lie on the first.
const MIN_COVERAGE: f64 = 0.75;

/// The contrast that a plain tile is taken to have, as a part of the whole picture's standard deviation: what noise is there
/// must not count as a difference.
const PLAIN: f64 = 0.3;

/// The cells along every edge that are left out where tiles are compared: smoothing takes the nearest cell for what lies beyond
/// an edge, and beyond a crop's the other picture goes on.
const MARGIN: usize = 1;

/// At every side the two must correlate at least this much for the search to go on.
const MIN_CORRELATION: f64 = 0.8;

/// Grey averages of a picture, fine enough to compare two of them part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    width: u32,
    height: u32,
    grey: Box<[u8; CELLS]>,
}

/// How well the second of two thumbnails lies on the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Registration {
    /// Size of the second picture's view over the first's: below 1 where the second is a crop of the first.
    pub scale: f64,
    /// The share of the second picture that lies on the first, 0 to 1.
    pub coverage: f64,
    /// Correlation of the fine structure (each cell less the mean around it) where they overlap, -1 to 1.
    pub structure: f64,
    /// The greatest difference of a tile of 8 × 8 cells: root mean square over the tile's own contrast, 0 for equal ones, about
    /// 1.4 for unrelated ones.
    pub worst_tile: f64,
}

/// What [`Thumbnail::shows_same`] asks for; the limits themselves pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegistrationThresholds {
    /// The least correlation of fine structure.
    pub min_structure: f64,
    /// The greatest difference of any tile.
    pub max_worst_tile: f64,
}

impl Default for RegistrationThresholds {
    /// Set between the measured crops and hard negatives of `tests/registration.rs`.
    fn default() -> Self {
        Self { min_structure: 0.8, max_worst_tile: 0.8 }
    }
}

impl Thumbnail {
    /// Bytes of a stored thumbnail.
    pub const BYTES: usize = 8 + CELLS;

    /// A picture's thumbnail.
    pub fn of(rgb: &Rgb) -> Self {
        let mut cells = Box::new([0; CELLS]);
        for (cell, level) in cells.iter_mut().zip(grey(rgb, THUMBNAIL_SIDE)) {
            // At most (255 * 256 + 128) / 256 = 255.
            *cell = ((u32::from(level) + 128) / 256) as u8;
        }
        Self { width: rgb.width(), height: rgb.height(), grey: cells }
    }

    /// The stored form: width, height (little-endian), then the averages, rows from the top.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.width.to_le_bytes()[..], &self.height.to_le_bytes(), &self.grey[..]].concat()
    }

    /// Reads the stored form; `None` if it has another length or an empty side.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (width, rest) = bytes.split_first_chunk()?;
        let (height, cells) = rest.split_first_chunk()?;
        let (width, height) = (u32::from_le_bytes(*width), u32::from_le_bytes(*height));
        let grey = Box::new(<[u8; CELLS]>::try_from(cells).ok()?);
        (width > 0 && height > 0).then_some(Self { width, height, grey })
    }

    /// Whether `other`, laid onto `self`, shows the same: re-encoded, resized, recoloured, or one of them cropped by up to a
    /// tenth. Which of the two comes first may matter for pairs at the limits: callers keep to one order.
    pub fn shows_same(&self, other: &Self, thresholds: &RegistrationThresholds) -> bool {
        self.register(other).is_some_and(|found| {
            found.structure >= thresholds.min_structure && found.worst_tile <= thresholds.max_worst_tile
        })
    }

    /// Lays `other` onto `self`; `None` where no scale and shift make them alike enough to go on.
    ///
    /// Sums of `f64` in one order, and no function that differs between systems: the bits are the same everywhere.
    pub fn register(&self, other: &Self) -> Option<Registration> {
        // Resizing keeps the aspect ratio, so one scale is free; its two sides differ by how the ratios differ.
        let ratio = f64::from(other.width) * f64::from(self.height) / (f64::from(other.height) * f64::from(self.width));
        let stretch = ratio.sqrt();
        let mut place = Place { scale: 1.0, x: 0.0, y: 0.0 };
        let mut finest = None;
        for side in SIDES {
            let (under, over) = (Plane::of(self, side), Plane::of(other, side));
            let correlation = |place: Place| correlation(overlap(&under, &over, place, stretch, 0), under.cells());
            let found =
                if side == SIDES[0] { first(correlation) } else { refine(correlation, place, 0.5 / side as f64) };
            if found.1 < MIN_CORRELATION {
                return None;
            }
            place = found.0;
            finest = Some((under, over));
        }
        let (under, over) = finest?;
        Some(judge(&under, &over, place, stretch))
    }
}

/// How well two planes of the finest side lie on each other.
fn judge(under: &Plane, over: &Plane, place: Place, stretch: f64) -> Registration {
    let inner: Vec<(usize, f64, f64)> = overlap(under, over, place, stretch, MARGIN).collect();
    Registration {
        scale: place.scale,
        coverage: overlap(under, over, place, stretch, 0).count() as f64 / under.cells() as f64,
        structure: correlation(overlap(&under.fine(), &over.fine(), place, stretch, 0), under.cells()),
        worst_tile: worst_tile(&inner),
    }
}

/// Where the second picture lies on the first: its scale, and how far its centre is from the first's, as fractions of a side.
#[derive(Debug, Clone, Copy)]
struct Place {
    scale: f64,
    x: f64,
    y: f64,
}

/// The best place on a grid, and its correlation.
fn first(correlation: impl Fn(Place) -> f64) -> (Place, f64) {
    let mut best = (Place { scale: 1.0, x: 0.0, y: 0.0 }, f64::NEG_INFINITY);
    for scale in -SCALES..=SCALES {
        for x in -SHIFTS..=SHIFTS {
            for y in -SHIFTS..=SHIFTS {
                let at = |steps: i32| f64::from(steps) * STEP;
                let place = Place { scale: 1.0 + at(scale), x: at(x), y: at(y) };
                let value = correlation(place);
                if value > best.1 {
                    best = (place, value);
                }
            }
        }
    }
    best
}

/// Climbs from `place` in steps that are halved three times, to the best place nearby and its correlation.
fn refine(correlation: impl Fn(Place) -> f64, place: Place, step: f64) -> (Place, f64) {
    let mut best = (place, correlation(place));
    let mut step = step;
    for _ in 0..4 {
        // Each move gains, so this ends; the bound is for pictures that are nearly alike everywhere.
        for _ in 0..8 {
            let mut moved = false;
            for (scale, x, y) in [
                (1.0, 0.0, 0.0),
                (-1.0, 0.0, 0.0),
                (0.0, 1.0, 0.0),
                (0.0, -1.0, 0.0),
                (0.0, 0.0, 1.0),
                (0.0, 0.0, -1.0),
            ] {
                let from = best.0;
                let to = Place { scale: from.scale + scale * step, x: from.x + x * step, y: from.y + y * step };
                let value = correlation(to);
                if value > best.1 {
                    best = (to, value);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        step /= 2.0;
    }
    best
}

/// Grey values on a square grid, smoothed so that a shift by a part of a cell changes little.
struct Plane {
    side: usize,
    values: Vec<f64>,
}

impl Plane {
    /// A thumbnail at a side that divides its own.
    fn of(thumbnail: &Thumbnail, side: usize) -> Self {
        let step = THUMBNAIL_SIDE / side;
        let mut values = vec![0.0; side * side];
        for (y, row) in thumbnail.grey.chunks_exact(THUMBNAIL_SIDE).enumerate() {
            for (x, &level) in row.iter().enumerate() {
                values[y / step * side + x / step] += f64::from(level);
            }
        }
        Self { side, values }.smooth()
    }

    fn cells(&self) -> usize {
        self.side * self.side
    }

    /// Weights of 1, 2, 1 along both sides; over the edge, the nearest cell counts again. Values grow sixteenfold.
    fn smooth(&self) -> Self {
        let (side, last) = (self.side, self.side - 1);
        let mut across = vec![0.0; self.cells()];
        for (to, row) in across.chunks_exact_mut(side).zip(self.values.chunks_exact(side)) {
            for x in 0..side {
                to[x] = row[x.saturating_sub(1)] + 2.0 * row[x] + row[(x + 1).min(last)];
            }
        }
        let mut values = vec![0.0; self.cells()];
        for (y, to) in values.chunks_exact_mut(side).enumerate() {
            let row = |y: usize| &across[y * side..][..side];
            let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(last)));
            for x in 0..side {
                to[x] = above[x] + 2.0 * here[x] + below[x];
            }
        }
        Self { side, values }
    }

    /// Each cell less the mean around it.
    fn fine(&self) -> Self {
        let around = self.smooth().smooth().smooth();
        let values = self.values.iter().zip(&around.values).map(|(value, mean)| value - mean / 4096.0).collect();
        Self { side: self.side, values }
    }

    /// Along one side: for each cell of the plane on top the lower cell below it and how far it is on the way to the next;
    /// `None` outside, and within `margin` cells of an edge of either.
    fn along(&self, centre: f64, scale: f64, margin: usize) -> Vec<Option<(usize, f64)>> {
        let side = self.side as f64;
        let at = |cell: usize| {
            let position = side * (0.5 + centre + scale * ((cell as f64 + 0.5) / side - 0.5));
            // Beyond the last cell's middle its value holds to the edge.
            let cells = (position - 0.5).clamp(0.0, side - 1.0);
            let lower = (cells as usize).min(self.side - 2);
            let edge = margin as f64;
            let inside = (edge..=side - edge).contains(&position) && (margin..self.side - margin).contains(&cell);
            inside.then_some((lower, cells - lower as f64))
        };
        (0..self.side).map(at).collect()
    }
}

/// Where both planes are known, `margin` cells from their edges: (cell of the second, the first's value there, the second's).
fn overlap<'a>(
    under: &'a Plane,
    over: &'a Plane,
    place: Place,
    stretch: f64,
    margin: usize,
) -> impl Iterator<Item = (usize, f64, f64)> + 'a {
    let side = under.side;
    let columns = under.along(place.x, place.scale * stretch, margin);
    let rows = under.along(place.y, place.scale / stretch, margin);
    rows.into_iter().enumerate().filter_map(|(y, row)| Some((y, row?))).flat_map(move |(y, (top, down))| {
        let pair = move |(x, column): (usize, Option<(usize, f64)>)| {
            let (left, right) = column?;
            let two = |row: usize| {
                let at = row * side + left;
                under.values[at] * (1.0 - right) + under.values[at + 1] * right
            };
            let value = two(top) * (1.0 - down) + two(top + 1) * down;
            Some((y * side + x, value, over.values[y * side + x]))
        };
        columns.clone().into_iter().enumerate().filter_map(pair)
    })
}

/// Pearson's correlation; -1 where too little overlaps, 0 where either is flat.
fn correlation(pairs: impl Iterator<Item = (usize, f64, f64)>, cells: usize) -> f64 {
    let (mut n, mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (_, x, y) in pairs {
        n += 1.0;
        a += x;
        b += y;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    if n < MIN_COVERAGE * cells as f64 {
        return -1.0;
    }
    let (of_a, of_b, both) = (n * aa - a * a, n * bb - b * b, n * ab - a * b);
    if of_a <= 0.0 || of_b <= 0.0 { 0.0 } else { both / (of_a.sqrt() * of_b.sqrt()) }
}

/// The greatest [`Tile::difference`], of values brought to mean 0 and standard deviation 1.
fn worst_tile(pairs: &[(usize, f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let standard = |value: fn(&(usize, f64, f64)) -> f64| {
        let mean = pairs.iter().map(value).sum::<f64>() / n;
        let deviation = (pairs.iter().map(|pair| (value(pair) - mean).powi(2)).sum::<f64>() / n).sqrt();
        move |pair: &(usize, f64, f64)| if deviation > 0.0 { (value(pair) - mean) / deviation } else { 0.0 }
    };
    let (first, second) = (standard(|pair| pair.1), standard(|pair| pair.2));
    let per_side = THUMBNAIL_SIDE / TILE;
    let mut tiles = vec![Tile::default(); per_side * per_side];
    for pair in pairs {
        let (y, x) = (pair.0 / THUMBNAIL_SIDE, pair.0 % THUMBNAIL_SIDE);
        tiles[y / TILE * per_side + x / TILE].add(first(pair), second(pair));
    }
    // A sliver of a tile at the edge says little.
    let half = (TILE * TILE) as f64 / 2.0;
    tiles.iter().filter(|tile| tile.cells >= half).map(Tile::difference).fold(0.0, f64::max)
}

/// Sums over the cells of a tile, of standardised values of both pictures.
#[derive(Debug, Clone, Copy, Default)]
struct Tile {
    cells: f64,
    sums: [f64; 2],
    squares: [f64; 2],
    differences: f64,
}

impl Tile {
    fn add(&mut self, first: f64, second: f64) {
        self.cells += 1.0;
        for (at, value) in [first, second].into_iter().enumerate() {
            self.sums[at] += value;
            self.squares[at] += value * value;
        }
        self.differences += (first - second) * (first - second);
    }

    /// The root mean square difference over the tile's own contrast: resampling blurs thin lines and letters, in proportion to
    /// their contrast, while a line that only one picture has differs by all of it.
    fn difference(&self) -> f64 {
        let variance = |at: usize| self.squares[at] / self.cells - (self.sums[at] / self.cells).powi(2);
        let contrast = (variance(0) + variance(1)) / 2.0;
        (self.differences / self.cells / (contrast + PLAIN * PLAIN)).sqrt()
    }
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
