//! Text that came from elsewhere and will stand in a status, on a terminal or in a label.

use realsyn_plan::Digest;
pub use realsyn_plan::text::sentence;

/// A name as a label's value: itself where that is allowed, else its beginning and its hash.
pub fn label_value(name: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() <= 63 && name.chars().all(inner) && ends(name.chars().next()) && ends(name.chars().next_back()) {
        return name.to_owned();
    }
    let hash = Digest::of_bytes(name.as_bytes()).to_string();
    format!("{}-{}", dns_prefix(name, 50), &hash[..12])
}

/// The first characters of a name, as a part of a DNS label.
pub fn dns_prefix(name: &str, most: usize) -> String {
    let plain: String =
        name.chars().take(most).map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "x".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_survive_any_name() {
        assert_eq!(label_value("obelics"), "obelics");
        for name in ["a".repeat(253), "a.b.".repeat(20), "-x".into(), "ü".into(), String::new()] {
            let value = label_value(&name);
            assert!((1..=63).contains(&value.len()), "{value}");
            assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{value}");
            assert!(value.starts_with(|c: char| c.is_ascii_alphanumeric()), "{value}");
        }
        assert_ne!(label_value(&"a".repeat(253)), label_value(&"a".repeat(252)));
    }
}
