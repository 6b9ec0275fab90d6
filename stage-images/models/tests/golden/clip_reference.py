#!/usr/bin/env python3
"""What open_clip's tokenizer makes of some hundred texts.

    pip install --no-deps --only-binary :all: --target LIB open_clip_torch==3.3.0 ftfy==6.3.1 wcwidth==0.9.4 \
        regex==2026.11.15 numpy==2.2.6
    PYTHONPATH=LIB python3 clip_reference.py > clip.json

open_clip's own file runs, `encode`, `__call__` and `decode` of it; of torch it needs an array of integers, and gets numpy's. A
text that ftfy repairs (it was decoded from a wrong encoding) stands apart, with what the tokenizer makes of it without that repair.
"""

import importlib.metadata
import importlib.util
import json
import pathlib
import random
import sys
import types

import ftfy
import numpy

torch = types.ModuleType("torch")
torch.Tensor = torch.LongTensor = numpy.ndarray
torch.long = numpy.int64
torch.zeros = lambda rows, columns, dtype: numpy.zeros((rows, columns), dtype)
torch.tensor = numpy.array
sys.modules["torch"] = torch

# The package's __init__ would load every model there is.
folder = pathlib.Path(importlib.metadata.distribution("open_clip_torch").locate_file("open_clip"))
spec = importlib.util.spec_from_file_location("tokenizer", folder / "tokenizer.py")
open_clip = importlib.util.module_from_spec(spec)
spec.loader.exec_module(open_clip)
TOKENIZER = open_clip.SimpleTokenizer()

