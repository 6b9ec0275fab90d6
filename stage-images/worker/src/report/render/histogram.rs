//! Histograms of scores, with what is kept of them.

use std::fmt::Write;

use realsyn_plan::records::Histogram;

use super::chart::{BOTTOM, Chart, LEFT, RIGHT, Scale, TOP};
use super::text::{count, escape, share};
use crate::report::data::Distribution;

/// Fewest bins that are shown, so that one value is not drawn as one huge bar.
const MIN_BINS: usize = 16;

/// A histogram as a figure.
pub fn figure(id: &str, d: &Distribution) -> String {
    let total: u64 = d.histogram.bins.iter().sum();
    let caption = caption(d, total);
    let plot = if total == 0 { "<p class=\"none\">No values.</p>".to_owned() } else { plot(id, d, &caption) };
    format!(
        "<figure class=\"panel\"><figcaption><h3>{}</h3><p>{}.</p></figcaption>{plot}</figure>",
        escape(d.title),
        escape(&caption)
    )
}

fn caption(d: &Distribution, total: u64) -> String {
    let noun = if total == 1 { d.of.strip_suffix('s').unwrap_or(d.of) } else { d.of };
    let mut text = format!("{} {noun}", count(total));
    if total > 0 {
        _ = write!(text, ", median about {}", value(unlog(d, quantile(&d.histogram, 0.5))));
    }
    let Some((low, high)) = d.band else { return text };
    match (low.is_finite(), high.is_finite()) {
        (true, true) => _ = write!(text, ". Kept: {} to {}", value(low), value(high)),
        (true, false) => _ = write!(text, ". Kept: from {}", value(low)),
        (false, true) => _ = write!(text, ". Kept: up to {}", value(high)),
        (false, false) => text.push_str(". Everything is kept"),
    }
    if let Some((below, inside, above)) = d.decided.filter(|(b, i, a)| b + i + a > 0) {
        let all = below + inside + above;
        _ = write!(text, " ({}", share(inside, all));
        if below > 0 {
            _ = write!(text, "; {} below", share(below, all));
        }
        if above > 0 {
            _ = write!(text, "; {} above", share(above, all));
        }
        text.push(')');
    }
    let edges = (d.histogram.bins.first() > Some(&0), d.histogram.bins.last() > Some(&0));
    let (lowest, highest) = (unlog(d, d.histogram.low), unlog(d, d.histogram.high));
    match edges {
        (true, true) => {
            _ = write!(text, ". Values beyond {} and {} stand in the outer bars", value(lowest), value(highest))
        }
        (true, false) => _ = write!(text, ". Values below {} stand in the first bar", value(lowest)),
        (false, true) => _ = write!(text, ". Values above {} stand in the last bar", value(highest)),
        (false, false) => {}
    }
    text
}

fn plot(id: &str, d: &Distribution, caption: &str) -> String {
    let h = &d.histogram;
    let edge = |bin: usize| h.low + (h.high - h.low) * bin as f64 / h.bins.len() as f64;
    let (first, last) = shown(d);
    let range = (LEFT, RIGHT);
    let x = match d.log10 {
        true => Scale::log((unlog(d, edge(first)), unlog(d, edge(last))), range),
        false => Scale::linear((edge(first), edge(last)), range),
    };
    let most = h.bins[first..last].iter().copied().max().unwrap_or(1);
    let y = Scale::linear((0.0, most as f64 * 1.06), (BOTTOM, TOP));
    let mut chart = Chart::new(id, d.title, caption);
    chart.left(&y, d.of);
    let band = d.band.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    if d.band.is_some() {
        let (from, to) = (x.at(band.0.max(unlog(d, edge(first)))), x.at(band.1.min(unlog(d, edge(last)))));
        if to > from {
            chart.draw(format_args!(
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                to - from,
                BOTTOM - TOP
            ));
        }
    }
    for bin in (first..last).filter(|b| h.bins[*b] > 0) {
        let (from, to) = (unlog(d, edge(bin)), unlog(d, edge(bin + 1)));
        // A bar that an end of the band crosses is drawn in two colours.
        let mut cuts = vec![from, to];
        cuts.extend([band.0, band.1].into_iter().filter(|c| *c > from && *c < to));
        cuts.sort_by(f64::total_cmp);
        let top = y.at(h.bins[bin] as f64).min(BOTTOM - 1.0);
        let gap = ((x.at(to) - x.at(from)) * 0.08).min(1.0);
        chart.draw(format_args!("<g><title>{} to {}: {}</title>", value(from), value(to), count(h.bins[bin])));
        for piece in cuts.windows(2) {
            let middle = (piece[0] + piece[1]) / 2.0;
            let class = if (band.0..=band.1).contains(&middle) { "in" } else { "out" };
            let left = x.at(piece[0]) + if piece[0] == from { gap } else { 0.0 };
            let width = (x.at(piece[1]) - left).max(0.4);
            chart.draw(format_args!(
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                BOTTOM - top
            ));
        }
        chart.draw(format_args!("</g>"));
    }
    for end in [band.0, band.1].into_iter().filter(|e| e.is_finite() && x.holds(*e)) {
        let at = x.at(end);
        chart.draw(format_args!("<line class=\"edge\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>"));
    }
    chart.bottom(&x, d.axis);
    chart.finish()
}

/// The bins to show, as a range: those with counts and the band's ends, and a little around them.
fn shown(d: &Distribution) -> (usize, usize) {
    let h = &d.histogram;
    let n = h.bins.len();
    let mut first = h.bins.iter().position(|b| *b > 0).unwrap_or(0);
    let mut last = h.bins.iter().rposition(|b| *b > 0).map_or(n, |at| at + 1);
    let (low, high) = d.band.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    for end in [low, high].into_iter().filter(|e| e.is_finite()) {
        let end = if d.log10 { end.log10() } else { end };
        let place = (end - h.low) / (h.high - h.low) * n as f64;
        // An end that the bins do not reach would shrink what there is to see; the caption names it.
        if (0.0..=n as f64).contains(&place) {
            first = first.min(place as usize);
            last = last.max((place.ceil() as usize).min(n));
        }
    }
    first = first.saturating_sub(2);
    last = (last + 2).min(n);
    let missing = MIN_BINS.saturating_sub(last - first);
    first = first.saturating_sub(missing / 2);
    (first, (last + missing.div_ceil(2)).min(n))
}

/// The value below which a share of the counts lies, even inside a bin.
fn quantile(h: &Histogram, share: f64) -> f64 {
    let total: u64 = h.bins.iter().sum();
    let width = (h.high - h.low) / h.bins.len() as f64;
    let mut left = share * total as f64;
    for (at, &n) in h.bins.iter().enumerate() {
        if n > 0 && left <= n as f64 {
            return h.low + width * (at as f64 + left / n as f64);
        }
        left -= n as f64;
    }
    h.high
}

fn unlog(d: &Distribution, place: f64) -> f64 {
    if d.log10 { 10f64.powf(place) } else { place }
}

/// A score to three significant digits, without zeros at its end.
fn value(v: f64) -> String {
    let digits = match v.abs() {
        a if a >= 99.95 => 0,
        a if a >= 9.995 => 1,
        a if a >= 0.9995 => 2,
        _ => 3,
    };
    let text = super::chart::label(v, digits);
    if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}
