#!/usr/bin/env python3
"""How a build's time and memory grow with its corpus: the same documents, 1, 3 and 10 times, with changed words and pictures.

    pipeline.py REALSYN MODELS OUT [DOCUMENTS]

Every copy of the base (DOCUMENTS documents of the OpenStax sample, default 12) gets words and pictures of its own: a third of its
words are exchanged for others of the base, its pictures are put together from two of the sample's. The first copy too, so that all
copies are alike in kind. A copy is four files, hence four shards.

Each step runs in a process of its own, as on a cluster, and one shard at a time (`--jobs 1`; models use all cores inside a shard). So the
milliseconds that seals record are wall-clock time, a step's time is the sum over its shards, and its memory is the most that its process
held. Loading a model counts for the first shard that needs it. Printed by step: documents per second at each size, the time's ratio of
the largest to the smallest, as `work` how many times more records it published (filters and limits see to it that ten times the documents
are not always ten times the records), and as `spread` how many times longer the slowest build of the smallest size took than the fastest;
then the peak of memory at each size, and whether it stayed flat: within FLAT of the smallest size's, or FLAT_BYTES above it. Steps over
vectors follow with their floating-point operations.
"""
import hashlib
import json
import pathlib
import shutil
import statistics
import sys
import typing

import pyarrow.parquet
from PIL import Image, ImageOps

import ledger

SIZES = [1, 3, 10]
# The smallest is built again between and after the others, and the median of its times counts; how far they lie apart is printed,
# because a ratio says no more than that allows.
ORDER = [1, 3, 1, 10, 1]
FILES = 4
WORDS = 420
PICTURES = 2
# The steps that treat each shard by itself: ten times the work may take ten times as long, and 5 % more.
MAP = {
    "documents/extract", "fetch/fetch", "image-decode/decode", "image-policy/filter", "image-embed/embed", "sentences/split",
    "sentence-score/score", "sentence-dedup-near/rows", "sentence-embed/embed", "image-cluster/home", "retrieve/merge",
    "caption/caption", "tag/tag", "generate/generate", "pair-score/score",
}  # fmt: skip
GOAL = 1.05
# Flat is memory that ten times the corpus raises by at most 10 %, or by as much as the allocator and a few shards' records account for.
FLAT = 1.10
FLAT_BYTES = 8e6
# Below this, at the smallest size, a time is mostly rounding and file system, and its ratio says nothing.
LEAST_MILLIS = 40
# The perplexity of changed texts is high; short synthetic texts show how generation grows.
STAGES = {
    "sentenceScore": {"perplexity": {"min": 0, "max": 1e300}},
    "sentenceCluster": {"rowsPerCluster": 20},
    "imageCluster": {"rowsPerCluster": 8},
    "generate": {"maxNewTokens": 24},
}


# How much there was to do: a count of a step's seal.
COUNTS = [
    ("sentences scored", "sentence-score/score", "in"),
    ("sentences clustered", "sentence-cluster/cluster", "out"),
    ("images embedded", "image-embed/embed", "in"),
    ("nouns of the tagger", "tag-vocab/freeze", "words"),
    ("pairs", "pair-score/score", "out"),
]


class Run(typing.NamedTuple):
    """One build: its documents, its records, its seconds by the wall clock and by step its most bytes of memory."""

    documents: int
    made: ledger.Ledger
    seconds: float
    memory: dict


def keyed(*parts):
    """A number that depends on nothing but its key."""
    return int.from_bytes(hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest(), "big")


def base(root, documents):
    """The texts of the first documents with pictures, each cut to WORDS words."""
    texts = []
    for row in pyarrow.parquet.read_table(root / "us-history.parquet").to_pylist():
        words = [t for t in row["texts"] if t]
        if sum(i is not None for i in row["images"]) > 1 and words:
            texts.append(" ".join(" ".join(words).split()[:WORDS]))
    return texts[:documents]


