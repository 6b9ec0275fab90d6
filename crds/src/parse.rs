//! Manifests: YAML with one or more documents, to typed objects.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::check;
use crate::{API_VERSION, Kind, Problem, RealSynBuild, RealSynRelease, yaml};

/// One document of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// A build.
    Build(Box<RealSynBuild>),
    /// A release.
    Release(Box<RealSynRelease>),
}

impl Manifest {
    /// The object as YAML that [`parse_manifests`] reads back to the same object.
    pub fn to_yaml(&self) -> String {
        let value = match self {
            Self::Build(build) => serde_json::to_value(build),
            Self::Release(release) => serde_json::to_value(release),
        };
        yaml::print(&value.expect("settings have text keys and finite numbers"))
    }
}

/// Reads every document of a YAML text; empty documents are passed over. `file` is what problems call it.
///
/// Values are typed, but not yet judged: see [`validate`](crate::validate) and
/// [`validate_release`](crate::validate_release).
///
/// # Errors
/// Everything that is wrong with the text, all at once: broken YAML, another kind, another version, unknown fields with
/// the nearest known name, missing fields, wrong types and words.
pub fn parse_manifests(yaml: &str, file: &str) -> Result<Vec<Manifest>, Vec<Problem>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(|e| {
        let at = e.location().map(|l| format!(", line {}, column {}", l.line(), l.column())).unwrap_or_default();
        let text = e.without_snippet().to_string();
        vec![Problem::absent("", format!("this is not YAML that can be read{at}: {text}")).of(file)]
    })?;
    let mut manifests = Vec::new();
    let mut problems = Vec::new();
    for (i, document) in documents.into_iter().enumerate().filter(|(_, d)| !d.is_null()) {
        let object = format!("{file}, document {}", i + 1);
        match manifest(document) {
            Ok(manifest) => manifests.push(manifest),
            Err(found) => problems.extend(found.into_iter().map(|p| p.of(&object))),
        }
    }
    if manifests.is_empty() && problems.is_empty() {
        problems.push(Problem::absent("", "holds no document; write a RealSynBuild").of(file));
    }
    if problems.is_empty() { Ok(manifests) } else { Err(problems) }
}

fn manifest(mut document: Value) -> Result<Manifest, Vec<Problem>> {
    let kind = kind_of(&document).map_err(|p| vec![p])?;
    let mut problems = Vec::new();
    if document["apiVersion"] != API_VERSION {
        let message = format!("this program reads `{API_VERSION}`");
        problems.push(Problem::new("apiVersion", &document["apiVersion"], message));
    }
    if document["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        let message = "must be the object's name, a text";
        problems.push(Problem::new("metadata.name", &document["metadata"]["name"], message));
    }
    let known = ["apiVersion", "kind", "metadata", "spec", "status"].map(str::to_owned);
    for (name, value) in document.as_object().into_iter().flatten().filter(|(n, _)| !known.contains(n)) {
        problems.push(Problem::new(name, value, check::unknown(name, known.iter())));
    }
    // A null means "as if it were not written", as it does to Kubernetes where there is a default.
    drop_nulls(&mut document);
    match document.get("spec") {
        Some(spec) => check::shape(spec, kind.spec_schema(), "spec", &mut problems),
        None => problems.push(Problem::absent("spec", "is missing; it says what is wanted")),
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(match kind {
        Kind::Build => Manifest::Build(typed(document)?),
        Kind::Release => Manifest::Release(typed(document)?),
    })
}

fn kind_of(document: &Value) -> Result<Kind, Problem> {
    if !document.is_object() {
        return Err(Problem::new(
            "",
            document,
            "is not a Kubernetes object; write `apiVersion`, `kind`, `metadata`, `spec`",
        ));
    }
    let given = &document["kind"];
    let name = given.as_str().unwrap_or_default();
    Kind::ALL.into_iter().find(|k| k.name() == name).ok_or_else(|| {
        let message = match check::nearest(name, Kind::ALL.iter().map(|k| k.name())) {
            Some(near) => format!("is not a kind that this program reads; did you mean `{near}`?"),
            None => "is not a kind that this program reads; it reads `RealSynBuild` and `RealSynRelease`".to_owned(),
        };
        Problem::new("kind", given, message)
    })
}

/// What the schema cannot see, such as a number too large for its type, is found here.
fn typed<T: DeserializeOwned>(document: Value) -> Result<Box<T>, Vec<Problem>> {
    serde_path_to_error::deserialize(&document).map(Box::new).map_err(|e| {
        let path = e.path().to_string();
        let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
        let value = document.pointer(&pointer).unwrap_or(&Value::Null);
        vec![Problem::new(path, value, e.into_inner().to_string())]
    })
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, v| !v.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
