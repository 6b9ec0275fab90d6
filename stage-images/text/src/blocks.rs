//! A document's text block: paragraphs, then sentences.

use crate::punkt::Punkt;

/// What OBELICS writes where one source document ends within a text block.
pub const END_OF_DOCUMENT: &str = "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED";

/// The paragraphs of a text block, trimmed, in order, without empty ones. A blank line or [`END_OF_DOCUMENT`] separates
/// paragraphs; a single line break does not.
pub fn paragraphs(block: &str) -> impl Iterator<Item = &str> {
    block.split(END_OF_DOCUMENT).flat_map(|part| Paragraphs { rest: part })
}

/// The sentences of a text block, trimmed, in order. No sentence reaches over the end of a paragraph.
pub fn sentences<'a>(block: &'a str, punkt: &Punkt) -> impl Iterator<Item = &'a str> {
    paragraphs(block).flat_map(|p| punkt.sentences(p)).map(str::trim).filter(|s| !s.is_empty())
}

struct Paragraphs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let mut end = 0;
        for line in self.rest.split_inclusive('\n') {
            if line.trim().is_empty() {
                break;
            }
            end += line.len();
        }
        let (paragraph, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!paragraph.is_empty()).then(|| paragraph.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::punkt::PunktCompat;

    #[test]
    fn blank_lines_and_document_ends_separate_paragraphs() {
        let block = "One\nline.\n\nTwo\r\n\r\n \n\n Three END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED\n\nFour";
        assert_eq!(paragraphs(block).collect::<Vec<_>>(), ["One\nline.", "Two", "Three", "Four"]);
        assert_eq!(paragraphs(" \n\n\t").count(), 0);
        assert_eq!(paragraphs("").count(), 0);
    }

    #[test]
    fn sentences_end_with_their_paragraph() {
        let punkt = Punkt::english(PunktCompat::V3_9);
        let block = "A heading without a stop\n\nDr. Lee waved.  She left.END_OF_DOCUMENT_TOKEN_TO_BE_REPLACEDnext";
        let found: Vec<_> = sentences(block, &punkt).collect();
        assert_eq!(found, ["A heading without a stop", "Dr. Lee waved.", "She left.", "next"]);
    }
}