def changed(text, vocabulary, copy, document):
    """The text with a third of its longer words exchanged for words of the same length."""
    out = []
    for at, word in enumerate(text.split()):
        others = vocabulary.get(len(word), [])
        if word.isalpha() and word.islower() and len(word) > 3 and others and keyed("exchange", copy, document, at) % 3 == 0:
            word = others[keyed("word", copy, document, at) % len(others)]
        out.append(word)
    return " ".join(out)


def picture(paths, path, *key):
    """Writes a picture made of two of the sample's, side by side."""
    out = Image.new("RGB", (320, 220))
    for side in (0, 1):
        with Image.open(paths[keyed("picture", side, *key) % len(paths)]) as half:
            out.paste(ImageOps.fit(half.convert("RGB"), (160, 220)), (160 * side, 0))
    out.save(path, quality=88)


def corpus(root, folder, documents, copies):
    """Writes the base `copies` times."""
    texts = base(root, documents)
    vocabulary = {}
    for word in sorted({w for t in texts for w in t.split() if w.isalpha() and w.islower()}):
        vocabulary.setdefault(len(word), []).append(word)
    paths = sorted((root / "images").glob("*/*.jpg"))
    (folder / "source").mkdir(parents=True)
    (folder / "images").mkdir()
    for copy in range(copies):
        made = []
        for document, text in enumerate(texts):
            parts = [("text", changed(text, vocabulary, copy, document))]
            for n in range(PICTURES):
                name = f"{copy}-{document}-{n}.jpg"
                picture(paths, folder / "images" / name, copy, document, n)
                parts.append(("image", ledger.PREFIX + name))
            made.append((f"{ledger.PREFIX}{copy}/{document}.html", parts))
        size = -(-len(made) // FILES)
        for i in range(FILES):
            ledger.write_documents(folder / "source" / f"copy-{copy:02}-{i}.parquet", made[i * size : (i + 1) * size])
    return copies * len(texts)


def operations(made):
    """Floating-point operations of the steps over vectors, a multiplication and an addition as two. k-means may end before its
    last round, so what it costs is an upper bound."""
    count = lambda step, name: made.seal(step)["counts"].get(name, 0)  # noqa: E731
    flops = {}
    for kind, dim in (("sentence", 384), ("image", 1280)):
        rows, cells = count(f"{kind}-cells/train", "rows"), count(f"{kind}-cells/train", "cells")
        flops[f"{kind}-cells/train"] = 2 * count(f"{kind}-cells/train", "sample") * cells * dim * 10
        flops[f"{kind}-cells/assign"] = 2 * rows * cells * dim
        flops[f"{kind}-dedup-semantic/pairs"] = 2 * count(f"{kind}-dedup-semantic/pairs", "compared") * dim
        step = f"{kind}-cluster/cluster"
        # Twenty rounds, and the assignment after them.
        flops[step] = sum(2 * c.get("out", 0) * c.get("clusters", 0) * dim * 21 for c in made.counts(step))
    for step in ("retrieve/exact-sample", "retrieve/search"):
        flops[step] = 2 * count(step, "compared") * 384
    return flops


def main():
    realsyn, models, out = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
    wanted = int(sys.argv[4]) if len(sys.argv) > 4 else 12
    shutil.rmtree(out, ignore_errors=True)
    runs = {size: [] for size in SIZES}
    for number, size in enumerate(ORDER):
        folder = out / f"{number}-{size}x"
        documents = corpus(ledger.openstax(), folder, wanted, size)
        ledger.manifest(folder / "build.yaml", folder / "source", folder / "images", models, STAGES)
        seconds, memory = ledger.run_by_step(realsyn, folder / "build.yaml", folder / "out", models, "--jobs", "1")
        runs[size].append(Run(documents, ledger.Ledger(folder / "out"), seconds, memory))
    report(runs)


def report(runs):
    """Prints the tables of `{size: [Run]}`."""
    last = runs[SIZES[-1]][0]
    steps = sorted(last.made.steps(), key=last.made.finished)
    over, grown = [], []
    rates, memory = ("".join(f"{f'{size}x{unit}':>9}" for size in SIZES) for unit in (", d/s", ", MB"))
    print(f"{'step':<32}{rates}{'ratio':>8}{'work':>8}{'spread':>8}  {'goal':<8}{memory}{'ratio':>8}  flat")
    for step in steps:
        time, missed = time_of(step, runs)
        peaks, is_flat = memory_of(step, runs)
        over += missed
        grown += [] if is_flat else [step]
        print(f"{step:<32}{time}{peaks}".rstrip())
    wall = [statistics.median(run.seconds for run in runs[size]) for size in SIZES]
    documents = [runs[size][0].documents for size in SIZES]
    peaks = [max(max(run.memory.values()) for run in runs[size]) for size in SIZES]
    line = "".join(f"{n / s:>9.2f}" for n, s in zip(documents, wall)) + f"{wall[-1] / wall[0]:>8.1f}{SIZES[-1]:>8.1f}{'':>18}"
    line += "".join(f"{peak / 1e6:>9.0f}" for peak in peaks) + f"{peaks[-1] / peaks[0]:>8.2f}"
    print(f"{'whole build, wall clock':<32}{line}")
    print(f"{'documents':<32}" + "".join(f"{n:>9}" for n in documents))
    for name, step, field in COUNTS:
        values = [runs[size][0].made.seal(step)["counts"].get(field, 0) for size in SIZES]
        print(f"{name:<32}" + "".join(f"{v:>9}" for v in values))
    print(f"map steps over {GOAL} of their work: " + (", ".join(over) or "none"))
    print(f"steps whose memory grew by more than {FLAT - 1:.0%} and {FLAT_BYTES / 1e6:.0f} MB: " + (", ".join(grown) or "none"))
    print(f"\n{'step over vectors':<32}{'GFLOP':>9}{'GFLOP/s':>9}")
    for step, flops in operations(last.made).items():
        millis = last.made.seal(step)["effort"]["millis"]
        print(f"{step:<32}{flops / 1e9:>9.2f}" + (f"{flops / 1e6 / millis:>9.1f}" if millis else ""))


def time_of(step, runs):
    """A step's documents per second and how its time grew, as columns; and what there is to say where it grew too much."""
    every = {size: [run.made.seal(step)["effort"]["millis"] for run in runs[size]] for size in SIZES}
    millis = [statistics.median(every[size]) for size in SIZES]
    rates = (runs[size][0].documents / m * 1000 if m else 0 for size, m in zip(SIZES, millis))
    timed = millis[0] >= LEAST_MILLIS
    ratio = millis[-1] / millis[0] if timed else None
    records = [runs[size][0].made.seal(step)["counts"].get("out", 0) for size in (SIZES[0], SIZES[-1])]
    work = records[1] / records[0] if all(records) else SIZES[-1]
    spread = f"{max(every[SIZES[0]]) / min(every[SIZES[0]]):.1f}" if timed else "-"
    goal = ""
    if step in MAP:
        goal = "map" if ratio is None else "met" if ratio <= GOAL * work else "MISSED"
    line = "".join(f"{rate:>9.1f}" if rate else f"{'':>9}" for rate in rates)
    line += f"{f'{ratio:.1f}' if ratio else '-':>8}{work:>8.1f}{spread:>8}  {goal:<8}"
    return line, [f"{step} {ratio:.1f} for {work:.1f}"] if goal == "MISSED" else []


def memory_of(step, runs):
    """The peaks of a step's process and whether they are flat, as columns; and whether they are."""
    peaks = [statistics.median(run.memory[step] for run in runs[size]) for size in SIZES]
    is_flat = peaks[-1] <= max(FLAT * peaks[0], peaks[0] + FLAT_BYTES)
    line = "".join(f"{peak / 1e6:>9.0f}" for peak in peaks)
    return f"{line}{peaks[-1] / peaks[0]:>8.2f}  {'yes' if is_flat else 'NO'}", is_flat


if __name__ == "__main__":
    main()
