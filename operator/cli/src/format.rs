//! Numbers, sizes and times as people write them.

use jiff::{SignedDuration, Timestamp};

/// A count in at most five characters: `0`, `999`, `1.2k`, `12k`, `123M`.
pub fn short(n: u64) -> String {
    if n < 1000 {
        return n.to_string();
    }
    let (mut value, mut unit) = (n as f64, 0);
    // 999.5 would be written as 1000.
    while value >= 999.5 && unit < 5 {
        value /= 1000.0;
        unit += 1;
    }
    let name = ["", "k", "M", "G", "T", "P"][unit];
    if value < 9.95 { format!("{value:.1}{name}") } else { format!("{value:.0}{name}") }
}

/// A count with its thousands apart: `1,234,567`.
pub fn exact(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes: `512 B`, `1.5 KiB`, `412 GiB`.
pub fn bytes(n: u64) -> String {
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1023.5 && unit < 5 {
        value /= 1024.0;
        unit += 1;
    }
    let name = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit];
    if unit > 0 && value < 9.95 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") }
}

/// A time span in its two largest units, at most six characters: `42s`, `4m10s`, `2h14m`, `3d4h`, `120d`.
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, of: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{of}"),
    };
    match () {
        () if seconds < 60 => format!("{seconds}s"),
        () if minutes < 60 => two(minutes, "m", seconds % 60, "s"),
        () if hours < 24 => two(hours, "h", minutes % 60, "m"),
        () if days < 10 => two(days, "d", hours % 24, "h"),
        () => format!("{days}d"),
    }
}

/// The time between two moments, if both can be read.
pub fn between(from: Option<&str>, to: Timestamp) -> Option<SignedDuration> {
    let from: Timestamp = from?.parse().ok()?;
    Some(to.duration_since(from))
}

/// A share as a bar of so many columns, in eighths of a column.
pub fn bar(share: f64, columns: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * columns as f64 * 8.0).floor() as usize;
    let mut text = "█".repeat(eighths / 8);
    if let Some(part) = [None, Some('▏'), Some('▎'), Some('▍'), Some('▌'), Some('▋'), Some('▊'), Some('▉')][eighths % 8]
    {
        text.push(part);
    }
    let rest = columns - text.chars().count();
    text + &"░".repeat(rest)
}

/// Text in lines of at most so many columns, broken between words; a longer word has a line of its own.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short_and_round_to_what_is_nearest() {
        let shown = [0, 999, 1000, 1249, 9949, 9960, 12_345, 999_499, 999_500, 1_000_000, u64::MAX].map(short);
        assert_eq!(shown[..8], ["0", "999", "1.0k", "1.2k", "9.9k", "10k", "12k", "999k"]);
        assert_eq!(shown[8..10], ["1.0M", "1.0M"]);
        assert_eq!([0, 12, 1234, 1_234_567].map(exact), ["0", "12", "1,234", "1,234,567"]);
        assert_eq!([0, 1023, 1536, 443 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "443 GiB"]);
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let shown = [0, 59, 60, 250, 8040, 7200, 273_600, 864_000].map(|s| span(SignedDuration::from_secs(s)));
        assert_eq!(shown, ["0s", "59s", "1m", "4m10s", "2h14m", "2h", "3d4h", "10d"]);
        assert_eq!(span(SignedDuration::from_secs(-5)), "0s", "clocks differ");
    }

    #[test]
    fn bars_have_their_width_whatever_the_share() {
        for n in 0..=1000 {
            assert_eq!(bar(f64::from(n) / 1000.0, 7).chars().count(), 7);
        }
        assert_eq!((bar(0.0, 3).as_str(), bar(1.0, 3).as_str(), bar(0.5, 3).as_str()), ("░░░", "███", "█▌░"));
        assert_eq!(bar(f64::NAN, 2).chars().count(), 2);
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a verylongword b", 4), ["a", "verylongword", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
