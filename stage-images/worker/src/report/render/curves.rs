//! Curves: cluster sizes before and after balancing, and recall against work.

use std::fmt::Write;

use super::chart::{BOTTOM, Chart, LEFT, RIGHT, Scale, TOP};
use super::text::{count, counted, percent, share};
use crate::report::data::{Balance, Recall, RecallAt};

/// Above this size, sizes are read on a logarithmic axis.
const LINEAR_UP_TO: f64 = 60.0;

/// Cluster sizes as a figure, with a table of the largest.
pub fn balance(b: &Balance) -> String {
    let mut caption = format!("{} in {}", counted(b.before, "pair"), counted(b.clusters, "cluster"));
    if let Some(after) = b.after {
        _ = write!(caption, " before balancing, {} ({}) after", count(after), share(after, b.before));
    }
    match (b.after, b.limit) {
        (Some(_), Some(limit)) => _ = write!(caption, ". A cluster gives at most {}", count(limit)),
        (Some(_), None) => caption.push_str(". No limit per cluster"),
        (None, _) => {}
    }
    if b.before_curve.is_empty() {
        return format!("<p>{caption}.</p><p class=\"none\">No clusters.</p>");
    }
    let largest = b.before_curve.iter().map(|p| p.1).max().unwrap_or(1).max(1) as f64;
    let x = Scale::log((1.0, b.clusters.max(2) as f64), (LEFT, RIGHT));
    let log = largest > LINEAR_UP_TO;
    let y = if log {
        Scale::log((0.8, largest * 1.15), (BOTTOM, TOP))
    } else {
        Scale::linear((0.0, largest * 1.06), (BOTTOM, TOP))
    };
    let mut chart = Chart::new("balance", "Cluster sizes by rank", &caption);
    chart.left(&y, if log { "pairs per cluster (logarithmic)" } else { "pairs per cluster" });
    if let Some(limit) = b.limit.filter(|l| y.holds(*l as f64)) {
        let at = y.at(limit as f64);
        chart.draw(format_args!(
            "<line class=\"edge\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"mark\" x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">limit {}</text>",
            at - 6.0,
            count(limit)
        ));
    }
    for (class, curve) in [("before", &b.before_curve), ("after", &b.after_curve)] {
        let path = steps(curve, &x, &y);
        if let (false, Some((last, _))) = (path.is_empty(), curve.last()) {
            let (from, to) = (x.at(1.0), x.at((last + 1) as f64));
            chart.draw(format_args!(
                "<path class=\"area {class}\" d=\"{path}V{BOTTOM}H{from:.1}Z\"/><path class=\"line {class}\" d=\"{path}H{to:.1}\"/>"
            ));
        }
    }
    chart.bottom(&x, "clusters by size, the largest first (rank, logarithmic)");
    let legend = match b.after {
        Some(_) => {
            "<p class=\"legend\"><span class=\"swatch before\"></span>before <span class=\"swatch after\"></span>after</p>"
        }
        None => "",
    };
    format!(
        "<div class=\"two\"><figure class=\"panel\"><figcaption><h3>Sizes by rank</h3><p>{caption}.</p>{legend}</figcaption>{}</figure>{}</div>",
        chart.finish(),
        largest_clusters(b)
    )
}

/// A falling staircase through `(rank, size)`.
fn steps(curve: &[(u64, u64)], x: &Scale, y: &Scale) -> String {
    let mut path = String::new();
    for (at, (rank, size)) in curve.iter().enumerate() {
        let (px, py) = (x.at(*rank as f64), y.at(*size as f64));
        _ = if at == 0 { write!(path, "M{px:.1} {py:.1}") } else { write!(path, "H{px:.1}V{py:.1}") };
    }
    path
}

fn largest_clusters(b: &Balance) -> String {
    let mut rows = String::new();
    for (cluster, before, after) in &b.top {
        let after = after.map_or_else(String::new, |n| format!("<td>{}</td>", count(n)));
        _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td>{after}<td>{}</td></tr>",
            cluster_name(*cluster),
            count(*before),
            share(*before, b.before)
        );
    }
    let after = if b.after.is_some() { "<th scope=\"col\">After</th>" } else { "" };
    let before = if b.after.is_some() { "Before" } else { "Pairs" };
    format!(
        "<div class=\"panel\"><h3>Largest clusters</h3><div class=\"scroll\" tabindex=\"0\"><table class=\"figures\"><thead><tr>\
         <th scope=\"col\">Cell / cluster</th><th scope=\"col\">{before}</th>{after}<th scope=\"col\">Share of all</th>\
         </tr></thead><tbody>{rows}</tbody></table></div></div>"
    )
}

