//! How text looks: colours where somebody sees them, and as wide as the terminal.

use std::io::{ErrorKind, IsTerminal, Write};

/// What the reader's screen can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are shown.
    pub colour: bool,
    /// Columns.
    pub width: usize,
    /// Rows that a page should fit into, if it is shown again and again in one place.
    pub rows: Option<usize>,
}

/// A colour by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Done.
    Good,
    /// At work.
    Busy,
    /// Waits.
    Slow,
    /// A person must act.
    Bad,
    /// Less important.
    Faint,
    /// Headings.
    Strong,
}

impl Style {
    /// Columns where nobody says how many there are.
    pub const PLAIN: Self = Self { colour: false, width: 100, rows: None };

    /// The style of standard output.
    pub fn of_stdout() -> Self {
        let terminal = console::Term::stdout();
        if !std::io::stdout().is_terminal() {
            return Self::PLAIN;
        }
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let (_, columns) = terminal.size_checked().unwrap_or((24, 80));
        Self { colour: !no_colour, width: usize::from(columns).max(80), rows: None }
    }

    /// The same, for a page that must fit on the screen.
    pub fn on_one_screen(self) -> Self {
        let rows = console::Term::stdout().size_checked().map(|(rows, _)| usize::from(rows));
        Self { rows, ..self }
    }

    /// The text in a colour.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Slow => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        if self.colour && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Writes to standard output. Whoever reads it may have seen enough, which is no error.
///
/// # Errors
/// It cannot be written for another reason.
pub fn print(text: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        done => done,
    }
}

/// Writes what a pod printed. It quotes documents of strangers, and what these hold for a terminal does not reach one.
///
/// # Errors
/// As [`print`].
pub fn pass_on(text: &[u8]) -> std::io::Result<()> {
    if std::io::stdout().is_terminal() { print(&harmless(text)) } else { print(text) }
}

fn harmless(text: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\n' | b'\t');
    text.iter().map(|byte| if is_plain(byte) { *byte } else { b'?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_is_replaced_and_text_is_not() {
        let text = "Straße\t\u{1b}[2Jx\r\u{7}\n";
        assert_eq!(harmless(text.as_bytes()), "Straße\t?[2Jx??\n".as_bytes());
    }
}
