//! From plain structs to one HTML file. No script, no request: the policy in the head forbids both.

mod chart;
mod curves;
mod funnel;
mod groups;
mod head;
mod histogram;
mod pairs;
pub mod text;
mod timing;

use super::data::Report;
use text::{count, counted, escape, share};

const STYLE: &str = include_str!("style.css");
/// Images may only be data of the file itself, and only style sheets inside it count.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A section of the page: anchor, heading, content.
type Section = (&'static str, &'static str, String);

/// The report as HTML.
pub fn page(report: &Report) -> String {
    let sections = sections(report);
    let links: String = sections.iter().map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a>")).collect();
    let body: String = sections
        .iter()
        .map(|(id, title, html)| format!("<section id=\"{id}\"><h2>{title}</h2>{html}</section>"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"referrer\" content=\"no-referrer\"><title>{}</title>\n<style>{STYLE}</style></head>\n<body>{}\
         <nav aria-label=\"Sections\">{links}</nav>\n<main>{body}</main>\
         <footer class=\"end\"><p>Texts and pictures belong to the documents they come from. Synthetic texts were written by a \
         model and may be wrong. <code>realsyn explain ID</code> tells everything about an image or a sentence named here.</p></footer>\
         </body></html>\n",
        escape(&head::title(&report.head)),
        head::header(&report.head, &report.strip, &report.sheet)
    )
}

fn sections(r: &Report) -> Vec<Section> {
    let not_run = || "<p class=\"none\">Not run.</p>".to_owned();
    let mut sections: Vec<Section> = Vec::new();
    let funnels: String = r.funnels.iter().map(funnel::funnel).collect();
    sections.push(("funnel", "What was left, and why", funnels));
    let sheet = match r.sheet.pairs.len() as u64 {
        0 if r.sheet.of == 0 && !r.sheet.released => not_run(),
        0 => "<p class=\"none\">There is no pair to show.</p>".to_owned(),
        n => {
            let whole = if r.sheet.released { "release" } else { "pool" };
            format!(
                "<p>{} of {} of the {whole}, the first in an order by a hash of their ids: a fair sample, and the same one every time.</p>{}",
                count(n),
                counted(r.sheet.of, "pair"),
                pairs::sheet(&r.sheet)
            )
        }
    };
    sections.push(("pairs", "Pairs", sheet));
    let scores: String =
        r.scores.iter().enumerate().map(|(at, d)| histogram::figure(&format!("score-{at}"), d)).collect();
    let scores = if scores.is_empty() { not_run() } else { format!("<div class=\"charts\">{scores}</div>") };
    sections.push(("scores", "Scores", scores));
    sections.push(("balance", "Clusters and balance", r.balance.as_ref().map_or_else(not_run, curves::balance)));
    let merged: String =
        r.image_groups.iter().map(groups::images).chain(r.sentence_groups.iter().map(groups::sentences)).collect();
    sections.push(("merged", "Merged duplicates", if merged.is_empty() { not_run() } else { merged }));
    sections.push(("recall", "Recall of retrieval", r.recall.as_ref().map_or_else(not_run, curves::recall)));
    sections.push(("hubs", "Hubs of retrieval", r.hubs.as_ref().map_or_else(not_run, groups::hubs)));
    sections.push(("time", "Time and throughput", timing::timing(&r.timing)));
    sections
}

/// A share and its whole: `12 % of 300`; empty when there is nothing to share.
fn out_of(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{} of {}", share(part, whole), count(whole)) }
}
