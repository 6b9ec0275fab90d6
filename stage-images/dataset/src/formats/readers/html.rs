//! Web pages: paragraphs and images in the order of the page.
//!
//! The page is read as a stream of tags. No tree is built, so depth costs nothing: a list of open block elements, with a
//! count by name, is all that is remembered, and each entry is pushed and popped once.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::{LocalName, local_name};

use super::html_tags::{AttributeCount, Kind, kind, raw_content};
use super::url::resolve_url;
use super::{Block, Document, DocumentLimits, DocumentReject, ImageRef, RejectReason, non_blank};

/// More attributes than any tag has that a person or a tool wrote.
const MAX_ATTRIBUTES: u32 = 1_024;

/// The document in the page `bytes`, which stands at `base_url`.
///
/// Scripts, styles, forms' controls, `nav`, `header` and `footer` are left out. Block elements end a block of text, in
/// which white space is folded; an image inside a line comes after the line's block. `src` is resolved against
/// `<base href>` or `base_url`; `srcset` is ignored. Bytes are UTF-8, UTF-16 with a byte order mark, or, if the page
/// declares it and they are not UTF-8, Latin-1 as browsers read it (windows-1252).
pub fn read_html(bytes: &[u8], base_url: &str, row: u64, limits: &DocumentLimits) -> Result<Document, DocumentReject> {
    let reject = |reason| DocumentReject { row, reason };
    if bytes.len() as u64 > limits.bytes {
        return Err(reject(RejectReason::TooLarge));
    }
    let text = decode(bytes).ok_or(reject(RejectReason::InvalidUtf8))?;
    let page = Page::new(base_url, row, limits.positions);
    let tokenizer = Tokenizer::new(Sink::new(page), TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut attributes = AttributeCount::default();
    for piece in pieces(&text) {
        let sink = &tokenizer.sink;
        if attributes.advance(piece.as_bytes(), sink.emitted.take(), sink.raw.get()) > MAX_ATTRIBUTES {
            return Err(reject(RejectReason::TooLarge));
        }
        queue.push_back(StrTendril::from_slice(piece));
        // It stops early only if the sink asks for it, which this one never does.
        let _ = tokenizer.feed(&queue);
    }
    tokenizer.end();
    tokenizer.sink.page.into_inner().finish().map_err(reject)
}

/// Cuts before every `<` and after every `>`, so that a tag begins where a piece does.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('>').flat_map(|part| {
        let starts = part.char_indices().filter(|(_, c)| *c == '<').map(|(i, _)| i);
        let starts = std::iter::once(0).chain(starts.filter(|i| *i > 0));
        let ends = part.char_indices().filter(|(i, c)| *c == '<' && *i > 0).map(|(i, _)| i);
        starts.zip(ends.chain(std::iter::once(part.len()))).map(move |(start, end)| &part[start..end])
    })
}

fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).collect::<Result<String, _>>().ok().map(Cow::Owned)
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return std::str::from_utf8(rest).ok().map(Cow::Borrowed),
        [0xff, 0xfe, rest @ ..] => return utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return utf16(rest, u16::from_be_bytes),
        _ => {}
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(Cow::Borrowed(text)),
        Err(_) if declares_latin1(bytes) => Some(Cow::Owned(bytes.iter().map(|b| windows_1252(*b)).collect())),
        Err(_) => None,
    }
}

/// Whether `charset=` with a name of Latin-1 stands in the first 1,024 bytes.
fn declares_latin1(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1_024)]).to_ascii_lowercase();
    head.split("charset").skip(1).any(|after| {
        let after = after.trim_start().strip_prefix('=').unwrap_or_default().trim_start();
        let name = after.trim_start_matches(['"', '\'']);
        ["iso-8859-1", "iso8859-1", "latin1", "windows-1252", "cp1252", "us-ascii"]
            .iter()
            .any(|known| name.strip_prefix(known).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit())))
    })
}

fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

/// Takes the tokenizer's tokens. The tokenizer lends it immutably, hence the cells.
struct Sink {
    page: RefCell<Page>,
    emitted: Cell<bool>,
    /// The element whose content is being read, if that is not markup.
    raw: Cell<Option<&'static str>>,
}

