//! The names of the ImageNet labels.

use std::path::Path;

use crate::ModelError;
use crate::efficientnet::LABELS;

/// The 1,000 names in the network's order, from `imagenet1k_clean_names.json` of a model folder. An explanation in
/// brackets that sets a name apart ("kite (bird of prey)") is kept.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, ModelError> {
    let path = folder.join("imagenet1k_clean_names.json");
    let bytes = std::fs::read(&path).map_err(ModelError::io(&path))?;
    let names: Vec<String> = serde_json::from_slice(&bytes)
        .map_err(|error| ModelError::format(&path, format!("not a list of names ({error})")))?;
    if names.len() != LABELS || names.iter().any(|name| plain(name).is_empty()) {
        return Err(ModelError::format(&path, format!("expected {LABELS} names, found {}", names.len())));
    }
    Ok(names)
}

/// A name without its explanation in brackets.
pub(super) fn plain(name: &str) -> &str {
    name.split(" (").next().unwrap_or(name).trim()
}

/// The likeliest labels, best first, ties by label: `(label, probability)`.
pub(super) fn likeliest(probabilities: &[f32], n: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = probabilities.iter().copied().enumerate().collect();
    order.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.truncate(n);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_ties_by_label() {
        assert_eq!(likeliest(&[0.1, 0.4, 0.1, 0.4], 3), [(1, 0.4), (3, 0.4), (0, 0.1)]);
    }

    #[test]
    fn brackets_are_dropped() {
        assert_eq!(plain("kite (bird of prey)"), "kite");
        assert_eq!(plain("tench"), "tench");
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("imagenet1k_clean_names.json"), r#"["tench"]"#).unwrap();
        assert!(names(dir.path()).unwrap_err().to_string().contains("expected 1000 names, found 1"));
        std::fs::write(dir.path().join("imagenet1k_clean_names.json"), r#"["tench"#).unwrap();
        assert!(names(dir.path()).unwrap_err().to_string().contains("not a list of names"));
    }
}
