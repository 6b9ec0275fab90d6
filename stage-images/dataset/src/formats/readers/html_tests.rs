//! The guard in front of the tokenizer against the tokenizer itself.

use super::*;

/// Notes how many attributes the largest tag has, beside what the real sink does.
struct Noting {
    sink: Sink,
    largest: Cell<u32>,
}

impl TokenSink for Noting {
    type Handle = ();

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<()> {
        if let Token::TagToken(tag) = &token {
            self.largest.set(self.largest.get().max(tag.attrs.len() as u32));
        }
        self.sink.process_token(token, line)
    }
}

/// The largest tag's attributes as the guard counts them and as the tokenizer does.
fn both_counts(page: &str) -> (u32, u32) {
    let sink = Sink::new(Page::new("https://a.example/", 0, u32::MAX));
    let tokenizer = Tokenizer::new(Noting { sink, largest: Cell::new(0) }, TokenizerOpts::default());
    let (queue, mut count, mut guessed) = (BufferQueue::default(), AttributeCount::default(), 0);
    for piece in pieces(page) {
        let sink = &tokenizer.sink.sink;
        guessed = guessed.max(count.advance(piece.as_bytes(), sink.emitted.take(), sink.raw.get()));
        queue.push_back(StrTendril::from_slice(piece));
        let _ = tokenizer.feed(&queue);
    }
    tokenizer.end();
    (guessed, tokenizer.sink.largest.get())
}

#[test]
fn no_tag_has_more_attributes_than_the_guard_counts() {
    const PARTS: [&str; 30] = [
        "<",
        ">",
        "</",
        "/>",
        "<p",
        "</p",
        "<script",
        "</script",
        "<title",
        "</title",
        "<style",
        "</style",
        "<svg",
        "<!",
        "<!--",
        "-->",
        "<?",
        "<![CDATA[",
        "]]>",
        " ",
        "\n",
        "\t",
        "/",
        "=",
        "\"",
        "'",
        "&",
        "&amp",
        "\0",
        "-",
    ];
    let mut tagged = 0;
    for seed in 0..30_000u32 {
        let mut choices = [0; 60];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut choices);
        let mut page = String::new();
        for (i, choice) in choices.iter().enumerate() {
            match PARTS.get(usize::from(*choice) % (2 * PARTS.len())) {
                Some(part) => page.push_str(part),
                // Names differ, for the tokenizer drops attributes of the same name.
                None => page.push_str(&format!(" a{i}")),
            }
        }
        let (guessed, found) = both_counts(&page);
        assert!(guessed >= found, "{guessed} counted, {found} found in {page:?}");
        tagged += u32::from(found > 2);
    }
    assert!(tagged > 5_000, "only {tagged} pages have a tag with attributes");
}

#[test]
fn pieces_are_the_whole_page_cut_at_tags() {
    let page = "a<b>c<<d>e>ü";
    assert_eq!(pieces(page).collect::<Vec<_>>(), ["a", "<b>", "c", "<", "<d>", "e>", "ü"]);
    assert_eq!(pieces(page).collect::<String>(), page);
}
