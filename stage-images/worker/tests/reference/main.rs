//! What the reference pages promise: that they are what the code says, that a reader who knows nothing else can follow them, and that
//! no stage changes its bytes without saying so.
//!
//! `REALSYN_WRITE_DOCS=1` writes the pages that are made of the code.

mod flags;
mod objects;
#[allow(dead_code, reason = "not every test opens what was sealed")]
#[path = "../support/openstax.rs"]
mod openstax;
mod reader;
mod stages;
mod tables;

use std::path::PathBuf;

use realsyn_text::rules::SentenceDrop;
use realsyn_vision::ImageReject;

/// Compares a page of the documentation with what it should be, or writes it.
fn is_current(page: &str, text: impl FnOnce(&str) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    let text = text(&current);
    if std::env::var_os("REALSYN_WRITE_DOCS").is_some() {
        return std::fs::write(path, text).unwrap();
    }
    assert!(
        current == text,
        "docs/{page} is not what the code says: REALSYN_WRITE_DOCS=1 cargo test --workspace --test reference -- current"
    );
}

#[test]
fn the_page_of_tables_is_current() {
    is_current("tables.md", |_| tables::page());
}

#[test]
fn the_page_of_the_command_is_current() {
    is_current("realsyn.md", flags::page);
}

#[test]
fn the_page_names_every_rule_that_leaves_something_out() {
    let page = include_str!("../../../../docs/data-contract.md");
    let of_sentences = SentenceDrop::ALL.iter().map(|reason| reason.as_str());
    let of_images = ImageReject::ALL.iter().map(|reason| reason.as_str());
    let missing: Vec<&str> = of_sentences.chain(of_images).filter(|r| !page.contains(&format!("`{r}`"))).collect();
    assert!(missing.is_empty(), "docs/data-contract.md names no reason {missing:?}");
}