/// A cluster's number as cell and place in the cell.
pub fn cluster_name(cluster: u64) -> String {
    format!("{}\u{2009}/\u{2009}{}", cluster >> 32, cluster & 0xffff_ffff)
}

/// Recall against work as a figure.
pub fn recall(r: &Recall) -> String {
    let clusters = match r.probe_clusters {
        0 => "every cluster of each".to_owned(),
        1 => "the nearest cluster of each".to_owned(),
        n => format!("the {} nearest clusters of each", count(n)),
    };
    let mut caption = format!(
        "Of the exact best three sentences of {}, retrieval finds {} by searching {} of {} and {clusters}",
        counted(r.sample, "sampled image"),
        percent(r.recall),
        count(r.probe_cells),
        counted(r.cells, "cell"),
    );
    let chosen = r.points.iter().find(|p| p.probe_cells == r.probe_cells && p.probe_clusters == r.probe_clusters);
    if let Some(point) = chosen {
        _ = write!(caption, ", comparing {} of what exact search compares", percent(point.work.min(1.0)));
    }
    if let Some(target) = r.target {
        let met = if r.recall >= target { "met" } else { "not met" };
        _ = write!(caption, ". The target of {} is {met}", percent(target));
    }
    if r.sample == 0 || r.points.is_empty() {
        return "<p class=\"none\">No image was sampled.</p>".to_owned();
    }
    format!(
        "<div class=\"two\"><div class=\"panel fact\"><p class=\"big\">{}</p><p class=\"unit\">recall@3</p><p>{caption}.</p></div>\
         <figure class=\"panel\"><figcaption><h3>Settings tried</h3><p>Each dot is a number of cells and clusters to search; \
         the line joins the best for their work, the ring is the one that was taken.</p></figcaption>{}</figure></div>",
        percent(r.recall),
        recall_plot(r, chosen, &caption)
    )
}

fn recall_plot(r: &Recall, chosen: Option<&RecallAt>, caption: &str) -> String {
    let least = r.points.iter().map(|p| p.work).filter(|w| *w > 0.0).fold(1.0, f64::min);
    let lowest = r.points.iter().map(|p| p.recall).fold(r.target.unwrap_or(1.0), f64::min);
    let x = Scale::log((least * 0.9, 1.1), (LEFT, RIGHT));
    let y = Scale::linear(((lowest * 10.0 - 0.5).floor().max(0.0) / 10.0, 1.0), (BOTTOM, TOP));
    let mut chart = Chart::new("recall", "Recall by work", caption);
    chart.left(&y, "recall@3");
    for p in &r.points {
        chart.draw(format_args!(
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.4\"/>",
            x.at(p.work),
            y.at(p.recall)
        ));
    }
    let mut path = String::new();
    for p in frontier(&r.points) {
        _ = write!(path, "{}{:.1} {:.1}", if path.is_empty() { "M" } else { "L" }, x.at(p.work), y.at(p.recall));
    }
    chart.draw(format_args!("<path class=\"line after\" d=\"{path}\"/>"));
    if let Some(target) = r.target.filter(|t| y.holds(*t)) {
        let at = y.at(target);
        chart.draw(format_args!(
            "<line class=\"edge\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"mark\" x=\"{}\" y=\"{:.1}\">target {}</text>",
            LEFT + 4.0,
            at + 15.0,
            percent(target)
        ));
    }
    if let Some(p) = chosen {
        chart.draw(format_args!(
            "<circle class=\"ring\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"6.5\"/>",
            x.at(p.work),
            y.at(p.recall)
        ));
    }
    chart.bottom(&x, "rows compared, as a share of exact search (logarithmic)");
    chart.finish()
}

/// The points that no other beats at their work, by rising work.
fn frontier(points: &[RecallAt]) -> Vec<RecallAt> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.work.total_cmp(&b.work).then(b.recall.total_cmp(&a.recall)));
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|p| {
        let better = p.recall > best;
        best = best.max(p.recall);
        better
    });
    sorted
}
