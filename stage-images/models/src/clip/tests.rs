//! Against open_clip's tokenizer, on the merges that its package holds (`make models`); skipped loudly without them. The
//! golden texts come from `tests/golden/clip_reference.py`.

use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<Row>,
    repaired: Vec<Row>,
}

/// A text, its tokens with start and end, and what they are as a text.
#[derive(Deserialize)]
struct Row {
    raw: String,
    tokens: Vec<u32>,
    text: String,
    /// What open_clip says where ftfy repairs the text first.
    open_clip: Option<String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/clip.json")).unwrap()
}

fn tokenizer() -> Option<&'static ClipTokenizer> {
    static ONE: OnceLock<Option<ClipTokenizer>> = OnceLock::new();
    let load = || {
        let file = ClipTokenizer::file(&crate::tests::folder("clip-merges")?).unwrap();
        Some(ClipTokenizer::load(&file).unwrap())
    };
    ONE.get_or_init(load).as_ref()
}

#[test]
fn tokens_and_texts_are_open_clips() {
    let Some(tokenizer) = tokenizer() else { return };
    let golden = golden();
    assert!(golden.texts.len() >= 300);
    for row in golden.texts.iter().chain(&golden.repaired) {
        assert_eq!(tokenizer.tokens(&row.raw), row.tokens, "{:?}", row.raw);
        assert_eq!(tokenizer.roundtrip(&row.raw), row.text, "{:?}", row.raw);
        // The repair is all that is missing: where open_clip differs, ftfy guessed an encoding.
        assert!(row.open_clip.as_ref().is_none_or(|said| *said != row.text), "{:?}", row.raw);
    }
}

/// Texts of a seeded generator, of all of Unicode and of what the tokenizer treats specially.
fn strange_texts() -> impl Iterator<Item = String> {
    const PIECES: [&str; 24] = [
        "&",
        "amp;",
        "#",
        "x",
        "1",
        ";",
        "<",
        "end_of_text>",
        "</w>",
        "\u{1b}[",
        "m",
        "'",
        "s",
        "\n",
        " ",
        "\u{feff}",
        "\u{1c}",
        "&#1;",
        "&nbsp;",
        "\u{206a}",
        "e",
        "\u{301}",
        "ſ",
        "中",
    ];
    let mut state = 1u64;
    let mut next = move || {
        // Steele et al. 2014, SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
    };
    (0..4000).map(move |_| {
        let length = next() % 12;
        (0..length)
            .map(|_| match next() % 4 {
                0 => char::from_u32((next() % 0x11_0000) as u32).map(String::from).unwrap_or_default(),
                _ => PIECES[next() as usize % PIECES.len()].to_owned(),
            })
            .collect()
    })
}

#[test]
fn nothing_is_left_only_of_what_is_blank() {
    let Some(tokenizer) = tokenizer() else { return };
    let mut blank = 0;
    for text in strange_texts() {
        let (tokens, again) = (tokenizer.tokens(&text), tokenizer.roundtrip(&text));
        assert!((2..=CONTEXT).contains(&tokens.len()), "{text:?}");
        assert_eq!(again.trim().is_empty(), is_blank_to_clip(&text), "{text:?} became {again:?}");
        // A letter or digit is lost only with what it is a part of.
        let written = !text.contains(['&', '\u{1b}']) && text.contains(char::is_alphanumeric);
        assert!(!written || !again.is_empty(), "{text:?}");
        blank += usize::from(again.is_empty());
    }
    assert!(blank > 100, "{blank} texts say too little of blank ones");
}

#[test]
fn a_cut_text_is_the_beginning_of_the_whole() {
    let Some(tokenizer) = tokenizer() else { return };
    let long = "seventy words of supercalifragilistic prose ".repeat(30);
    let tokens = tokenizer.tokens(&long);
    assert_eq!((tokens.len(), tokens[0], tokens[76]), (77, 49406, 49407));
    assert!(long.starts_with(&tokenizer.roundtrip(&long)));
}

#[test]
fn both_layouts_of_a_merges_file_are_read() {
    let Some(tokenizer) = tokenizer() else { return };
    let zipped = crate::tests::folder("clip-merges").unwrap().join(FILES[1]);
    let mut text = String::new();
    GzDecoder::new(File::open(&zipped).unwrap()).read_to_string(&mut text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(ClipTokenizer::file(folder.path()), None);
    // The first as a CLIP model's folder has it: its own first line, and no more merges than count.
    let lines: Vec<&str> = text.lines().skip(1).take(super::merges::COUNT).collect();
    for (name, content) in [(FILES[0], format!("#version: 0.2\n{}\n", lines.join("\n"))), (FILES[2], text.clone())] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        assert_eq!(ClipTokenizer::file(folder.path()), Some(path.clone()));
        let other = ClipTokenizer::load(&path).unwrap();
        for row in golden().texts.iter().step_by(10) {
            assert_eq!(other.tokens(&row.raw), tokenizer.tokens(&row.raw));
        }
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_file_that_is_no_merges_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let said = ClipTokenizer::load(&path).err().unwrap().to_string();
        assert!(said.contains(name), "{said}");
        said
    };
    assert!(said(FILES[0], b"i n\nt h\n").contains("#version"));
    assert!(said(FILES[0], b"\xff\xfe").contains("UTF-8"));
    said(FILES[1], b"no gzip");
    assert!(
        ClipTokenizer::load(Path::new("/nonexistent/merges.txt")).err().unwrap().to_string().contains("nonexistent")
    );
}
