//! The page about the agent says what the code does.

use realsyn_gpu_agent::xid::{CATALOGUE, Class};

#[test]
fn the_page_has_every_xid() {
    let page = include_str!("../../../docs/gpu-agent.md");
    for entry in CATALOGUE {
        let number = match entry.first == entry.last {
            true => entry.first.to_string(),
            false => format!("{}–{}", entry.first, entry.last),
        };
        let class = match entry.class {
            Class::Fatal => "fatal",
            Class::Application => "application",
            Class::Noted => "noted",
        };
        let row = format!("| {number} | {class} | {} | `{}` |", entry.about, entry.action);
        assert!(page.contains(&row), "{row}");
    }
}
