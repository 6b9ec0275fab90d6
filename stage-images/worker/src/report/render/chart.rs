//! The frame of a chart: axes with round ticks, inside an SVG of a fixed view box that grows with its column.

use std::fmt::Write;

use super::text::{count, escape};

/// Width of the view box.
pub const WIDTH: f64 = 560.0;
/// Height of the view box.
pub const HEIGHT: f64 = 270.0;
/// The plot's left, right, top and bottom edges. The left margin holds a five-digit label in the larger letters of a
/// narrow screen.
pub const LEFT: f64 = 66.0;
/// See [`LEFT`].
pub const RIGHT: f64 = WIDTH - 14.0;
/// See [`LEFT`].
pub const TOP: f64 = 26.0;
/// See [`LEFT`].
pub const BOTTOM: f64 = HEIGHT - 54.0;

/// From values to places on an axis.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    log: bool,
}

impl Scale {
    /// A linear axis: `low` stands at `start`, `high` at `end`.
    pub fn linear((low, high): (f64, f64), (start, end): (f64, f64)) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, start, end, log: false }
    }

    /// A logarithmic axis between two positive values.
    pub fn log((low, high): (f64, f64), range: (f64, f64)) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        Self { log: true, ..Self::linear((low.log10(), high.max(low).log10()), range) }
    }

    /// Where a value stands, held inside the axis.
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.start + share * (self.end - self.start)
    }

    /// Whether a value lies on the axis.
    pub fn holds(&self, value: f64) -> bool {
        let value = if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        (self.low..=self.high).contains(&value)
    }

    /// Round values, about `wanted` of them, with their labels.
    pub fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        if self.log {
            return self.log_ticks();
        }
        let step = round_step((self.high - self.low) / wanted.max(1) as f64);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).map(|v| (v, label(v, digits))).collect()
    }

    /// Powers of ten; between them 3 or 2 and 5 where the axis is short.
    fn log_ticks(&self) -> Vec<(f64, String)> {
        let decades = self.high - self.low;
        let within: &[f64] = match decades {
            d if d < 1.5 => &[1.0, 2.0, 5.0],
            d if d < 3.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let mut ticks = Vec::new();
        for power in self.low.floor() as i32..=self.high.ceil() as i32 {
            for m in within {
                let value = m * 10f64.powi(power);
                if (self.low - 1e-9..=self.high + 1e-9).contains(&value.log10()) {
                    ticks.push((value, label(value, (-power).max(0) as usize)));
                }
            }
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, at least as large as asked.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.max(1e-12).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// A value on an axis, a true minus before negative ones.
pub fn label(value: f64, digits: usize) -> String {
    if digits == 0 {
        let minus = if value.round() < 0.0 { "\u{2212}" } else { "" };
        return format!("{minus}{}", count(value.abs().round() as u64));
    }
    let text = format!("{:.digits$}", value.abs());
    let zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
    if value < 0.0 && !zero { format!("\u{2212}{text}") } else { text }
}

/// A chart under construction.
pub struct Chart {
    svg: String,
}

impl Chart {
    /// A chart with a title and a description for those who do not see it.
    pub fn new(id: &str, title: &str, description: &str) -> Self {
        let svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            escape(title),
            escape(description)
        );
        Self { svg }
    }

    /// Draws the vertical axis with grid lines, and its name above it.
    pub fn left(&mut self, scale: &Scale, name: &str) {
        for (value, text) in scale.ticks(4) {
            let y = scale.at(value);
            _ = write!(
                self.svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{}\" y=\"{y:.1}\" dy=\".34em\" text-anchor=\"end\">{text}</text>",
                LEFT - 8.0
            );
        }
        _ = write!(self.svg, "<text class=\"axis\" x=\"4\" y=\"{}\">{}</text>", TOP - 12.0, escape(name));
    }

    /// Draws the horizontal axis and its name below it.
    pub fn bottom(&mut self, scale: &Scale, name: &str) {
        _ = write!(self.svg, "<line class=\"base\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>");
        for (value, text) in scale.ticks(6) {
            let x = scale.at(value);
            _ = write!(
                self.svg,
                "<line class=\"base\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{BOTTOM}\" y2=\"{}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                BOTTOM + 4.0,
                BOTTOM + 20.0
            );
        }
        _ = write!(
            self.svg,
            "<text class=\"axis\" x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            HEIGHT - 8.0,
            escape(name)
        );
    }

    /// Adds marks. What it is given must be escaped already.
    pub fn draw(&mut self, marks: std::fmt::Arguments) {
        _ = self.svg.write_fmt(marks);
    }

    /// The finished SVG.
    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}
