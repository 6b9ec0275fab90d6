use realsyn_plan::records::Histogram;

use super::data::*;
use super::fixture::{HOSTILE, bell, full, pair, similarity};
use super::render::page;
use super::render::text::{base64, bytes, clip, count, duration, escape, percent};

/// Walks the page as a parser would and fails on a tag that is not closed, or closed out of turn.
fn assert_balanced(html: &str) {
    const VOID: &[&str] = &["meta", "img", "line", "rect", "circle", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let style = html.find("<style>").unwrap()..html.find("</style>").unwrap();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let place = html.len() - rest.len() + at;
        let Some(len) = rest[at..].find('>') else { panic!("an open tag at the end: {}", &rest[at..]) };
        let tag = &rest[at + 1..at + len];
        rest = &rest[at + len + 1..];
        if style.start < place && place < style.end {
            continue;
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "at {}", &html[place.saturating_sub(80)..place + 20]);
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
}

fn section<'a>(html: &'a str, id: &str) -> &'a str {
    let from = html.find(&format!("<section id=\"{id}\"")).unwrap_or_else(|| panic!("no section {id}"));
    &html[from..from + html[from..].find("</section>").unwrap()]
}

#[test]
fn the_page_is_well_formed_and_shows_every_part() {
    let html = page(&full());
    assert_balanced(&html);
    for wanted in
        ["8\u{202f}412", &"4f1c".repeat(16), "recall@3", "perceptual-duplicate", "truncated-parquet", "9\u{202f}000"]
    {
        assert!(html.contains(wanted), "{wanted} is not shown");
    }
    assert_eq!(html.matches("<article").count(), 24);
    assert!(section(&html, "funnel").contains("not run"), "a step that has not run says so");
}

#[test]
fn hostile_text_stays_text() {
    let mut report = full();
    let first = &mut report.sheet.pairs[0];
    first.caption = Some(HOSTILE.into());
    first.alt = Some(HOSTILE.into());
    first.tags = vec![(HOSTILE.into(), 0.5)];
    first.page = Some(format!("https://a.example/{HOSTILE}"));
    first.image = HOSTILE.into();
    first.picture = Some(Picture { jpeg: vec![1, 2], width: 3, height: 2, source: (30, 20) });
    report.funnels[0].steps[0].counts.as_mut().unwrap().dropped[0].0 = HOSTILE.into();
    report.timing[0].rejected[0].0 = HOSTILE.into();
    report.head.source = HOSTILE.into();
    report.head.build = Some(HOSTILE.into());
    report.head.release.as_mut().unwrap().name = HOSTILE.into();
    report.hubs.as_mut().unwrap().top[0].0.text = HOSTILE.into();
    report.sentence_groups[0].shown[0].members[0].text = HOSTILE.into();
    let html = page(&report);
    assert_balanced(&html);
    assert!(!html.contains("<script"), "a tag of a document became a tag of the page");
    assert!(!html.contains("onload='") && !html.contains("\"x\""), "a quote of a document could end an attribute");
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &quot;x&quot; onload=&#39;y&#39; &amp;amp;"));
    assert!(!html.contains('\u{0}') && !html.contains('\u{1b}'), "control characters are not allowed in HTML");
    assert!(!html.contains("href=\"javascript:"), "only web addresses become links");
}

#[test]
fn the_page_asks_nothing_of_a_network() {
    let html = page(&full());
    assert!(html.contains("default-src 'none'"));
    for from in ["src=\"http", "url(http", "@import", "<link", "<script", "<iframe", "<object"] {
        assert!(!html.contains(from), "{from} loads something");
    }
}

#[test]
fn an_empty_build_and_an_empty_release_say_so() {
    let html = page(&Report::default());
    assert_balanced(&html);
    assert!(html.contains("No pairs yet"));
    for id in ["pairs", "scores", "balance", "merged", "recall", "hubs"] {
        assert!(section(&html, id).contains("Not run."), "{id}");
    }
    let mut report = full();
    report.sheet = Sheet { released: true, ..Sheet::default() };
    report.balance = Some(Balance { after: Some(0), ..Balance::default() });
    report.hubs = Some(Hubs::default());
    report.recall = Some(Recall { cells: 1, ..Recall::default() });
    report.scores = vec![similarity(Histogram::new(-0.2, 1.0, 120), Some((-1.0, 1.0)))];
    report.head.release.as_mut().unwrap().published.as_mut().unwrap().pairs = 0;
    report.head.pool = Some(0);
    let html = page(&report);
    assert_balanced(&html);
    assert!(html.contains("<span class=\"number\">0</span> image-text pairs released"));
    assert!(section(&html, "pairs").contains("There is no pair to show."));
    assert!(section(&html, "scores").contains("No values."));
    assert!(!html.contains("NaN") && !html.contains("inf"), "a division by nothing is shown");
}