impl Sink {
    fn new(page: Page) -> Self {
        Self { page: RefCell::new(page), emitted: Cell::new(false), raw: Cell::new(None) }
    }
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        if matches!(token, Token::ParseError(_)) {
            return TokenSinkResult::Continue;
        }
        self.emitted.set(true);
        let page = &mut *self.page.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::EndTag => {
                self.raw.set(None);
                page.raw = false;
                page.end(&tag.name);
            }
            Token::TagToken(tag) => {
                page.start(&tag);
                // In SVG and MathML these names mean other elements, which may close themselves.
                let raw = raw_content(&tag.name).filter(|_| !tag.self_closing || !page.is_foreign());
                if let Some((name, raw)) = raw {
                    self.raw.set(Some(name));
                    page.raw = true;
                    return TokenSinkResult::RawData(raw);
                }
            }
            Token::CharacterTokens(text) => page.text(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// The document as far as it has been read.
struct Page {
    document: Document,
    base: String,
    position: u32,
    max_positions: u32,
    /// The current line, white space folded, and the position that it was given at its first word.
    line: String,
    line_position: Option<u32>,
    pending_blank: bool,
    /// Inside a script, a style, or the like.
    raw: bool,
    /// Open block elements, and how many of each name there are.
    open: Vec<LocalName>,
    counts: HashMap<LocalName, usize>,
    /// Length of `open` when the outermost dropped element began.
    dropped_at: Option<usize>,
}

impl Page {
    fn new(base_url: &str, row: u64, max_positions: u32) -> Self {
        Self {
            document: Document { url: Some(base_url.to_owned()), source_row: row, ..Document::default() },
            base: base_url.to_owned(),
            position: 0,
            max_positions,
            line: String::new(),
            line_position: None,
            pending_blank: false,
            raw: false,
            open: Vec::new(),
            counts: HashMap::new(),
            dropped_at: None,
        }
    }

    fn is_foreign(&self) -> bool {
        [local_name!("svg"), local_name!("math")].iter().any(|name| self.counts.get(name).is_some_and(|n| *n > 0))
    }

    fn next_position(&mut self) -> u32 {
        let position = self.position;
        self.position = self.position.saturating_add(1);
        position
    }

    fn text(&mut self, text: &str) {
        if self.raw || self.dropped_at.is_some() {
            return;
        }
        for c in text.chars() {
            if c.is_whitespace() {
                self.pending_blank = true;
                continue;
            }
            if self.line_position.is_none() {
                self.line_position = Some(self.next_position());
            } else if self.pending_blank {
                self.line.push(' ');
            }
            self.pending_blank = false;
            self.line.push(c);
        }
    }

    fn end_line(&mut self) {
        self.pending_blank = false;
        if let Some(position) = self.line_position.take() {
            self.document.blocks.push(Block { position, text: std::mem::take(&mut self.line) });
        }
    }

    fn start(&mut self, tag: &Tag) {
        match &*tag.name {
            "img" if self.dropped_at.is_none() => self.image(tag),
            "base" => {
                if let Some(href) = attribute(tag, "href").and_then(|href| resolve_url(&self.base, href)) {
                    self.base = href;
                }
            }
            "link" | "a" => self.licence(tag),
            "br" | "hr" => self.pending_blank = true,
            _ => {}
        }
        let kind = kind(&tag.name);
        if matches!(kind, Kind::Inline | Kind::Void) {
            return;
        }
        self.end_line();
        // What closes itself in SVG or MathML drops nothing.
        if tag.self_closing && kind == Kind::Dropped {
            return;
        }
        if kind == Kind::Dropped && self.dropped_at.is_none() {
            self.dropped_at = Some(self.open.len());
        }
        *self.counts.entry(tag.name.clone()).or_default() += 1;
        self.open.push(tag.name.clone());
    }

    fn end(&mut self, name: &LocalName) {
        if matches!(kind(name), Kind::Inline | Kind::Void) {
            return;
        }
        self.end_line();
        if self.counts.get(name).is_none_or(|count| *count == 0) {
            return;
        }
        while let Some(closed) = self.open.pop() {
            *self.counts.get_mut(&closed).expect("what is open has been counted") -= 1;
            if closed == *name {
                break;
            }
        }
        if self.dropped_at.is_some_and(|at| self.open.len() <= at) {
            self.dropped_at = None;
        }
    }

    fn image(&mut self, tag: &Tag) {
        let source = attribute(tag, "src").unwrap_or_default();
        match resolve_url(&self.base, source) {
            Some(url) => {
                let position = self.next_position();
                let alt = attribute(tag, "alt").and_then(non_blank);
                self.document.images.push(ImageRef { position, url, alt });
            }
            None => self.document.ignored_images += 1,
        }
    }

    fn licence(&mut self, tag: &Tag) {
        let is_licence = |rel: &str| rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("license"));
        if self.document.licence.is_none() && attribute(tag, "rel").is_some_and(is_licence) {
            self.document.licence = attribute(tag, "href").and_then(|href| resolve_url(&self.base, href));
        }
    }

    fn finish(mut self) -> Result<Document, RejectReason> {
        self.end_line();
        match self.position > self.max_positions {
            true => Err(RejectReason::TooLarge),
            false => Ok(self.document),
        }
    }
}

fn attribute<'a>(tag: &'a Tag, name: &str) -> Option<&'a str> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
