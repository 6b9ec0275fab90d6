//! What the types cannot say: ranges, fields that contradict each other, names, hashes and URIs.

mod build;
mod gpu;
mod release;
mod scheduling;
mod sentences;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub use build::{validate, warnings};
pub use release::{release_warnings, validate_release};
pub use sentences::{take_giver, validate_sentences};

use crate::{Credentials, Kind, ListRef, Metadata, Problem, check};

/// Collects the problems of one object.
struct Judge {
    problems: Vec<Problem>,
}

impl Judge {
    /// Begins with what every object has: its name, and the ranges that the schema knows.
    fn new(kind: Kind, metadata: &Metadata, spec: &impl serde::Serialize) -> Self {
        let mut judge = Self { problems: Vec::new() };
        judge.dns_label("metadata.name", &metadata.name);
        let spec = serde_json::to_value(spec).unwrap_or_default();
        check::ranges(&spec, kind.spec_schema(), "spec", &mut judge.problems);
        judge
    }

    fn finish(self, kind: Kind, metadata: &Metadata) -> Vec<Problem> {
        let object = format!("{} `{}`", kind.name(), metadata.name);
        self.problems.into_iter().map(|p| p.of(&object)).collect()
    }

    fn wrong(&mut self, path: &str, value: impl Into<Value>, message: impl Into<String>) {
        self.problems.push(Problem::new(path, &value.into(), message));
    }

    fn require(&mut self, right: bool, path: &str, value: impl Into<Value>, message: &str) {
        if !right {
            self.wrong(path, value, message);
        }
    }

    /// A name that can be a label's value and a host's name.
    fn dns_label(&mut self, path: &str, name: &str) {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let right =
            (1..=63).contains(&name.len()) && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-');
        let message = "must be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end";
        self.require(right, path, name, message);
    }

    fn sha256(&mut self, path: &str, hash: &str) {
        let right = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let message = "must be a SHA-256 of 64 lower-case hex digits, as `sha256sum` prints it";
        self.require(right, path, hash, message);
    }

    /// A URI with one of these schemes, or a path.
    fn uri(&mut self, path: &str, uri: &str, schemes: &[&str]) {
        if uri.trim() != uri {
            self.wrong(path, uri, "begins or ends with white space; remove it");
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            let message = "is not a path; write `s3://bucket/prefix`, `file:///path` or a relative path";
            self.require(!uri.contains(':'), path, uri, message);
            return;
        };
        if !schemes.contains(&scheme) {
            let known: Vec<String> = schemes.iter().map(|s| format!("`{s}://`")).collect();
            let message = format!("`{scheme}://` cannot be read here; write {} or a relative path", known.join(", "));
            self.wrong(path, uri, message);
        } else if scheme == "file" && !rest.starts_with('/') {
            self.wrong(path, uri, "needs three slashes: `file:///path`");
        } else if scheme == "s3" && rest.split('/').next().is_none_or(str::is_empty) {
            self.wrong(path, uri, "names no bucket: `s3://bucket/prefix`");
        }
    }

    fn http(&mut self, path: &str, url: Option<&str>) {
        if let Some(url) = url {
            let right = ["http://", "https://"].iter().any(|s| url.len() > s.len() && url.starts_with(s));
            self.require(right, path, url, "must be an address such as `https://host:port`");
        }
    }

    fn list(&mut self, path: &str, list: Option<&ListRef>) {
        if let Some(list) = list {
            self.uri(&format!("{path}.uri"), &list.uri, &["s3", "file", "pvc"]);
            self.sha256(&format!("{path}.sha256"), &list.sha256);
        }
    }

    fn credentials(&mut self, path: &str, credentials: Option<&Credentials>) {
        let Some(c) = credentials else { return };
        if c.secret_name.is_some() == c.service_account_name.is_some() {
            self.wrong(path, json!(c), "give `secretName` or `serviceAccountName`, one of the two");
        }
    }
}
