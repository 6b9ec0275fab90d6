//! What is wrong with a manifest, and what to do about it.

use std::fmt;

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which object: the file and its place in it, or kind and name.
    pub object: String,
    /// The field, for example `spec.source.imageMirrors[0].uri`; empty where the object as a whole is meant.
    pub path: String,
    /// The value that was found, as JSON and shortened; `None` where nothing was.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem with a field's value.
    pub(crate) fn new(path: impl Into<String>, value: &serde_json::Value, message: impl Into<String>) -> Self {
        let shown = (!value.is_null()).then(|| shorten(&value.to_string()));
        Self { object: String::new(), path: path.into(), value: shown, message: message.into() }
    }

    /// A problem with what is absent, or with an object as a whole.
    pub(crate) fn absent(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { object: String::new(), path: path.into(), value: None, message: message.into() }
    }

    /// The same problem of this object.
    pub(crate) fn of(mut self, object: &str) -> Self {
        object.clone_into(&mut self.object);
        self
    }
}

fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}", self.path)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
