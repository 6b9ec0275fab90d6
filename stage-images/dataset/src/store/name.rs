//! Which names an object may have.

use super::error::{Failure, StoreError};

/// Segments that start so belong to writers at work, in a folder; no object may use them.
pub(super) const TEMPORARY: &str = ".realsyn-tmp-";

/// Longest name in bytes: S3's limit is 1,024 for the whole key, and a store's own prefix needs some of it.
const MAX_NAME: usize = 900;

/// Longest segment in bytes: the limit of common file systems.
const MAX_SEGMENT: usize = 255;

/// Checks an object's name: segments separated by single `/`, none empty, `.` or `..`, none longer than 255 bytes or
/// starting as a temporary file does, no control characters, 900 bytes at most.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    match fault(name) {
        None => Ok(()),
        Some(reason) => Err(bad(name, reason)),
    }
}

/// Checks the prefix of a listing: as a name, but it may be empty, end with `/` or stop inside a segment.
pub fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    let name = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.is_empty() { Ok(()) } else { check_name(name) }
}

/// What is wrong with a name, if anything.
pub(super) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("a name must not be empty");
    }
    if name.len() > MAX_NAME {
        return Some("a name must not be longer than 900 bytes");
    }
    if name.chars().any(char::is_control) {
        return Some("a name must not hold control characters");
    }
    name.split('/').find_map(|segment| match segment {
        "" => Some("a name must not start or end with '/' nor hold '//'"),
        "." | ".." => Some("a name must not hold '.' or '..' as a segment"),
        _ if segment.len() > MAX_SEGMENT => Some("a segment of a name must not be longer than 255 bytes"),
        _ if segment.starts_with(TEMPORARY) => {
            Some("segments that start with '.realsyn-tmp-' are for unfinished files")
        }
        _ => None,
    })
}

fn bad(name: &str, reason: &str) -> StoreError {
    StoreError::Misconfigured(Failure::new("name", format!("{name:?}"), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass() {
        let longest = ["s".repeat(255), "t".repeat(255), "u".repeat(255)].join("/");
        for name in ["a", "a/b", "a b/ü.parquet", "..a/b..", ".hidden/x", "a/0", longest.as_str()] {
            check_name(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for prefix in ["", "a", "a/", "a/b"] {
            check_prefix(prefix).unwrap_or_else(|error| panic!("{prefix}: {error}"));
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_rule_they_break() {
        let segment = "s".repeat(256);
        let long = ["s".repeat(200), "t".repeat(200), "u".repeat(200), "v".repeat(200), "w".repeat(200)].join("/");
        let cases = [
            ("", "empty"),
            ("/a", "start or end"),
            ("a/", "start or end"),
            ("a//b", "'//'"),
            ("..", "'..'"),
            ("a/../b", "'..'"),
            ("a/./b", "'.'"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            (segment.as_str(), "255"),
            (long.as_str(), "900"),
            ("a/.realsyn-tmp-7", "unfinished"),
        ];
        for (name, rule) in cases {
            let error = check_name(name).expect_err(name);
            assert!(matches!(error, StoreError::Misconfigured(_)), "{name:?}: {error:?}");
            assert!(error.to_string().contains(rule), "{name:?}: {error}");
        }
        for prefix in ["/", "//", "a//", "../", "a/.."] {
            check_prefix(prefix).expect_err(prefix);
        }
    }
}
