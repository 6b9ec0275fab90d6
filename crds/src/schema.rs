//! The schemas of the specs: generated from the types, brought into the structural form that Kubernetes asks for, with
//! the class of every field in its description. The CRDs, the JSON schemas and the checks of a manifest all read these.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::fields::{Class, class_of};
use crate::{BuildSpec, BuildStatus, GpuNodeSpec, GpuNodeStatus, ReleaseSpec, ReleaseStatus};

/// The two kinds that people write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `RealSynBuild`.
    Build,
    /// `RealSynRelease`.
    Release,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Build, Self::Release];

    /// The `kind` of a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "RealSynBuild",
            Self::Release => "RealSynRelease",
        }
    }

    /// The kind in the API server's paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Build => "realsynbuilds",
            Self::Release => "realsynreleases",
        }
    }

    /// The schema of its spec.
    pub fn spec_schema(self) -> &'static Value {
        static BUILD: LazyLock<Value> = LazyLock::new(|| schema_of::<BuildSpec>(Some("build")));
        static RELEASE: LazyLock<Value> = LazyLock::new(|| schema_of::<ReleaseSpec>(Some("release")));
        match self {
            Self::Build => &BUILD,
            Self::Release => &RELEASE,
        }
    }

    /// The schema of its status.
    pub fn status_schema(self) -> Value {
        match self {
            Self::Build => schema_of::<BuildStatus>(None),
            Self::Release => schema_of::<ReleaseStatus>(None),
        }
    }
}

/// The schemas of a `GpuNode`'s spec and status.
pub fn gpu_node_schemas() -> (Value, Value) {
    (schema_of::<GpuNodeSpec>(None), schema_of::<GpuNodeStatus>(None))
}

/// The JSON schema of a whole manifest, for editors.
pub fn json_schema(kind: Kind) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name(),
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": { "const": crate::API_VERSION },
            "kind": { "const": kind.name() },
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": { "type": "string", "minLength": 1, "maxLength": 63 },
                    "namespace": { "type": "string" },
                },
            },
            "spec": closed(kind.spec_schema().clone()),
            "status": kind.status_schema(),
        },
        "additionalProperties": false,
    })
}

/// Kubernetes refuses unknown fields by itself and does not allow `additionalProperties: false`; editors need it. They
/// don't know `x-kubernetes-` words.
fn closed(mut schema: Value) -> Value {
    if let Some(node) = schema.as_object_mut() {
        if node.remove("x-kubernetes-int-or-string").is_some() {
            node.insert("type".into(), json!(["integer", "string"]));
        }
        node.retain(|name, _| !name.starts_with("x-kubernetes-"));
        if let Some(Value::Object(fields)) = node.get_mut("properties") {
            fields.values_mut().for_each(|f| *f = closed(f.take()));
            node.insert("additionalProperties".into(), json!(false));
        }
        if let Some(items) = node.get_mut("items") {
            *items = closed(items.take());
        }
    }
    schema
}

/// The structural schema of a type. `root` is what the paths of [`class_of`] begin with; `None` marks no classes.
fn schema_of<T: JsonSchema>(root: Option<&str>) -> Value {
    let generator = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<T>());
    structural(&mut schema, false);
    if let Some(root) = root {
        mark_classes(&mut schema, root);
    }
    schema
}

/// One node in the form that Kubernetes asks for: no null, no `oneOf` for an enum, no unknown formats, defaults of leaves
/// only and none in list items.
fn structural(schema: &mut Value, in_items: bool) {
    let Some(node) = schema.as_object_mut() else {
        return;
    };
    node.retain(|name, _| !matches!(name.as_str(), "$schema" | "title" | "format"));
    if let Some(Value::String(text)) = node.get_mut("description") {
        // The first paragraph; the rest is for readers of the code.
        *text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    }
    if let Some(Value::Array(types)) = node.get("type") {
        let real = types.iter().find(|t| *t != "null").cloned().unwrap_or_default();
        node.insert("type".into(), real);
    }
    if let Some(Value::Array(choices)) = node.remove("anyOf") {
        // An optional object: what it is, or null.
        let real = choices.into_iter().find(|c| c["type"] != "null");
        for (name, value) in real.and_then(|c| c.as_object().cloned()).unwrap_or_default() {
            node.entry(name).or_insert(value);
        }
    }
    if let Some(Value::Array(choices)) = node.remove("oneOf") {
        let values = choices.iter().flat_map(|c| match (&c["const"], &c["enum"]) {
            (Value::Null, Value::Array(many)) => many.clone(),
            (one, _) => vec![one.clone()],
        });
        let values = values.collect();
        node.insert("type".into(), json!("string"));
        node.insert("enum".into(), Value::Array(values));
    }
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    let is_leaf = !node.contains_key("properties");
    if in_items || !is_leaf || node.get("default").is_some_and(Value::is_null) {
        node.remove("default");
    }
    if let Some(Value::Object(fields)) = node.get_mut("properties") {
        fields.values_mut().for_each(|f| structural(f, in_items));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(entry) = node.get_mut(inner) {
            structural(entry, true);
            // The field itself is described; its entries need no second text.
            _ = entry.as_object_mut().and_then(|e| e.remove("description"));
        }
    }
    for bound in ["minimum", "maximum", "default"] {
        if let Some(whole) = node.get(bound).and_then(Value::as_f64).filter(|b| b.fract() == 0.0) {
            node.insert(bound.into(), json!(whole as i64));
        }
    }
    sort_words(node);
}

/// A fixed order of the words of a node: what it is before what it holds.
fn sort_words(node: &mut Map<String, Value>) {
    const ORDER: [&str; 10] =
        ["description", "type", "enum", "default", "minimum", "maximum", "pattern", "required", "properties", "items"];
    let mut words: Vec<(String, Value)> = std::mem::take(node).into_iter().collect();
    let place = |name: &str| ORDER.iter().position(|w| *w == name).unwrap_or(ORDER.len());
    words.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
    node.extend(words);
}

/// Heads each leaf's description with its class, or that of the object or list whose leaves are all `execution`: said once
/// there, it keeps the CRD small.
fn mark_classes(schema: &mut Value, path: &str) {
    let entries = format!("{path}[]");
    let inside = match (schema.get("properties"), schema.pointer("/items/properties")) {
        (Some(Value::Object(fields)), _) => Some((fields, path)),
        (_, Some(Value::Object(fields))) => Some((fields, entries.as_str())),
        _ => None,
    };
    let leaf = |at: &str, name: &String, field: &Value| {
        field.get("properties").is_none() && class_of(&format!("{at}.{name}")) == Some(Class::Execution)
    };
    if inside.is_some_and(|(fields, at)| fields.iter().all(|(name, field)| leaf(at, name, field))) {
        mark(schema, Class::Execution);
        return;
    }
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        for (name, field) in fields {
            mark_classes(field, &format!("{path}.{name}"));
        }
    } else if schema.pointer("/items/properties").is_some() {
        mark_classes(&mut schema["items"], &entries);
    } else if let Some(class) = class_of(path) {
        mark(schema, class);
    }
}

fn mark(schema: &mut Value, class: Class) {
    if let Some(text) = schema["description"].as_str() {
        schema["description"] = json!(format!("({}) {text}", class.name()));
    }
}
