//! Time and throughput by stage.

use std::fmt::Write;

use super::text::{bytes, count, counted, duration, escape, rate, share};
use crate::report::data::StageTime;

/// The stages as a table, in graph order.
pub fn timing(stages: &[StageTime]) -> String {
    let total: u64 = stages.iter().map(|s| s.millis).sum();
    let most = stages.iter().map(|s| s.millis).max().unwrap_or(0).max(1);
    let mut rows = String::new();
    for stage in stages {
        rows.push_str(&row(stage, total, most));
    }
    let (read, written) = stages.iter().fold((0, 0), |(r, w), s| (r + s.read, w + s.written));
    format!(
        "<p>{} of computing in all: the time of every shard added up, so it is longer than the clock where shards ran side by \
         side. Shards that an earlier run committed count with the time they took then.</p>\
         <div class=\"panel\"><div class=\"scroll\" tabindex=\"0\"><table class=\"figures timing\"><thead><tr><th scope=\"col\">Stage</th>\
         <th scope=\"col\">Shards</th><th scope=\"col\">Rows in</th><th scope=\"col\">Time</th><th scope=\"col\">Share</th>\
         <th scope=\"col\">Rows / s</th><th scope=\"col\">Read</th><th scope=\"col\">Written</th></tr></thead>\
         <tbody>{rows}</tbody><tfoot><tr><th scope=\"row\">All</th><td>{}</td><td></td><td>{}</td><td></td><td></td><td>{}</td><td>{}</td>\
         </tr></tfoot></table></div></div>",
        duration(total),
        count(stages.iter().map(|s| s.shards).sum()),
        duration(total),
        bytes(read),
        bytes(written)
    )
}

fn row(s: &StageTime, total: u64, most: u64) -> String {
    if s.sealed == 0 {
        return format!("<tr class=\"absent\"><th scope=\"row\">{}</th><td colspan=\"7\">not run</td></tr>", s.stage);
    }
    let partly =
        if s.sealed < s.steps { format!(" <small>{} of {} steps</small>", s.sealed, s.steps) } else { String::new() };
    let (rows, per_second) = match s.rows {
        Some((n, unit)) => (
            format!("{} <small>{unit}</small>", count(n)),
            rate(n, s.millis).map_or_else(String::new, |r| format!("{r}{}", tokens(s))),
        ),
        None => (String::new(), String::new()),
    };
    let mut html = format!(
        "<tr><th scope=\"row\">{}{partly}<i class=\"meter\" style=\"width:{:.2}%\"></i></th><td>{}</td><td>{rows}</td><td>{}</td><td>{}</td>\
         <td>{per_second}</td><td>{}</td><td>{}</td></tr>",
        s.stage,
        100.0 * s.millis as f64 / most as f64,
        count(s.shards),
        duration(s.millis),
        share(s.millis, total),
        bytes(s.read),
        bytes(s.written)
    );
    if !s.rejected.is_empty() {
        let reasons: Vec<String> = s.rejected.iter().map(|(why, n)| format!("{} {}", escape(why), count(*n))).collect();
        let all = s.rejected.iter().map(|(_, n)| n).sum();
        _ = write!(
            html,
            "<tr class=\"rejected\"><td colspan=\"8\">{} rejected: {}</td></tr>",
            counted(all, "shard"),
            reasons.join(", ")
        );
    }
    html
}

fn tokens(s: &StageTime) -> String {
    let per_second = s.tokens.and_then(|n| rate(n, s.millis));
    per_second.map_or_else(String::new, |r| format!(" <small>{r} tokens</small>"))
}
