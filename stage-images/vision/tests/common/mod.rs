//! Procedural pictures and their re-worked copies, keyed by name: the same on every run and machine.
#![allow(dead_code, missing_docs, clippy::missing_panics_doc)]

use realsyn_vision::{DecodeLimits, Rgb, decode, encode_jpeg, resize_exact};

/// A stream of numbers that depends on nothing but its key.
pub struct Keyed(blake3::OutputReader);

impl Keyed {
    pub fn new(key: &str, index: usize) -> Self {
        Self(blake3::Hasher::new().update(format!("{key}/{index}").as_bytes()).finalize_xof())
    }

    pub fn below(&mut self, n: u32) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes) % n
    }

    pub fn range(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low) as u32) as i32
    }

    pub fn real(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.below(1 << 24) as f32 / (1 << 24) as f32
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        self.0.fill(&mut out);
        out
    }

    pub fn colour(&mut self) -> [u8; 3] {
        [self.below(256) as u8, self.below(256) as u8, self.below(256) as u8]
    }
}

pub struct Canvas {
    pub w: i32,
    pub h: i32,
    pub data: Vec<u8>,
}

impl Canvas {
    pub fn new(w: i32, h: i32, colour: [u8; 3]) -> Self {
        Self { w, h, data: colour.repeat((w * h) as usize) }
    }

    pub fn dot(&mut self, x: i32, y: i32, colour: [u8; 3]) {
        if (0..self.w).contains(&x) && (0..self.h).contains(&y) {
            let at = ((y * self.w + x) * 3) as usize;
            self.data[at..at + 3].copy_from_slice(&colour);
        }
    }

    pub fn rect(&mut self, x: i32, y: i32, w: i32, h: i32, colour: [u8; 3]) {
        for yy in y..y + h {
            for xx in x..x + w {
                self.dot(xx, yy, colour);
            }
        }
    }

    pub fn frame(&mut self, x: i32, y: i32, w: i32, h: i32, colour: [u8; 3]) {
        self.rect(x, y, w, 2, colour);
        self.rect(x, y + h - 2, w, 2, colour);
        self.rect(x, y, 2, h, colour);
        self.rect(x + w - 2, y, 2, h, colour);
    }

    pub fn disc(&mut self, cx: i32, cy: i32, r: i32, colour: [u8; 3]) {
        for y in -r..=r {
            for x in -r..=r {
                if x * x + y * y <= r * r {
                    self.dot(cx + x, cy + y, colour);
                }
            }
        }
    }

    pub fn line(&mut self, from: (i32, i32), to: (i32, i32), thick: i32, colour: [u8; 3]) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).max(1);
        for i in 0..=steps {
            let x = from.0 + (to.0 - from.0) * i / steps;
            let y = from.1 + (to.1 - from.1) * i / steps;
            self.rect(x, y, thick, thick, colour);
        }
    }

    pub fn done(self) -> Rgb {
        Rgb::new(self.w as u32, self.h as u32, self.data).unwrap()
    }
}

/// Layers of smooth noise in colour.
pub fn texture(index: usize) -> Rgb {
    let mut key = Keyed::new("texture", index);
    let (w, h) = (key.range(160, 260), key.range(140, 220));
    let mut sum = vec![0.0_f32; (w * h * 3) as usize];
    for (cell, weight) in [(64, 90.0), (24, 50.0), (9, 25.0)] {
        let (gw, gh) = (w / cell + 2, h / cell + 2);
        let grid: Vec<f32> = (0..gw * gh * 3).map(|_| key.real(-1.0, 1.0)).collect();
        for y in 0..h {
            for x in 0..w {
                let (gx, gy) = (x / cell, y / cell);
                let (fx, fy) = ((x % cell) as f32 / cell as f32, (y % cell) as f32 / cell as f32);
                for c in 0..3 {
                    let g = |dx: i32, dy: i32| grid[(((gy + dy) * gw + gx + dx) * 3 + c) as usize];
                    let top = g(0, 0) * (1.0 - fx) + g(1, 0) * fx;
                    let bottom = g(0, 1) * (1.0 - fx) + g(1, 1) * fx;
                    sum[((y * w + x) * 3 + c) as usize] += weight * (top * (1.0 - fy) + bottom * fy);
                }
            }
        }
    }
    let data = sum.iter().map(|v| (v + 128.0).clamp(0.0, 255.0) as u8).collect();
    Rgb::new(w as u32, h as u32, data).unwrap()
}

