//! Text for HTML: escaping, shortening, numbers with units, base64.

/// Bytes as people read them, in powers of 1,000: `999 B`, `1.2 MB`, `345 GB`.
pub fn bytes(n: u64) -> String {
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        // 999.5 would be written as 1000.
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if value < 99.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Escapes text for element content and for quoted attributes. Control characters, which HTML does not allow, become
/// U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Escapes text of a document: shortened to `most` characters, and isolated so that its direction marks end with it.
pub fn quoted(text: &str, most: usize) -> String {
    format!("<bdi>{}</bdi>", escape(&clip(text, most)))
}

/// At most `most` characters, cut at a space where there is one near the end.
pub fn clip(text: &str, most: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(most) else { return text.to_owned() };
    let head = &text[..end];
    let cut = head.rfind(' ').filter(|at| *at > end * 3 / 4).unwrap_or(end);
    format!("{}\u{2026}", text[..cut].trim_end())
}

/// A whole number with thin separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A number and its noun: `1 pair`, `2 pairs`. The plural is the singular and an `s`.
pub fn counted(n: u64, singular: &str) -> String {
    format!("{} {singular}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A share in per cent; empty when there is nothing to share.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    percent(part as f64 / whole as f64)
}

/// A share between 0 and 1 in per cent. What is not all is never written as 100 %, what is not nothing never as 0 %.
pub fn percent(value: f64) -> String {
    let text = match value * 100.0 {
        p if p > 0.0 && p < 0.05 => "under 0.1".to_owned(),
        p if p < 100.0 && p > 99.95 => "over 99.9".to_owned(),
        p if (p - p.round()).abs() < 1e-9 => format!("{p:.0}"),
        p => format!("{p:.1}"),
    };
    format!("{text}\u{202f}%")
}

/// A duration as people read it.
pub fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis}\u{202f}ms"),
        1_000..99_950 => format!("{:.1}\u{202f}s", millis as f64 / 1e3),
        99_950..3_600_000 => format!("{}\u{202f}min {:02}\u{202f}s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{}\u{202f}h {:02}\u{202f}min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// Rows per second; `None` where nothing was measured.
pub fn rate(rows: u64, millis: u64) -> Option<String> {
    if millis == 0 || rows == 0 {
        return None;
    }
    let rate = rows as f64 / (millis as f64 / 1e3);
    Some(if rate < 10.0 { format!("{rate:.1}") } else { count(rate.round() as u64) })
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for sextet in 0..4 {
            let place = (word >> (18 - 6 * sextet)) & 63;
            out.push(if sextet <= chunk.len() { ALPHABET[place as usize] as char } else { '=' });
        }
    }
    out
}
