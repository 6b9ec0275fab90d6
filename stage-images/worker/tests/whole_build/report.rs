//! The report of a real build says what the seals say.

use realsyn_plan::StepId;
use realsyn_plan::graph::ids;
use realsyn_worker::explain::{explain, load_seals};
use realsyn_worker::report;
use realsyn_worker::run::Run;
use realsyn_worker::session::Session;

use crate::fixture::{Change, TWO, fixture};

/// What stands in a page between two texts, the first time after `from`.
fn between<'a>(page: &'a str, from: &str, start: &str, end: &str) -> &'a str {
    let after = &page[page.find(from).unwrap_or_else(|| panic!("no {from} in the report"))..];
    let at = after.find(start).unwrap() + start.len();
    &after[at..at + after[at..].find(end).unwrap()]
}

/// A number as the report writes it, in groups of three.
fn number(text: &str) -> u64 {
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

fn count(run: &Run, step: StepId, name: &str) -> u64 {
    run.seals[&step].count(name)
}

#[test]
fn the_report_of_a_build_says_what_its_seals_say() {
    let Some((f, _one)) = fixture() else { return };
    let manifest = f.run("reference", &Change::default(), false, &TWO).unwrap().releases.remove(0).1;
    let page = std::fs::read_to_string(format!("{}/report.html", f.out("reference"))).unwrap();
    let session = Session::open(&f.at("report", "reference", &Change::default())).unwrap();
    let mut run = session.run(session.inventory(false).unwrap().0, session.manifests.releases.first()).unwrap();
    load_seals(&mut run).unwrap();
    assert_eq!(page, report::html(&run).unwrap(), "it can be made again of what is sealed");

    assert_eq!(number(between(&page, "<h1>", "<span class=\"number\">", "</span>")), manifest.pairs);
    assert_eq!(between(&page, "<p class=\"digest\">", "<code>", "</code>"), f.digest);
    for step in [ids::DECODE, ids::POLICY, ids::HOME, ids::PAIRS, ids::SELECT, ids::SENTENCES, ids::UNIQUE, ids::ROWS] {
        let bar = between(&page, &format!("<code>{step}</code>"), "aria-label=\"", " kept\"");
        let (kept, came) = bar.split_once(" of ").unwrap();
        assert_eq!((number(kept), number(came)), (count(&run, step, "out"), count(&run, step, "in")), "{step}");
    }
    assert_eq!(count(&run, ids::SELECT, "out"), manifest.pairs);

    let recall = count(&run, ids::CALIBRATE, "recall-ppm") as f64 / 1e4;
    let shown: f64 = between(&page, "recall@3", "retrieval finds ", "\u{202f}%").parse().unwrap();
    assert!((shown - recall).abs() <= 0.05, "{shown} % is shown, {recall} % was measured");

    // The first hub is retrieved for at least as many images as have it among their first three.
    let hub = between(&page, "class=\"hubs\"", "<tr title=\"", "\"");
    let at = f.at("report", "reference", &Change::default());
    let account = explain(&at, hub.parse().unwrap()).unwrap();
    let retrieved = account.lines().find(|line| line.trim_start().starts_with("retrieve")).unwrap();
    let first: u64 = number(between(&page, "class=\"hubs\"", "</i></td><td>", "</td>"));
    assert!(number(retrieved) >= first && first > 0, "{retrieved}; the report shows {first} among the first three");
}
