//! JSON values as YAML for people: blocks, with what is small on one line.

use std::fmt::Write;

use serde_json::Value;

/// What is at most this long, and holds no deeper structure, stands on one line.
const ONE_LINE: usize = 420;

/// A value as a YAML document. Fields keep their order. Every text that could be read as something else is quoted, and
/// reading the result gives the value back.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => block(value, 0, &mut out),
        Value::Array(entries) if !entries.is_empty() => block(value, 0, &mut out),
        _ => _ = writeln!(out, "{}", scalar(value)),
    }
    out
}

/// The lines of an object or a list that is not empty.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                _ = write!(out, "{:indent$}{}:", "", text(name));
                after_colon(inner, indent, out);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                _ = write!(out, "{:indent$}-", "");
                match entry {
                    Value::Object(fields) if !fields.is_empty() && !fits_one_line(entry) => {
                        // The first field stands on the dash's line.
                        let mut lines = String::new();
                        block(entry, indent + 2, &mut lines);
                        out.push(' ');
                        out.push_str(&lines[indent + 2..]);
                    }
                    _ => after_colon(entry, indent, out),
                }
            }
        }
        _ => _ = writeln!(out, "{:indent$}{}", "", scalar(value)),
    }
}

fn after_colon(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !fits_one_line(value) => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Value::Array(entries) if !entries.is_empty() && !fits_one_line(value) => {
            out.push('\n');
            block(value, indent, out);
        }
        _ => _ = writeln!(out, " {}", scalar(value)),
    }
}

fn fits_one_line(value: &Value) -> bool {
    let is_flat = |v: &Value| !v.is_object() && !v.is_array();
    let flat = match value {
        Value::Object(fields) => fields.values().all(|v| match v {
            Value::Array(entries) => entries.iter().all(is_flat),
            Value::Object(inner) => inner.values().all(is_flat),
            _ => true,
        }),
        Value::Array(entries) => entries.iter().all(is_flat),
        _ => true,
    };
    flat && scalar(value).len() <= ONE_LINE
}

/// A value on one line.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => text(s),
        Value::Array(entries) => format!("[{}]", entries.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let inner: Vec<String> = fields.iter().map(|(k, v)| format!("{}: {}", text(k), scalar(v))).collect();
            format!("{{ {} }}", inner.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text, quoted unless nothing in it can be read as structure or as another type.
fn text(s: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " -_./()`;§".contains(c);
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '(')
        && s.chars().all(plain)
        && !s.ends_with(' ')
        && !reserved.contains(&s.to_ascii_lowercase().as_str());
    if is_plain { s.to_owned() } else { Value::from(s).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_printed_reads_back() {
        let awkward = [
            "",
            " ",
            "no",
            "Null",
            "1e5",
            "0x10",
            "1.0",
            "~",
            "a: b",
            "a #b",
            "- a",
            "a,b",
            "[a]",
            "{a",
            "é ñ",
            "line\nline",
            "\"q\"",
            "tab\tx",
            "`x`",
            "(x",
            "ends ",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "%x",
            "@x",
            "2025-01-01",
            "y",
            "a;b",
            "\u{2028}",
        ];
        for text in awkward {
            let value = json!({ text: text, "list": [text, [text], [], {}], "deep": { "a": { "b": { "c": [{ "d": [{ "e": text }] }] } } } });
            let printed = print(&value);
            let read: Value = serde_saphyr::from_str(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
            assert_eq!(read, value, "{printed}");
        }
        for value in [json!(null), json!([]), json!({}), json!([1, -2.5, true, null]), json!("x y")] {
            assert_eq!(serde_saphyr::from_str::<Value>(&print(&value)).unwrap(), value);
        }
    }

    #[test]
    fn what_is_long_stands_in_blocks() {
        let value =
            json!({ "kind": "X", "long": { "a": "b".repeat(150), "c": "d".repeat(150), "e": { "f": { "g": 1 } } } });
        let lines: Vec<String> = print(&value).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "kind: X");
        assert_eq!(lines[1], "long:");
        assert_eq!(lines[4], "  e: { f: { g: 1 } }");
    }
}
