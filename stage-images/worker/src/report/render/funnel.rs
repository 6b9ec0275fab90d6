//! The funnels: what was left after each step, and why the rest was not.

use std::fmt::Write;

use super::out_of;
use super::text::{count, escape, share};
use crate::report::data::{Funnel, FunnelStep, StepCounts, Unit};

/// Reasons that have a shade of their own; the others share the last.
const SHADES: usize = 4;
/// Reasons that are written out.
const SHOWN: usize = 12;

/// A funnel as a list of bars. All bars have the scale of what came first.
pub fn funnel(f: &Funnel) -> String {
    let widest = f.steps.iter().filter_map(|s| s.counts.as_ref()).map(|c| c.came.max(c.kept)).max().unwrap_or(0);
    let mut rows = String::new();
    for step in &f.steps {
        rows.push_str(&row(step, widest));
        if step.before == Unit::Occurrences && step.after == Unit::Ids {
            rows.push_str(
                "<li class=\"turn\">From here on, each distinct one counts once; above, as often as it occurs.</li>",
            );
        }
    }
    format!("<div class=\"panel\"><h3>{}</h3><ol class=\"funnel\">{rows}</ol></div>", escape(f.title))
}

fn row(step: &FunnelStep, widest: u64) -> String {
    let head = format!("<div class=\"what\"><h4>{}</h4><code>{}</code></div>", escape(step.title), escape(&step.step));
    let Some(counts) = &step.counts else {
        return format!("<li class=\"absent\">{head}<p class=\"none\">not run</p></li>");
    };
    format!(
        "<li>{head}{}<p class=\"left\"><strong>{}</strong> <span>{}</span></p>{}</li>",
        bar(counts, widest),
        count(counts.kept),
        out_of(counts.kept, counts.came),
        reasons(counts)
    )
}

fn bar(c: &StepCounts, widest: u64) -> String {
    let width = |n: u64| if widest == 0 { 0.0 } else { 100.0 * n as f64 / widest as f64 };
    let mut bar = format!(
        "<div class=\"bar\" role=\"img\" aria-label=\"{} of {} kept\"><i class=\"kept\" style=\"width:{:.3}%\"></i>",
        count(c.kept),
        count(c.came),
        width(c.kept)
    );
    for (at, (reason, n)) in c.dropped.iter().enumerate() {
        _ = write!(
            bar,
            "<i class=\"d{}\" style=\"width:{:.3}%\" title=\"{}: {}\"></i>",
            at.min(SHADES - 1),
            width(*n),
            escape(reason),
            count(*n)
        );
    }
    bar.push_str("</div>");
    bar
}

fn reasons(c: &StepCounts) -> String {
    if c.dropped.is_empty() {
        return String::new();
    }
    let mut list = String::from("<ul class=\"reasons\">");
    for (at, (reason, n)) in c.dropped.iter().take(SHOWN).enumerate() {
        _ = write!(
            list,
            "<li><span class=\"swatch d{}\"></span>{} <b>{}</b> <span>{}</span></li>",
            at.min(SHADES - 1),
            escape(reason),
            count(*n),
            share(*n, c.came)
        );
    }
    let rest: u64 = c.dropped.iter().skip(SHOWN).map(|(_, n)| n).sum();
    if rest > 0 {
        _ = write!(list, "<li>{} other reasons <b>{}</b></li>", c.dropped.len() - SHOWN, count(rest));
    }
    list.push_str("</ul>");
    list
}
