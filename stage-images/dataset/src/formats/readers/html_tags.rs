//! What the HTML reader knows of elements, and the guard in front of its tokenizer.

use html5ever::tokenizer::states::RawKind;

/// What an element means for the text around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It stands inside a line of text.
    Inline,
    /// A line ends where it begins and where it ends.
    Block,
    /// As a block, and nothing in it is the document's own content.
    Dropped,
    /// It has no content and no end tag.
    Void,
}

/// The kind of the element `name`, in lower case.
pub fn kind(name: &str) -> Kind {
    match name {
        "header" | "footer" | "nav" | "template" | "svg" | "math" | "select" | "button" | "object" => Kind::Dropped,
        "address" | "article" | "aside" | "blockquote" | "body" | "caption" | "center" | "dd" | "details"
        | "dialog" | "div" | "dl" | "dt" | "fieldset" | "figcaption" | "figure" | "form" | "h1" | "h2" | "h3"
        | "h4" | "h5" | "h6" | "head" | "hgroup" | "html" | "legend" | "li" | "main" | "menu" | "ol" | "p" | "pre"
        | "search" | "section" | "summary" | "table" | "tbody" | "td" | "tfoot" | "th" | "thead" | "tr" | "ul" => {
            Kind::Block
        }
        "area" | "base" | "br" | "col" | "embed" | "hr" | "img" | "input" | "link" | "meta" | "param" | "source"
        | "track" | "wbr" => Kind::Void,
        _ => Kind::Inline,
    }
}

/// How the tokenizer must read an element's content, if it is not markup, with the name that its end tag has.
pub fn raw_content(name: &str) -> Option<(&'static str, RawKind)> {
    Some(match name {
        "script" => ("script", RawKind::ScriptData),
        "title" => ("title", RawKind::Rcdata),
        "textarea" => ("textarea", RawKind::Rcdata),
        "style" => ("style", RawKind::Rawtext),
        "iframe" => ("iframe", RawKind::Rawtext),
        "xmp" => ("xmp", RawKind::Rawtext),
        "noembed" => ("noembed", RawKind::Rawtext),
        "noframes" => ("noframes", RawKind::Rawtext),
        _ => return None,
    })
}

/// Counts the attributes of the tag that the tokenizer is in, in step with it, and never too few.
///
/// The tokenizer compares each new attribute with all before it, so a tag with a million of them would take hours. This
/// follows the standard's states for tags byte by byte. Inside a script it cannot know whether `</script` ends it or
/// stands in a comment there, so it follows both readings.
#[derive(Debug)]
pub struct AttributeCount {
    raw: bool,
    tracks: Vec<Track>,
}

impl Default for AttributeCount {
    fn default() -> Self {
        Self { raw: false, tracks: vec![Track::default()] }
    }
}

impl AttributeCount {
    /// Goes over the next piece, which has `<` nowhere but at its start and `>` nowhere but at its end, and returns the
    /// largest count in it. `emitted`: the tokenizer has emitted a token since the last piece. `raw`: the element whose
    /// content it is in, if that is not markup.
    pub fn advance(&mut self, piece: &[u8], emitted: bool, raw: Option<&str>) -> u32 {
        if self.raw != raw.is_some() {
            *self = Self { raw: raw.is_some(), ..Self::default() };
        }
        let mut largest = 0;
        for track in &mut self.tracks {
            if emitted && track.state == State::Markup {
                track.state = State::Text;
            }
            if raw.is_none() || track.state != State::Text {
                largest = track.run(piece).max(largest);
            }
        }
        if raw.is_some_and(|name| is_end_tag(piece, name)) {
            let mut ended = Track { state: State::TagName, count: 0 };
            largest = ended.run(&piece[2..]).max(largest);
            self.tracks.push(ended);
            // The larger count stands for all tracks that go on alike, so there are never more than states.
            self.tracks.sort_unstable_by_key(|track| (track.state, std::cmp::Reverse(track.count)));
            self.tracks.dedup_by_key(|track| track.state);
        }
        largest
    }
}

/// Whether `piece` begins with the end tag of the element `name`.
fn is_end_tag(piece: &[u8], name: &str) -> bool {
    let rest = piece.strip_prefix(b"</").unwrap_or_default();
    match rest.split_at_checked(name.len()) {
        Some((start, [next, ..])) => {
            start.eq_ignore_ascii_case(name.as_bytes()) && (is_blank(*next) || b"/>".contains(next))
        }
        _ => false,
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Text; the next `<` may open a tag.
    #[default]
    Text,
    Open,
    EndOpen,
    /// A comment or a declaration, until the tokenizer has emitted it.
    Markup,
    TagName,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted(u8),
}

#[derive(Debug, Default)]
struct Track {
    state: State,
    count: u32,
}

impl Track {
    fn run(&mut self, piece: &[u8]) -> u32 {
        let mut largest = self.count;
        for byte in piece {
            self.step(*byte);
            largest = largest.max(self.count);
        }
        largest
    }

    fn step(&mut self, byte: u8) {
        use State::*;
        let blank = is_blank(byte);
        self.state = match (self.state, byte) {
            (Text | Open | EndOpen, b'<') => Open,
            (Text, _) => Text,
            (Open, b'/') => EndOpen,
            (Open, b'!' | b'?') => Markup,
            (Open | EndOpen, b) if b.is_ascii_alphabetic() => TagName,
            (Open, _) | (EndOpen, b'>') => Text,
            (EndOpen | Markup, _) => Markup,
            (Quoted(quote), b) if b == quote => BeforeName,
            (Quoted(quote), _) => Quoted(quote),
            (_, b'>') => {
                self.count = 0;
                Text
            }
            (BeforeValue, b'"' | b'\'') => Quoted(byte),
            (BeforeValue, _) if blank => BeforeValue,
            (BeforeValue | Value, _) => {
                if blank {
                    BeforeName
                } else {
                    Value
                }
            }
            (TagName | BeforeName | Name | AfterName, b'/') => BeforeName,
            (TagName, _) if !blank => TagName,
            (TagName | BeforeName, _) if blank => BeforeName,
            (Name | AfterName, _) if blank => AfterName,
            (Name | AfterName, b'=') => BeforeValue,
            (Name, _) => Name,
            (TagName | BeforeName | AfterName, _) => {
                self.count += 1;
                Name
            }
        };
    }
}