/// A gradient with shapes on it.
pub fn shapes(index: usize) -> Rgb {
    let mut key = Keyed::new("shapes", index);
    let (w, h) = (key.range(160, 260), key.range(140, 220));
    let (a, b) = (key.colour(), key.colour());
    let mut canvas = Canvas::new(w, h, a);
    for y in 0..h {
        let mix = |c: usize| ((i32::from(a[c]) * (h - y) + i32::from(b[c]) * y) / h) as u8;
        canvas.rect(0, y, w, 1, [mix(0), mix(1), mix(2)]);
    }
    for _ in 0..key.range(4, 9) {
        let (x, y, r) = (key.range(0, w), key.range(0, h), key.range(12, 50));
        let colour = key.colour();
        if key.below(2) == 0 {
            canvas.disc(x, y, r, colour);
        } else {
            canvas.rect(x - r, y - r / 2, 2 * r, r, colour);
        }
    }
    canvas.done()
}

/// A page or window with a layout shared by every tenth picture, and its own text of glyph-like marks.
pub fn screenshot(index: usize) -> Rgb {
    let mut layout = Keyed::new("layout", index % 10);
    let mut key = Keyed::new("screenshot", index);
    let mut canvas = Canvas::new(220, 160, [250, 250, 250]);
    let bar = layout.colour();
    canvas.rect(0, 0, 220, 12, bar);
    let side = if layout.below(2) == 0 { 40 } else { 0 };
    canvas.rect(0, 12, side, 148, [225, 228, 232]);
    let line_height = layout.range(7, 10);
    let mut y = 18;
    while y < 150 {
        let mut x = side + 6;
        // A paragraph's last line ends early, and some lines stay empty.
        let end = if key.below(5) == 0 { x + key.range(10, 120) } else { 212 };
        if key.below(9) > 0 {
            while x < end {
                for _ in 0..key.range(2, 9) {
                    glyph(&mut canvas, &mut key, x, y);
                    x += 4;
                }
                x += 4;
            }
        }
        y += line_height;
    }
    canvas.done()
}

fn glyph(canvas: &mut Canvas, key: &mut Keyed, x: i32, y: i32) {
    if x > 208 {
        return;
    }
    let bits = key.below(1 << 15);
    for i in 0..15 {
        if bits >> i & 1 == 1 {
            canvas.dot(x + i % 3, y + i / 3, [20, 20, 20]);
        }
    }
}

/// Black lines and outlines on white, within the same frame.
pub fn drawing(index: usize) -> Rgb {
    let mut key = Keyed::new("drawing", index);
    let mut canvas = Canvas::new(200, 200, [255; 3]);
    canvas.frame(8, 8, 184, 184, [0; 3]);
    for _ in 0..key.range(4, 9) {
        let (a, b) = ((key.range(15, 185), key.range(15, 185)), (key.range(15, 185), key.range(15, 185)));
        match key.below(3) {
            0 => canvas.line(a, b, 2, [0; 3]),
            1 => canvas.frame(a.0.min(b.0), a.1.min(b.1), (a.0 - b.0).abs() + 4, (a.1 - b.1).abs() + 4, [0; 3]),
            _ => {
                let r = key.range(8, 40);
                for i in 0..4 * r {
                    let angle = i as f32 * std::f32::consts::TAU / (4 * r) as f32;
                    let at = |o: i32, v: f32| o + (v * r as f32) as i32;
                    canvas.rect(at(a.0, angle.cos()), at(a.1, angle.sin()), 2, 2, [0; 3]);
                }
            }
        }
    }
    canvas.done()
}

