//! Text that came from elsewhere and will stand in a status, on a terminal or in a label.

/// One line without control characters, cut to so many characters.
pub fn sentence(text: &str, most: usize) -> String {
    let line: Vec<&str> = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|w| !w.is_empty()).collect();
    let line = line.join(" ");
    match line.char_indices().nth(most) {
        Some(_) => format!("{}…", line.chars().take(most.saturating_sub(1)).collect::<String>()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_one_clean_line() {
        assert_eq!(sentence("a\u{1b}[31m\n\tb", 20), "a [31m b");
        let long = sentence(&"é".repeat(1000), 300);
        assert_eq!(long.chars().count(), 300);
    }
}
