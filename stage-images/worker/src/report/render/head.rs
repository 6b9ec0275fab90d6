//! The headline: how many pairs, of what, from what.

use std::fmt::Write;

use super::out_of;
use super::pairs::picture;
use super::text::{bytes, count, escape, quoted};
use crate::report::data::{Head, Picture, Sheet};

/// The page's title.
pub fn title(head: &Head) -> String {
    let name = head.release.as_ref().map(|r| r.name.as_str()).or(head.build.as_deref());
    name.map_or_else(|| "RealSyn report".to_owned(), |n| format!("{n} \u{b7} RealSyn report"))
}

/// The headline with its facts.
pub fn header(head: &Head, strip: &[Picture], sheet: &Sheet) -> String {
    let mut html = String::from("<header>");
    if !strip.is_empty() {
        html.push_str("<div class=\"strip\" aria-hidden=\"true\">");
        for (shown, pair) in strip.iter().zip(&sheet.pairs) {
            _ = write!(html, "<a href=\"#i-{}\" tabindex=\"-1\">{}</a>", escape(&pair.image), picture(shown, ""));
        }
        html.push_str("</div>");
    }
    let published = head.release.as_ref().and_then(|r| r.published.as_ref());
    let (kind, name) = match (&head.release, &head.build) {
        (Some(release), _) => ("release", Some(&release.name)),
        (None, build) => ("build", build.as_ref()),
    };
    let name = name.map_or_else(String::new, |n| format!(" <b>{}</b>", quoted(n, 80)));
    _ = write!(html, "<div class=\"lead\"><p class=\"kind\">RealSyn {kind}{name}</p>");
    let (number, noun) = match (published, head.pool) {
        (Some(p), _) => (Some(p.pairs), " released"),
        (None, Some(n)) => (Some(n), " in the pool"),
        (None, None) => (None, "No pairs yet: the build has not come that far"),
    };
    let number = number.map_or_else(String::new, |n| {
        let plural = if n == 1 { "" } else { "s" };
        format!("<span class=\"number\">{}</span> image-text pair{plural}", count(n))
    });
    _ = write!(html, "<h1>{number}{noun}</h1>");
    if let Some(p) = published {
        _ = write!(html, "<p class=\"digest\"><span>digest</span> <code>{}</code></p>", escape(&p.digest));
    } else if head.release.is_some() {
        html.push_str("<p class=\"digest\">The release is not published yet.</p>");
    }
    html.push_str("<dl class=\"facts\">");
    facts(head, &mut html);
    html.push_str("</dl></div></header>");
    html
}

fn facts(head: &Head, html: &mut String) {
    let mut fact = |name: &str, value: String, more: String| {
        let more = if more.is_empty() { String::new() } else { format!("<dd class=\"more\">{more}</dd>") };
        _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd>{more}</div>");
    };
    let published = head.release.as_ref().and_then(|r| r.published.as_ref());
    if let (Some(published), Some(pool)) = (published, head.pool) {
        fact("Pool", count(pool), format!("released: {}", out_of(published.pairs, pool)));
    }
    if let Some(p) = published {
        fact("Release", bytes(p.bytes), format!("{} files in {}", count(p.files), quoted(&p.uri, 120)));
    }
    let documents = head.documents.map_or_else(|| "not read".to_owned(), count);
    fact(
        "Documents",
        documents,
        format!("{} files, {}, {}", count(head.files), bytes(head.file_bytes), escape(&head.format)),
    );
    let used = |(found, used): (Option<u64>, Option<u64>), how: &str| match (found, used) {
        (_, Some(used)) => (count(used), found.map_or_else(String::new, |n| format!("{how} {} found", count(n)))),
        (Some(found), None) => (count(found), "found; not all stages are done".to_owned()),
        (None, None) => ("not run".to_owned(), String::new()),
    };
    let (value, more) = used(head.images, "distinct and kept, from");
    fact("Images", value, more);
    let (value, more) = used(head.sentences, "distinct and kept, from");
    fact("Sentences", value, more);
    if let (Some(build), true) = (&head.build, head.release.is_some()) {
        fact("Build", quoted(build, 80), quoted(&head.store, 120));
    } else {
        fact("Store", quoted(&head.store, 120), String::new());
    }
    fact("Source", quoted(&head.source, 120), String::new());
}