/// Boxes on a fixed grid, some filled, joined by lines of their own.
pub fn diagram(index: usize) -> Rgb {
    let mut key = Keyed::new("diagram", index);
    let mut canvas = Canvas::new(220, 170, [255; 3]);
    let centre = |i: i32| (35 + i % 4 * 50, 30 + i / 4 * 55);
    for _ in 0..key.range(5, 10) {
        let (a, b) = (centre(key.range(0, 12)), centre(key.range(0, 12)));
        canvas.line(a, b, 1, [60, 60, 60]);
    }
    for i in 0..12 {
        let (x, y) = centre(i);
        let fill = if key.below(4) == 0 { key.colour() } else { [240, 240, 255] };
        canvas.rect(x - 16, y - 11, 32, 22, fill);
        canvas.frame(x - 16, y - 11, 32, 22, [0; 3]);
        for g in 0..5 {
            glyph(&mut canvas, &mut key, x - 10 + g * 4, y - 2);
        }
    }
    canvas.done()
}

/// The `variant`-th copy: resized, recoloured and re-encoded, alone or together.
pub fn copy(rgb: &Rgb, variant: usize) -> Rgb {
    let mut key = Keyed::new("copy", variant);
    let mut out = rgb.clone();
    if !variant.is_multiple_of(3) {
        let percent = key.below(101) + 50;
        out = resize_exact(&out, out.width() * percent / 100, out.height() * percent / 100);
    }
    if variant % 2 == 1 {
        let kind = key.below(4);
        let (gain, lift) = (key.real(0.75, 1.25), key.real(-25.0, 25.0));
        let (width, height) = (out.width(), out.height());
        let data = out.data().chunks(3).flat_map(|p| recolour(p, kind, gain, lift)).collect();
        out = Rgb::new(width, height, data).unwrap();
    }
    let quality = [95, 85, 75, 60, 45][key.below(5) as usize];
    decode(&encode_jpeg(&out, quality), &DecodeLimits::default()).unwrap().rgb
}

fn recolour(pixel: &[u8], kind: u32, gain: f32, lift: f32) -> [u8; 3] {
    let p = [0, 1, 2].map(|c| f32::from(pixel[c]));
    let out = match kind {
        0 => p.map(|v| v + lift),
        1 => p.map(|v| (v - 128.0) * gain + 128.0),
        // A tenth of each channel moves to the next one.
        2 => [0, 1, 2].map(|c| p[c] * 0.9 + p[(c + 1) % 3] * 0.1),
        _ => [0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]; 3],
    };
    out.map(|v| v.round().clamp(0.0, 255.0) as u8)
}

/// Maps in parallel over two threads or more, results in order.
pub fn parallel<T: Send>(n: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(2, |t| t.get()).min(n.max(1));
    std::thread::scope(|scope| {
        let f = &f;
        let handles: Vec<_> = (0..threads)
            .map(|t| scope.spawn(move || (t * n / threads..(t + 1) * n / threads).map(f).collect::<Vec<T>>()))
            .collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    })
}

/// The photographs of the OpenStax sample, in name order; `None` if the sample is not there.
pub fn openstax() -> Option<Vec<std::path::PathBuf>> {
    let root = std::env::var_os("REALSYN_OPENSTAX")
        .map(std::path::PathBuf::from)
        .unwrap_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/openstax"));
    let mut paths = Vec::new();
    for book in std::fs::read_dir(root.join("images")).ok()? {
        paths.extend(std::fs::read_dir(book.ok()?.path()).ok()?.filter_map(|e| Some(e.ok()?.path())));
    }
    paths.sort();
    Some(paths)
}
