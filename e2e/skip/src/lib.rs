//! Tests that need more than the machine has. Cargo calls a test that did nothing `ok`; so they say what is missing, past
//! the test runner's capture, and are counted by whoever runs them all.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};

/// Names the file to which each skip adds a line; `make test` counts them.
const FILE: &str = "REALSYN_SKIPPED";

/// Says on one line of its own, `SKIPPED <test>: <why>`, that a test did not run, or all that share something.
///
/// # Panics
/// The line cannot be added to the file that `REALSYN_SKIPPED` names: an uncounted skip would be taken for a test.
pub fn skipped(test: &str, why: impl Display) {
    let line = line(test, &why.to_string());
    // Whoever closed the standard error does not want to be told.
    _ = io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os(FILE) {
        let added =
            File::options().create(true).append(true).open(&file).and_then(|mut f| f.write_all(line.as_bytes()));
        added.unwrap_or_else(|error| panic!("{} ({FILE}): {error}", file.display()));
    }
}

/// One line, whatever the reason holds: many processes write to the file at once, each line whole.
fn line(test: &str, why: &str) -> String {
    format!("SKIPPED {test}: {}\n", why.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_skip_is_one_line() {
        assert_eq!(super::line("node", "runc:\n  not there "), "SKIPPED node: runc: not there\n");
    }
}
