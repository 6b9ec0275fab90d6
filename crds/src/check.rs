//! A value against a schema: unknown fields, wrong types, missing fields; then ranges, lengths and patterns.

use serde_json::Value;

use crate::Problem;

/// Unknown fields with the nearest known name, wrong types, wrong words, and missing fields.
pub(crate) fn shape(value: &Value, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    if let Some(fields) = schema["properties"].as_object() {
        let Some(given) = value.as_object() else {
            problems.push(Problem::new(path, value, wrong_type("fields", value)));
            return;
        };
        for (name, inner) in given {
            let at = format!("{path}.{name}");
            match fields.get(name) {
                Some(schema) => shape(inner, schema, &at, problems),
                None => problems.push(Problem::new(at, inner, unknown(name, fields.keys()))),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !given.contains_key(name) {
                let what = fields[name]["description"].as_str().unwrap_or_default();
                problems.push(Problem::absent(format!("{path}.{name}"), format!("is missing; it says: {what}")));
            }
        }
    } else if schema["x-kubernetes-int-or-string"] == true {
        if !(value.is_u64() || value.is_string()) {
            problems.push(Problem::new(path, value, wrong_type("a quantity such as \"16Gi\"", value)));
        }
    } else if let Some(words) = schema["enum"].as_array() {
        if !words.contains(value) {
            problems.push(Problem::new(path, value, wrong_word(words, value)));
        }
    } else {
        match (schema["type"].as_str().unwrap_or_default(), value) {
            ("array", Value::Array(entries)) => {
                for (i, entry) in entries.iter().enumerate() {
                    shape(entry, &schema["items"], &format!("{path}[{i}]"), problems);
                }
            }
            ("object", Value::Object(entries)) => {
                for (name, entry) in entries {
                    shape(entry, &schema["additionalProperties"], &format!("{path}.{name}"), problems);
                }
            }
            ("integer", Value::Number(n)) if n.is_u64() || n.is_i64() => {}
            ("number", Value::Number(_)) | ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => {}
            (wanted, _) => {
                let wanted = match wanted {
                    "array" => "a list",
                    "object" => "fields",
                    "integer" => "a whole number",
                    "number" => "a number",
                    "string" => "a text",
                    _ => "`true` or `false`",
                };
                problems.push(Problem::new(path, value, wrong_type(wanted, value)));
            }
        }
    }
}

/// Ranges, lengths and patterns, of a value whose shape is right.
pub(crate) fn ranges(value: &Value, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                ranges(inner, &schema["properties"][name], &format!("{path}.{name}"), problems);
            }
        }
        Value::Array(entries) => {
            if let Some(most) = schema["maxItems"].as_u64().filter(|most| entries.len() as u64 > *most) {
                let message = format!("has {} entries; {most} are the most", entries.len());
                problems.push(Problem::absent(path, message));
            }
            for (i, entry) in entries.iter().enumerate() {
                ranges(entry, &schema["items"], &format!("{path}[{i}]"), problems);
            }
        }
        Value::Number(_) => {
            let given = value.as_f64().unwrap_or(f64::NAN);
            let (low, high) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            if low.is_some_and(|low| given < low) || high.is_some_and(|high| given > high) {
                let message = match (low, high) {
                    (Some(low), Some(high)) => format!("must be from {low} to {high}"),
                    (Some(low), None) => format!("must be at least {low}"),
                    (_, high) => format!("must be at most {}", high.unwrap_or_default()),
                };
                problems.push(Problem::new(path, value, message));
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if schema["minLength"].as_u64().is_some_and(|least| length < least) {
                problems.push(Problem::new(path, value, "is empty; give a value, or leave the field out"));
            }
            if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
                problems.push(Problem::new(path, value, format!("has {length} characters; {most} are the most")));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn wrong_type(wanted: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => return format!("is empty; it takes {wanted}, or is left out altogether"),
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "fields",
    };
    let help = match (wanted, value) {
        ("a text", Value::Number(_)) => format!("; write \"{value}\" in quotes"),
        ("a text", Value::Bool(_)) => {
            "; YAML reads a bare yes, no, on, off, y or n so: write the text in quotes".to_owned()
        }
        ("a number" | "a whole number", Value::String(s)) if s.parse::<f64>().is_ok() => {
            format!("; write {s} without quotes")
        }
        _ => String::new(),
    };
    format!("must be {wanted}, not {found}{help}")
}

fn wrong_word(words: &[Value], value: &Value) -> String {
    let list = words.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    match value {
        Value::String(given) => {
            let near = nearest(given, words.iter().filter_map(Value::as_str));
            let help = near.map(|w| format!("; did you mean \"{w}\"?")).unwrap_or_default();
            format!("must be one of {list}{help}")
        }
        Value::Number(_) | Value::Bool(_) => format!("must be one of {list}, in quotes"),
        _ => format!("must be one of {list}"),
    }
}

/// The sentence about a field that is not known.
pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    match nearest(name, known.clone().map(String::as_str)) {
        Some(near) => format!("there is no field `{name}` here; did you mean `{near}`?"),
        None => {
            let all: Vec<&str> = known.map(String::as_str).collect();
            format!("there is no field `{name}` here; there are {}", all.join(", "))
        }
    }
}

/// The name most like the given one, if any is like it: letter case and hyphens aside, at least half the same.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| s.replace(['-', '_'], "").to_lowercase();
    let given = plain(name);
    known
        .map(|k| (strsim::normalized_damerau_levenshtein(&given, &plain(k)), k))
        .filter(|(alike, _)| *alike >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}