PLAIN = [
    "There are currently around 6,500 petrol stations.",
    "It was my husband's 60th birthday; they'd played until 1:30 a.m.!",
    "We've said we're sure I'm right, he'll see, she'd say, they can't.",
    "WE'VE SAID WE'RE SURE I'M RIGHT, HE'LL SEE, SHE'D SAY, THEY CAN'T.",
    "Rock 'n' roll 'tis 'twas 'em ''double'' '''triple'''",
    "e-mail: user_name+tag@example.org, see https://example.org/a?b=c&d=e#f",
    "The Crab Nebula (M1, NGC 1952) exploded in 1054 A.D.; it's 6,523 light-years away.",
    "H2O, CO₂, E=mc², x⁴ ≠ ½·¾ ± 5 °C, 100 Ω, 3 µm, Ⅷ ⅻ ① ㊿ ٣٤٥ १२३",
    "$1,234.56 £99 €5 ¥1000 50% #hashtag @someone 7/8 C++ C# .NET",
    "snake_case camelCase kebab-case CONSTANT_CASE v1.2.3-rc.4+build.5",
    "Wait... what?! No -- really --- yes. (Or: no?) [maybe] {perhaps} <never>",
    "“Curly quotes” and ‘single ones’, don’t you think? ‚low‘ „German“ «French» ‹so›",
    "naïve café résumé Zoë façade smörgåsbord crème brûlée Ångström",
    "Decomposed: cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "ΟΔΥΣΣΕΥΣ ΣΊΣΥΦΟΣ ΣΑΣ Σ σς Στις ΑΣ.",
    "İstanbul'da IĞDIR ılık İ I ı i",
    "STRASSE Straße GROẞ ẞ ß",
    "Широка страна моя родная, много в ней лесов, полей и рек!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "中文句子没有空格，所以整句话是一个词。标点符号除外！",
    "日本語のテキストです。カタカナ、ひらがな、漢字が混ざっています。",
    "한국어 문장은 띄어쓰기가 있습니다. 그렇죠?",
    "שלום עולם, מה שלומך היום? זה משפט בעברית.",
    "مرحبا بالعالم، كيف حالك اليوم؟ هذه جملة عربية.",
    "यह एक हिंदी वाक्य है। क्या आप इसे पढ़ सकते हैं?",
    "นี่คือประโยคภาษาไทยที่ไม่มีช่องว่าง",
    "Đây là một câu tiếng Việt có nhiều dấu thanh.",
    "ＦＵＬＬ　ＷＩＤＴＨ　１２３！ ﾊﾝｶｸ ｶﾞｷﾞｸﾞ ﾊﾟﾋﾟ ￥￡ ￨",
    "ﬁne ﬂow oﬀer eﬃcient baﬄe ﬅ ﬆ Ĳsland ĳs ŉ Ǆ ǅ ǆ Ǉ ǌ Ǳ ǲ ǳ",
    "😀 smile 😂🤣 tears 👍🏽 thumbs 👨‍👩‍👧‍👦 family 🇩🇪🇫🇷 flags ❤️ heart ☃ snow ✔",
    "🏴󠁧󠁢󠁷󠁬󠁳󠁿 Wales 1️⃣ keycap ™ © ® ℃ ℡ № ℠",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀",
    "zero\u200bwidth\u200cnon\u200djoiner\u2060word soft\u00adhyphen bom\ufeffinside",
    "control\x00\x01\x02 chars\x07\x08 bell\x0b\x0c vt\x0e\x1b esc\x7f del",
    "four\x1cseparators\x1dof\x1eascii\x1fhere",
    "\x1b[31mred\x1b[0m \x1b[1;32mgreen\x1b[m \x1b[２m wide \x1b[;;H move \x1b] not",
    "next\x85line line\u2028separator para\u2029graph\r\nwindows\rmac\nunix\ttab",
    "spaces\u00a0no\u2009thin\u202fnarrow\u3000ideographic\u1680ogham\u180evowel\u205fmath",
    "\u202eright-to-left override\u202c \u200emark\u200f \u2066isolate\u2069 \u206a\u206f deprecated",
    "\ufff9anno\ufffatation\ufffb object\ufffc replacement\ufffd",
    "private \ue000\uf8ff\U000f0000 nonchar \ufdd0 \uffff \U0001ffff unassigned \u0378",
    "iota a\u0345b '\u0345s !\u0345! \u03b1\u0345 \u0345 &#837;x", "combining a\u0301\u0302\u0303\u0304 z̸̡̢̛͙̼̰̝a̵l̶g̷o",
    "ancient 𒀀𒁀 𓀀𓁐 𐍈 linear 𐀀 math 𝒜𝓑𝔠 𝟘𝟙𝟚 emoji 🫠🪿",
    "long ſ 'ſ ſſ K (Kelvin) Å (Angstrom) Ω (Ohm) 'K it'ſ",
    "a", "A", "1", "!", "é", "中", "😀", "'", "'s", "'S", "' s", "s'", "''s", "I'", "ab", "a b", "a1", "1a", "a1b2c3",
    "an", "the", "The the THE", "photo of a cat", "a photo of a dog.", "hello world",
    "<|startoftext|>hello<|endoftext|>", "<|endoftext|>", "a <|ENDOFTEXT|> b",
    "<start_of_text>", "<end_of_text>", "some <end_of_text> text", "glued<end_of_text>text", "<END_OF_TEXT>", "<end_of_text",
    "<ſtart_of_text>", "<start_of_text><end_of_text><end_of_text>", "</w>", "a</w>b", "a </w> b", "</w></w>", "<w>", "x</w", "[CLS] [SEP] [UNK] <unk> <s> </s>",
    "tom &amp; jerry", "AT&T", "AT&amp;T", "&lt;b&gt;bold&lt;/b&gt;", "<b>bold &amp; brave</b>", "<i>caf&eacute;</i> &amp;amp; &hellip;",
    "&amp;amp;amp;lt;", "<&amp;amp;amp;amp;lt;", "&nbsp;&nbsp;x&nbsp;", "fish&chips &chips; &copy &copy; &copycat &reg &notin; &notit; &not",
    "&#39;quoted&#39; &#x27;hex&#X27; &#8217; &#8220;curly&#8221; &#150; &#151 &#0; &#1; &#128; &#xD800; &#x110000; &#99999999999;",
    "&EACUTE;t&EACUTE; P&EACUTE;REZ &SZLIG; &nTILDE; &NTILDE; &HELLIP; &LTDOT; &AMP; &AMP &QUOT;x&QUOT; &TRADE; &ALPHA;",
    "&#59; &#59 &semi; &#38;lt; &#38;#38;lt;", "&&amp;&& &; &# &#; &#x; &#xg; &a; &zz; &é;", "&CounterClockwiseContourIntegral; &NotNestedGreaterGreater; &bne; &fjlig;",
    "line one &lt;x&gt;\nline <two> &amp;lt;\nline three &EACUTE; &amp;amp;lt;", "P&EACUTE;REZ <\nP&EACUTE;REZ", "P&EACUTE;REZ\n<P&EACUTE;REZ\nP&EACUTE;REZ",
    "R&D, Q&A; M&M's; B&B", "1 < 2 > 1 && 3 >= 2", "&", "&&", "a&b", "&lt", "&ltx", "&ltcc;", "&ltcir", "&ampersand;", "&ampersand", "&para", "&paragraph", "&sect1;",
    "  leading and trailing  ", "many     spaces\t\t\tand\n\n\nlines", "\u3000\u3000wide", "x" * 300, "ab" * 200, "na" * 150 + " batman", "!" * 300, "?!" * 100, "9" * 100, "3.14159265358979323846264338327950288419716939937510",
    "中" * 60, "é" * 120, "🎉" * 40, "ا" * 200, "a" * 5000, "word " * 200, "ha" + "ha" * 400, "...." * 100, "-" * 76, "=" * 77, "a " * 74 + "b", "a " * 75 + "b", "a " * 76 + "b", "a " * 73 + "antidisestablishmentarianism", "a " * 74 + "antidisestablishmentarianism",
    "a " * 74 + "中文", "a " * 74 + "😀", "a " * 73 + "🦄🦄", "a " * 74 + "\U0001f9ff", "a " * 73 + "𒀀", "a " * 74 + "ǂǂ", "a " * 75 + "<end_of_text>", "a " * 74 + "<end_of_text> b",
    "Pneumonoultramicroscopicsilicovolcanoconiosis is a long word; Donaudampfschifffahrtsgesellschaftskapitän is another.",
    "The quick brown fox jumps over the lazy dog. " * 9,
    "Supercalifragilisticexpialidocious " * 20,
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat.",
    "A mitochondrion's cristae are where ATP synthase works: see Figure 4.2(b), p. 117, and Table 3-1.",
    "figure 2 . excavation on the bengal - nagpur railway (1890).",
    "\u0130\u0307", "ǰ ẖ ẗ ẘ ẙ ẚ", "ŉ'n ʼn", "Æsop œuvre Łódź Þór ðæt Ŋ ŋ", "ﷺ ﷽ ㍿ ㎏ ㏑ Ⓐⓐ ㈱", "º ª ¹²³ ¼½¾", "𝕳𝖊𝖑𝖑𝖔 𝟏𝟐𝟑 Ｈｉ", "¡Hola! ¿Qué tal? ¡Adiós!", "« guillemets » ‐ ‑ ‒ – — ―", "¯\\_(ツ)_/¯ ಠ_ಠ ʕ•ᴥ•ʔ (╯°□°)╯︵ ┻━┻", "│║═ box ░▒▓ blocks ←↑→↓ arrows ∀∃∈ sets",
]

