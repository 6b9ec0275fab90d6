//! The contact sheet, and pictures in general.

use std::fmt::Write;

use super::curves::cluster_name;
use super::text::{base64, clip, count, escape, quoted};
use crate::report::data::{PairCard, Picture, Sheet, Text};

/// Characters of a text that are shown; a sentence has at most 81 words, but a word has any length.
const MOST_TEXT: usize = 420;
/// Tags of an image that are shown.
const MOST_TAGS: usize = 10;

/// A picture inside the page; `text` is said in place of it.
pub fn picture(picture: &Picture, text: &str) -> String {
    format!(
        "<img src=\"data:image/jpeg;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{}\" loading=\"lazy\" decoding=\"async\">",
        base64(&picture.jpeg),
        picture.width,
        picture.height,
        escape(&clip(text, 160))
    )
}

/// All cards of the sheet.
pub fn sheet(sheet: &Sheet) -> String {
    let mut html = String::from("<div class=\"sheet\">");
    for pair in &sheet.pairs {
        html.push_str(&card(pair));
    }
    html.push_str("</div>");
    html
}

fn card(p: &PairCard) -> String {
    let mut html = format!("<article class=\"card\" id=\"i-{}\">", escape(&p.image));
    let said = p.alt.as_deref().or(p.caption.as_deref()).unwrap_or("no description");
    match &p.picture {
        Some(shown) => _ = write!(html, "<div class=\"photo\">{}</div>", picture(shown, said)),
        None => html.push_str("<div class=\"photo\"><p class=\"none\">no picture</p></div>"),
    }
    html.push_str("<div class=\"texts\">");
    match &p.synthetic {
        Some(text) => {
            _ = write!(
                html,
                "<h4>Synthetic{}</h4><p class=\"synthetic\">{}</p>",
                cosine(p.cosine),
                quoted(text, MOST_TEXT)
            )
        }
        None => html.push_str("<h4>Synthetic</h4><p class=\"none\">none passed</p>"),
    }
    html.push_str("<h4>Realistic</h4>");
    if p.texts.is_empty() {
        html.push_str("<p class=\"none\">no sentence</p>");
    } else {
        html.push_str("<ol class=\"realistic\">");
        p.texts.iter().for_each(|t| html.push_str(&sentence(t)));
        html.push_str("</ol>");
    }
    if let Some(caption) = &p.caption {
        _ = write!(html, "<h4>Caption</h4><p>{}</p>", quoted(caption, MOST_TEXT));
    }
    if let Some(alt) = p.alt.as_deref().filter(|a| !a.trim().is_empty()) {
        _ = write!(html, "<h4>Alternative text</h4><p class=\"quiet\">{}</p>", quoted(alt, MOST_TEXT));
    }
    if !p.tags.is_empty() {
        html.push_str("<h4>Tags</h4><ul class=\"tags\">");
        for (tag, score) in p.tags.iter().take(MOST_TAGS) {
            _ = write!(html, "<li>{} <span>{score:.2}</span></li>", quoted(tag, 40));
        }
        html.push_str("</ul>");
    }
    html.push_str("</div>");
    html.push_str(&origin(p));
    html.push_str("</article>");
    html
}

fn sentence(t: &Text) -> String {
    format!("<li title=\"{}\">{}{}</li>", escape(&t.id), quoted(&t.text, MOST_TEXT), cosine(t.cosine))
}

fn cosine(value: Option<f32>) -> String {
    value.map_or_else(String::new, |v| {
        format!(" <span class=\"cosine\" title=\"cosine\">{}</span>", super::chart::label(v.into(), 3))
    })
}

fn origin(p: &PairCard) -> String {
    let mut html = format!("<footer><code>{}</code><p>", escape(&p.image));
    let mut item = |text: String| _ = write!(html, "<span>{text}</span>");
    if let Some(shown) = &p.picture {
        item(size(shown));
    }
    if let Some(cluster) = p.cluster {
        item(format!("cluster {}", cluster_name(cluster)));
    }
    if p.occurrences > 1 {
        item(format!("occurs {} times", count(p.occurrences)));
    }
    if let Some(page) = &p.page {
        item(link(page));
    }
    html.push_str("</p></footer>");
    html
}

/// The source's size.
pub fn size(picture: &Picture) -> String {
    format!("{}\u{202f}\u{d7}\u{202f}{}\u{202f}px", picture.source.0, picture.source.1)
}

/// A page of the corpus. Only web addresses become links: anything else could run on a click.
fn link(url: &str) -> String {
    let text = quoted(url.split_once("://").map_or(url, |(_, rest)| rest), 60);
    if url.starts_with("https://") || url.starts_with("http://") {
        format!("<a href=\"{}\" rel=\"noopener noreferrer nofollow\">{text}</a>", escape(url))
    } else {
        text
    }
}
