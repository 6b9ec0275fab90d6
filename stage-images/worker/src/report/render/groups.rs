//! Merged duplicates, and the hubs of retrieval.

use std::fmt::Write;

use super::pairs::{picture, size};
use super::text::{count, counted, escape, quoted, share};
use crate::report::data::{Group, GroupSet, Hubs, Member, Text};

const MOST_TEXT: usize = 280;

/// Groups of images of one stage.
pub fn images(set: &GroupSet<Member>) -> String {
    panel(set, "image", |group| {
        let mut html = String::from("<ul class=\"thumbs\">");
        for (at, member) in group.members.iter().enumerate() {
            let (class, word) = if at == 0 { ("stays", "kept") } else { ("goes", "merged") };
            let said = format!("{word}: {}", member.id);
            let (thumb, mut label) = match &member.picture {
                Some(p) => (picture(p, &said), size(p)),
                None => ("<p class=\"none\">no picture</p>".to_owned(), String::new()),
            };
            if at == 0 {
                label = format!("<b>kept</b> {label}");
            }
            _ = write!(html, "<li class=\"{class}\" title=\"{}\">{thumb}<span>{label}</span></li>", escape(&said));
        }
        more(&mut html, group);
        html.push_str("</ul>");
        html
    })
}

/// Groups of sentences of one stage.
pub fn sentences(set: &GroupSet<Text>) -> String {
    panel(set, "sentence", |group| {
        let mut html = String::from("<ul class=\"alike\">");
        for (at, text) in group.members.iter().enumerate() {
            let class = if at == 0 { "stays" } else { "goes" };
            let times = text
                .occurrences
                .filter(|n| *n > 1)
                .map_or_else(String::new, |n| format!(" <span>{}\u{d7}</span>", count(n)));
            _ = write!(
                html,
                "<li class=\"{class}\" title=\"{}\">{}{times}</li>",
                escape(&text.id),
                quoted(&text.text, MOST_TEXT)
            );
        }
        more(&mut html, group);
        html.push_str("</ul>");
        html
    })
}

fn more<M>(html: &mut String, group: &Group<M>) {
    let hidden = group.size.saturating_sub(group.members.len() as u64);
    if hidden > 0 {
        _ = write!(html, "<li class=\"more\">and {} more</li>", count(hidden));
    }
}

fn panel<M>(set: &GroupSet<M>, noun: &str, show: impl Fn(&Group<M>) -> String) -> String {
    let mut html = format!(
        "<div class=\"panel groups\"><h3>{} <code>{}</code></h3><p>{} ",
        escape(set.title),
        escape(set.stage),
        escape(set.rule)
    );
    if set.groups == 0 {
        html.push_str("No group was found.</p></div>");
        return html;
    }
    _ = write!(
        html,
        "{} of {}, {} merged away.",
        counted(set.groups, "group"),
        counted(set.members, noun),
        count(set.members.saturating_sub(set.groups))
    );
    if (set.shown.len() as u64) < set.groups {
        _ = write!(html, " The largest {} are shown.", set.shown.len());
    }
    html.push_str("</p>");
    for group in &set.shown {
        _ = write!(html, "<div class=\"group\"><p class=\"size\">{}</p>{}</div>", count(group.size), show(group));
    }
    html.push_str("</div>");
    html
}

/// The sentences that most images retrieve.
pub fn hubs(h: &Hubs) -> String {
    if h.top.is_empty() {
        return "<p class=\"none\">No image has a sentence.</p>".to_owned();
    }
    let among = match h.distinct {
        Some(n) => format!("{} among their first three", counted(n, "distinct sentence")),
        None => "too many distinct sentences among their first three to count".to_owned(),
    };
    let mut html = format!(
        "<p>{} have {among}. At least one of the {} below is there for {} of them ({}).</p>\
         <div class=\"panel\"><div class=\"scroll\" tabindex=\"0\"><table class=\"hubs\"><thead><tr><th scope=\"col\">Sentence</th><th scope=\"col\">Images</th>\
         <th scope=\"col\">Share</th></tr></thead><tbody>",
        counted(h.images, "image"),
        h.top.len(),
        count(h.covered),
        share(h.covered, h.images),
    );
    let most = h.top.first().map_or(1, |(_, n)| *n).max(1);
    for (text, n) in &h.top {
        _ = write!(
            html,
            "<tr title=\"{}\"><td>{}<i class=\"meter\" style=\"width:{:.1}%\"></i></td><td>{}</td><td>{}</td></tr>",
            escape(&text.id),
            quoted(&text.text, MOST_TEXT),
            100.0 * *n as f64 / most as f64,
            count(*n),
            share(*n, h.images)
        );
    }
    html.push_str("</tbody></table></div></div>");
    html
}