# Decoded as Windows-1252, Latin-1 or the like; and what only looks like it.
SUSPECT = [
    "donâ€™t worry, itâ€™s fine", "â€œquotedâ€\x9d", "âœ” No problems", "schÃ¶n und GrÃ¼ÃŸe", "cafÃ© au lait", "voilÃ  le travail", "L&AMP;AMP;ATILDE;&AMP;AMP;SUP3;PEZ",
    "ÃƒÂ© twice", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "ã\x83\x84 face", "¯\\_(ã\x83\x84)_/¯", "dash â€” and bullet â€¢", "price Â£5 and Â©2010", "Â non-breaking", "ðŸ˜€ smile", "It\x92s \x93smart\x94 \x96 quotes \x85", "\x80uro \x99 \x81 \x9f", "Ã la mode", "sÃ³", "à quel point", "ÀÉÎÕÜ", "CÂ°", "â", "ã", "Ã", "©®", "Ã\xa0", "вЂњ", "MÃœNCHEN", "â‚¬100",
]

PIECES = [
    "the", "Cat", "SAT", "on", "it's", "we'LL", "42", "1999", "3rd", "don't", "U.S.A.", "e.g.", "co-op", "rock'n'roll", "naïve", "Ünter", "łódź", "привет", "Мир", "世界", "日本", "한글", "שלום", "مرحبا", "😀", "👍🏽", "&amp;", "&lt;", "&#39;", "&eacute", "&nbsp;", "“", "”", "’s", "…", "—", "...", "?!", "(", ")", "\"", "'", "'s", "#", "@x", "_", "__init__", "\u200b", "\u00ad", "\x07", "\u00a0", "ﬁ", "Ａ", "①", "½", "²", "<|endoftext|>", "http://a.b/c?d", "antidisestablishmentarianism", "qwrtzpsdf", "XyZ12ab", "é", "e\u0301", "\u3042", "🇯🇵", "𝒳", "\n", "\t", "<br/>", "%20", "\\n", "$5", "C3PO", "y'all'd've",
]


def mixed():
    chance = random.Random(20210226)
    for at in range(170):
        length = chance.choice([2, 3, 5, 8, 13, 21, 34])
        glue = chance.choice([" ", " ", "", "  "])
        yield glue.join(chance.choice(PIECES) for _ in range(length))


def answers(text):
    (row,) = TOKENIZER([text])
    tokens = row.tolist()[: len(TOKENIZER.encode(text)) + 2]
    return {"tokens": tokens, "text": TOKENIZER.decode(tokens[1:-1]).strip()}


def main():
    texts, repaired = [], []
    for text in [*PLAIN, *SUSPECT, *mixed()]:
        real = answers(text)
        fix = ftfy.fix_text
        ftfy.fix_text = lambda text: fix(text, fix_encoding=False)
        unrepaired = answers(text)
        ftfy.fix_text = fix
        if real == unrepaired:
            texts.append({"raw": text, **real})
        else:
            repaired.append({"raw": text, **unrepaired, "open_clip": real["text"]})
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("open_clip_torch", "ftfy", "regex"))
    rows = lambda rows: "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows) + "\n]"
    tool = json.dumps(f"clip_reference.py, Python {sys.version.split()[0]}, {versions}")
    print(f'{{"tool": {tool},\n"texts": {rows(texts)},\n"repaired": {rows(repaired)}}}')


if __name__ == "__main__":
    main()