#[test]
fn a_band_outside_of_the_histogram_is_named_and_not_drawn() {
    let scores = |band| {
        let mut report = full();
        report.scores = vec![similarity(bell(-0.2, 1.0, 120, 0.2, 0.05, 900.0), Some(band))];
        section(&page(&report), "scores").to_owned()
    };
    let outside = scores((1.2, 1.3));
    assert!(
        outside.contains("Kept: 1.2 to 1.3")
            && !outside.contains("class=\"band\"")
            && !outside.contains("class=\"edge\"")
    );
    assert!(!outside.contains("class=\"in\""), "no bar lies inside the band");
    let across = scores((-1.0, 0.2));
    assert_eq!(across.matches("class=\"edge\"").count(), 1, "only the end that lies inside is drawn");
    assert!(across.contains("class=\"in\"") && across.contains("class=\"out\""));
}

#[test]
fn one_value_one_cluster_one_point_make_charts() {
    let mut report = full();
    let mut one = Histogram::new(-0.2, 1.0, 120);
    one.add(0.4);
    report.scores = vec![similarity(one, Some((0.4, 0.4)))];
    report.balance = Some(Balance {
        clusters: 1,
        before: 1,
        before_curve: vec![(1, 1)],
        top: vec![(0, 1, None)],
        ..Balance::default()
    });
    let point = RecallAt { probe_cells: 1, probe_clusters: 0, recall: 1.0, work: 1.0 };
    report.recall =
        Some(Recall { sample: 1, probe_cells: 1, cells: 1, recall: 1.0, points: vec![point], ..Recall::default() });
    report.sheet = Sheet { pairs: vec![pair(0)], of: 1, released: false };
    let html = page(&report);
    assert_balanced(&html);
    assert!(!html.contains("NaN") && !html.contains("inf"));
    assert!(html.contains("1 pair in 1 cluster") && html.contains("1 of 1 pair of the pool"));
}

#[test]
fn numbers_are_written_for_people() {
    let written = |list: &[u64], f: fn(u64) -> String| list.iter().map(|n| f(*n)).collect::<Vec<_>>().join(" | ");
    assert_eq!(
        written(&[0, 999, 1000, 1_234_567, 99_949_999, 99_950_000, 999_400_000, 999_500_000, u64::MAX], bytes),
        "0 B | 999 B | 1.0 kB | 1.2 MB | 99.9 MB | 100 MB | 999 MB | 1.0 GB | 18.4 EB"
    );
    assert_eq!(written(&[0, 999, 1000, 1_234_567], count), "0 | 999 | 1\u{202f}000 | 1\u{202f}234\u{202f}567");
    assert_eq!(
        written(&[999, 1500, 99_949, 99_950, 3_599_999, 3_600_000], duration).replace('\u{202f}', " "),
        "999 ms | 1.5 s | 99.9 s | 1 min 39 s | 59 min 59 s | 1 h 00 min"
    );
    let percents: Vec<String> = [0.0, 0.0001, 0.5, 0.123, 0.99999, 1.0].into_iter().map(percent).collect();
    assert_eq!(percents.join(" ").replace('\u{202f}', ""), "0% under 0.1% 50% 12.3% over 99.9% 100%");
}

#[test]
fn base64_is_the_standard_one() {
    let vectors = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];
    for (plain, coded) in vectors {
        assert_eq!(base64(plain.as_bytes()), coded);
    }
    assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
}

#[test]
fn long_text_is_cut_between_characters_and_words() {
    assert_eq!(clip("short", 5), "short");
    assert_eq!(clip("a long sentence of words", 20), "a long sentence of\u{2026}");
    assert_eq!(clip(&"\u{e9}".repeat(9), 4), "\u{e9}\u{e9}\u{e9}\u{e9}\u{2026}");
    assert_eq!(escape("a\u{0}b\u{7f}c\nd"), "a\u{fffd}b\u{fffd}c d");
}
