//! Takedowns: requests to leave out an id, a URL, a URL prefix, a host or a document.

use std::collections::HashSet;

use realsyn_crds::ListRef;
use realsyn_plan::Id;

use super::hosts::{host, listed};
use super::rows::Occurrence;
use crate::run::{Job, Lists, StageError};

/// Everything that a release must leave out.
#[derive(Debug, Default)]
pub struct Takedowns {
    ids: HashSet<Id>,
    urls: HashSet<String>,
    prefixes: Vec<String>,
    hosts: HashSet<String>,
    documents: HashSet<String>,
}

impl Takedowns {
    /// The takedowns of the build and of the release.
    pub fn of(job: &Job) -> Result<Self, StageError> {
        let release = job.run.release.as_ref().and_then(|r| r.spec.takedowns.as_ref());
        Self::read(job.run.lists(), [job.run.build.takedowns.as_ref(), release].into_iter().flatten())
    }

    /// Those of these lists.
    ///
    /// # Errors
    /// A list that cannot be read, or has a line that is not understood.
    pub fn read<'a>(lists: &Lists, of: impl Iterator<Item = &'a ListRef>) -> Result<Self, StageError> {
        let mut all = Self::default();
        for list in of {
            for line in lists.lines_in_order(Some(list))? {
                all.add(&line).map_err(|why| StageError::Settings(format!("the list {}: {why}", list.uri)))?;
            }
        }
        Ok(all)
    }

    /// Adds one line: `id:`, `url:`, `prefix:`, `host:` or `document:`, and its value.
    fn add(&mut self, line: &str) -> Result<(), String> {
        let wrong = || {
            format!(
                "`{line}` is not understood: write `id:HEX`, `url:URL`, `prefix:URL`, `host:NAME` or `document:URL-or-id`"
            )
        };
        let (kind, value) = line.split_once(':').ok_or_else(wrong)?;
        let value = value.trim().to_owned();
        match kind.trim() {
            "id" => _ = self.ids.insert(value.parse().map_err(|_| wrong())?),
            "url" => _ = self.urls.insert(value),
            "prefix" => self.prefixes.push(value),
            "host" => _ = self.hosts.insert(listed(&value).ok_or_else(wrong)?),
            "document" => _ = self.documents.insert(value),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
            && self.urls.is_empty()
            && self.prefixes.is_empty()
            && self.hosts.is_empty()
            && self.documents.is_empty()
    }

    /// Whether an image's or a sentence's id is named.
    pub fn names(&self, id: Id) -> bool {
        self.ids.contains(&id)
    }

    /// Whether one place of an image is named, by its own URL or by its document.
    pub fn matches_occurrence(&self, o: &Occurrence) -> bool {
        self.matches_url(&o.url) || self.matches_document(o.document, o.document_url.as_deref())
    }

    /// Whether a document is named.
    pub fn matches_document(&self, id: Id, url: Option<&str>) -> bool {
        self.names(id)
            || self.documents.contains(&id.to_string())
            || url.is_some_and(|u| self.documents.contains(u) || self.matches_url(u))
    }

    fn matches_url(&self, url: &str) -> bool {
        self.urls.contains(url)
            || self.prefixes.iter().any(|p| url.starts_with(p.as_str()))
            || (!self.hosts.is_empty() && host(url).is_some_and(|host| self.hosts.contains(&host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_matches_what_it_names_and_nothing_else() {
        let mut t = Takedowns::default();
        let id = Id::of_image(b"x");
        for line in [
            &format!("id:{id}"),
            "url:https://a.example/1.png",
            "prefix:https://b.example/p/",
            "host:c.EXAMPLE",
            "document:https://d.example/page",
        ] {
            t.add(line).unwrap();
        }
        assert!(t.names(id) && !t.names(Id::of_image(b"y")));
        assert!(t.matches_url("https://a.example/1.png") && !t.matches_url("https://a.example/1.png2"));
        assert!(t.matches_url("https://b.example/p/q") && !t.matches_url("https://b.example/q"));
        assert!(t.matches_url("https://user@C.Example:8080/x") && !t.matches_url("https://notc.example/"));
        let other = Id::of_image(b"z");
        assert!(t.matches_document(other, Some("https://d.example/page")));
        assert!(!t.matches_document(other, Some("https://d.example/page2")));
        assert!(t.matches_document(id, None));
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error_that_says_what_to_write() {
        for line in ["https://a.example/", "id:xyz", "domain:a.example", "nothing", "host:https://a.example/"] {
            let error = Takedowns::default().add(line).unwrap_err();
            assert!(error.contains(line) && error.contains("host:NAME"), "{error}");
        }
    }
}
