"""Writes punkt.jsonl: what NLTK makes of the texts in punkt-texts.txt and of seeded random ones.

Usage: punkt.py SITE_WITH_NLTK_3_10 [RANDOM_TEXTS]   (see README.md)
"""

import importlib
import json
import pathlib
import random
import subprocess
import sys

HERE = pathlib.Path(__file__).parent

WORKER = """
import json, sys
{path}
from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktParameters
import nltk
assert nltk.__version__.startswith({version!r}), nltk.__version__
p = PunktParameters()
for line in open({data!r}, encoding="utf-8", newline="\\n"):
    if line.startswith("# "):
        continue
    kind, value = line.rstrip("\\n").split("\\t", 1)
    if kind == "abbreviation": p.abbrev_types.add(value)
    elif kind == "collocation": p.collocations.add(tuple(value.split("\\t")))
    elif kind == "starter": p.sent_starters.add(value)
    else: p.ortho_context[value] = int(kind)
t = PunktSentenceTokenizer(p)
for line in sys.stdin:
    print(json.dumps(t.tokenize(json.loads(line))))
"""

PIECES = (
    "Dr. Mr. U.S. No. J. K. S. Bach e.g. i.e. etc. p.m. Inc. Corp. 3. 12. 4.5 1,000. ##number## The the In He it was This "
    "Yes no Berlin berlin dog. Dog? cat! wait... .. ... -- - , ; : ' \" ( ) [ ] { } `` '' ?! !! . ? ! * @ # & “ ” ‘ ’ « » "
    "Ph.D. Mr.-X. x-mr. é. ß. É. 1st Smith acting!!! don't it's, end., 3.-4. .5 -7. -.5. _. ² ². ٣. Ⓐ. however However But"
).split() + [". . .", ". . . .", "\n", "\n\n", "\t", "\u00a0", "\u2003", "\x1c", "\x85", " ", "  ", "\r\n", "", "."]


def random_text(rng):
    parts = []
    for _ in range(rng.randint(1, 14)):
        parts.append(rng.choice(PIECES))
        if rng.random() < 0.65:
            parts.append(" ")
    return "".join(parts)


def main():
    site, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 400
    rng = random.Random(20240731)
    texts = (HERE / "punkt-texts.txt").read_text(encoding="utf-8").rstrip("\n").split("\n====\n")
    texts += [random_text(rng) for _ in range(count)]
    stdin = "".join(json.dumps(t) + "\n" for t in texts)
    data = str(HERE.parent.parent / "data" / "punkt-english.txt")
    columns = []
    for version, path in (("3.9.1", ""), ("3.10.4", f"sys.path.insert(0, {site!r})")):
        code = WORKER.format(path=path, version=version, data=data)
        out = subprocess.run([sys.executable, "-c", code], input=stdin, capture_output=True, text=True, check=True).stdout
        columns.append([json.loads(line) for line in out.splitlines()])
    for text, old, new in zip(texts, *columns, strict=True):
        row = {"text": text, "v3_9": old}
        if new != old:
            row["v3_10"] = new
        print(json.dumps(row, ensure_ascii=False))


main()
