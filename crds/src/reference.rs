//! The API reference for people, from the same schemas as the CRDs.

use std::fmt::Write;

use serde_json::Value;

use crate::schema::{Kind, gpu_node_schemas};

/// What every stage has; told once.
const OF_EVERY_STAGE: [&str; 6] = ["parallelism", "resources", "retry", "maxRejectedShare", "engine", "gpu"];

/// `docs/api.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# API reference\n\n\
         Written by `cargo run -p realsyn-crds --bin crdgen` from the types in `crds/`; do not edit.\n\n\
         Group `realsyn.dev`, version `v1alpha1`. The class of a field says what changing it costs: *output* fields make \
         their stage and what depends on it run again, *selection* fields only what reads the selection, *execution* \
         fields nothing.\n",
    );
    for kind in Kind::ALL {
        _ = writeln!(text, "\n## {}\n", kind.name());
        _ = writeln!(text, "`kubectl get {}`. Namespaced.", kind.plural());
        table(&mut text, "### spec", kind.spec_schema(), "");
        if kind == Kind::Build {
            stages(&mut text, &kind.spec_schema()["properties"]["stages"]);
        }
        table(&mut text, "### status", &kind.status_schema(), "");
    }
    let (spec, status) = gpu_node_schemas();
    _ = writeln!(
        text,
        "\n## GpuNode\n\n`kubectl get gpunodes`. Cluster-scoped, one per node with GPUs, of the node's name."
    );
    table(&mut text, "### spec", &spec, "");
    table(&mut text, "### status", &status, "");
    text
}

fn stages(text: &mut String, schema: &Value) {
    let all = schema["properties"].as_object().expect("stages have names");
    let of_all = |stage: &Value, common: bool| {
        let mut only = stage.clone();
        if let Some(fields) = only["properties"].as_object_mut() {
            fields.retain(|name, _| OF_EVERY_STAGE.contains(&name.as_str()) == common);
        }
        only
    };
    let fullest = all.values().max_by_key(|s| of_all(s, true)["properties"].as_object().map_or(0, |f| f.len()));
    let fullest = of_all(fullest.expect("there are stages"), true);
    table(text, "### spec.stages.\\*: what stages have in common", &fullest, "spec.stages.*.");
    _ = writeln!(text, "\n`engine` and `gpu` exist where a model computes or vectors are compared.");
    for (name, stage) in all {
        let own = of_all(stage, false);
        if own["properties"].as_object().is_some_and(|f| !f.is_empty()) {
            table(text, &format!("### spec.stages.{name}"), &own, &format!("spec.stages.{name}."));
        }
    }
}

fn table(text: &mut String, title: &str, schema: &Value, prefix: &str) {
    _ = writeln!(text, "\n{title}\n");
    if let Some(rules) = schema["x-kubernetes-validations"].as_array() {
        rules.iter().for_each(|rule| _ = writeln!(text, "Rule: {}.\n", rule["message"].as_str().unwrap_or_default()));
    }
    _ = writeln!(text, "| field | type | default | what it is |\n|---|---|---|---|");
    rows(text, schema, "", prefix);
}

fn rows(text: &mut String, schema: &Value, path: &str, prefix: &str) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if prefix.is_empty() && path.is_empty() && name == "stages" && field["properties"].is_object() {
            continue;
        }
        let path = format!("{path}{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let what = field["description"].as_str().unwrap_or_default().replace('|', "\\|");
        _ = writeln!(text, "| `{path}` | {} | {default} | {what} |", type_of(field));
        rows(text, field, &format!("{path}."), prefix);
        rows(text, &field["items"], &format!("{path}[]."), prefix);
    }
}

fn type_of(field: &Value) -> String {
    let range = |low: &Value, high: &Value| match (low.is_null(), high.is_null()) {
        (true, true) => String::new(),
        (false, true) => format!(" ≥ {low}"),
        (true, false) => format!(" ≤ {high}"),
        (false, false) => format!(" {low} to {high}"),
    };
    if field["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> = values.iter().filter_map(|v| Some(format!("`{}`", v.as_str()?))).collect();
        return values.join(", ");
    }
    match field["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}s", field["items"]["type"].as_str().unwrap_or("value")),
        "string" => format!("string{}", range(&field["minLength"], &Value::Null).replace(" ≥ 1", "")),
        other => format!("{other}{}", range(&field["minimum"], &field["maximum"])),
    }
}
