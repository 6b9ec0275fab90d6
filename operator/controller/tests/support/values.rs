//! Values for fields of a schema: others that it allows, and such as it does not.

use serde_json::{Value, json};

/// A field's place, and its schema.
#[derive(Clone, Debug)]
pub struct Field {
    pub path: Vec<String>,
    pub schema: Value,
}

impl Field {
    pub fn pointer(&self) -> String {
        format!("/{}", self.path.join("/"))
    }

    pub fn last(&self) -> &str {
        self.path.iter().rev().find(|p| p.parse::<usize>().is_err()).expect("a name")
    }
}

/// The fields of a schema, and those of the first entry of its lists.
pub fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Field>) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            path.push(name.clone());
            collect(field, path, found);
            path.pop();
        }
    } else if schema.pointer("/items/properties").is_some() {
        path.push("0".to_owned());
        collect(&schema["items"], path, found);
        path.pop();
    } else {
        found.push(Field { path: path.clone(), schema: schema.clone() });
    }
}

/// Another value that the schema allows.
pub fn another(field: &Field, now: &Value) -> Value {
    let schema = &field.schema;
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().find(|v| *v != now).cloned().unwrap_or_else(|| now.clone());
    }
    match schema["type"].as_str() {
        Some("boolean") => json!(!now.as_bool().unwrap_or_default()),
        Some("integer") => {
            let (n, most) = (now.as_i64().unwrap_or_default(), schema["maximum"].as_i64().unwrap_or(i64::MAX));
            json!(if n < most { n + 1 } else { n - 1 })
        }
        Some("number") => {
            let (low, high) = (schema["minimum"].as_f64().unwrap_or(0.0), schema["maximum"].as_f64().unwrap_or(100.0));
            let n = now.as_f64().unwrap_or_default();
            json!(if (n - (low + high) / 2.0).abs() > 1e-9 { (n + (low + high) / 2.0) / 2.0 } else { (n + high) / 2.0 })
        }
        Some("array") => json!([]),
        Some("object") => json!({ "memory": "3Gi" }),
        Some("string") => {
            let text = now.as_str().unwrap_or_default();
            // Hashes stay hashes, URIs stay URIs.
            match text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                true => json!("e".repeat(64)),
                false => json!(format!("{text}2")),
            }
        }
        _ => json!("7Gi"),
    }
}

/// A value that cannot be right: of another type, or out of range.
pub fn wrong(field: &Field) -> Value {
    match field.schema["type"].as_str() {
        Some("integer" | "number") => match field.schema["minimum"].as_f64() {
            Some(least) => json!(least - 1.0),
            None => json!("many"),
        },
        Some("boolean") => json!("perhaps"),
        Some("string") if field.schema["enum"].is_array() => json!("no-such-value"),
        Some("string") => json!(7),
        Some(_) => json!("none of these"),
        None => json!("-1Gi"),
    }
}
