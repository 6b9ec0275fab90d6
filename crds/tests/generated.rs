//! What is checked in is what the types say, and the API server will take it.

use std::path::Path;

use realsyn_crds::Kind;
use realsyn_crds::crd::{crd, generated, gpu_node};
use serde_json::Value;

/// Below the 64 kB that each CRD may have.
const MOST_BYTES: usize = 64_000;

#[test]
fn checked_in_files_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for file in generated() {
        let path = root.join(file.name);
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == file.text, "{} is not current; run `cargo run -p realsyn-crds --bin crdgen`", path.display());
    }
}

fn definitions() -> [Value; 3] {
    [crd(Kind::Build), crd(Kind::Release), gpu_node()]
}

#[test]
fn crds_are_small_and_read_back() {
    for (file, definition) in generated().into_iter().zip(definitions()) {
        assert!(file.text.len() <= MOST_BYTES, "{} has {} bytes", file.name, file.text.len());
        let read: Value = serde_saphyr::from_str(&file.text).expect("the CRD is YAML");
        assert_eq!(read, definition, "{}", file.name);
    }
}

/// The rules of the API server for a structural schema, as far as these schemas could break them.
#[test]
fn schemas_are_structural_and_every_field_is_described() {
    for crd in definitions() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            node(&schema["properties"][part], part, false);
        }
    }
}

fn node(schema: &Value, path: &str, in_items: bool) {
    let words = schema.as_object().unwrap_or_else(|| panic!("{path} is no schema"));
    let known = [
        "description",
        "type",
        "enum",
        "default",
        "minimum",
        "maximum",
        "pattern",
        "required",
        "properties",
        "items",
        "minLength",
        "maxLength",
        "maxItems",
        "additionalProperties",
        "x-kubernetes-int-or-string",
        "x-kubernetes-validations",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ];
    for word in words.keys() {
        assert!(known.contains(&word.as_str()), "{path}: `{word}` is not structural");
    }
    assert!(
        schema["type"].is_string() != words.contains_key("x-kubernetes-int-or-string"),
        "{path} has no single type"
    );
    if let Some(default) = words.get("default") {
        assert!(!in_items, "{path}: a default inside a list item");
        let right = match schema["type"].as_str().unwrap() {
            "integer" => default.is_i64() || default.is_u64(),
            "number" => default.is_number(),
            "boolean" => default.is_boolean(),
            "string" => default.is_string() && schema["enum"].as_array().is_none_or(|e| e.contains(default)),
            "array" => default.is_array(),
            other => panic!("{path}: a default for {other}"),
        };
        assert!(right, "{path}: the default {default} is of another type");
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{path}.{name}");
        assert!(field["description"].as_str().is_some_and(|d| d.len() > 3), "{at} has no description");
        node(field, &at, in_items);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(entry) = words.get(inner) {
            node(entry, &format!("{path}[]"), true);
        }
    }
    for key in schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten() {
        let required = schema["items"]["required"].as_array().expect("a map's keys are required");
        assert!(required.contains(key), "{path}: the key {key} is not required");
    }
}
