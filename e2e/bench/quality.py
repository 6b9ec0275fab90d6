#!/usr/bin/env python3
"""How well the demonstration's encoder finds an image's own words: image -> text R@1 and R@10 over textbook figures.

    quality.py REALSYN MODELS OUT

Every figure of the OpenStax sample becomes a document with the first sentences of its author's caption and alternative text. A
build without rules embeds them, up to `image-embed`. Then each image ranks all captions, or all alternative texts, by cosine; its
own one counts as found at its rank.

How many are found depends on how many there are to choose from, so the same is done once more among 150 at a time, of photographs alone:
the size for which plain ConSE's recall is known (R@1 6.7 %, R@10 22.7 % on 150 photographs of another collection). Photographs are told from
diagrams by their colours (`is_photograph`), put into the order of a keyed hash of their ids, and cut into galleries of 150; what is left
over is in none. The ranks of all galleries count together.

Beside it, on the same texts' vectors: chance, and plain ConSE (Norouzi et al. 2014: the ten likeliest labels' vectors,
weighted by probability). Plain ConSE is computed by the numpy networks of stage-images/models/tests/golden/reference.py from the
stored pictures; it shares no code with the pipeline. The pipeline's own bridge from labels to texts is another one: see
`ConseEncoder` in stage-images/models/src/demo/encoder.rs.
"""
import os

# One thread per process: two processes share the machine better.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hashlib
import io
import json
import multiprocessing
import pathlib
import re
import shutil
import statistics
import sys
import tarfile
import time
import unicodedata

import numpy
from PIL import Image

import ledger

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "stage-images/models/tests/golden"))
import reference  # noqa: E402

# Every sentence is taken: this measures the encoder, not the rules. Only case-insensitively equal texts are one.
ANY = {
    "sentences": {"minWords": 1, "maxWords": 1000, "minComplexity": 0, "requireAction": False, "languages": [], "personalData": "keep"},
    "sentenceScore": {"minEntropy": 0, "perplexity": {"min": 0, "max": 1e300}},
    "sentenceDedupNear": {"threshold": 1.0},
}
FILES = 8
KEPT_LABELS = 10
GALLERY = 150
# Diagrams and charts have large areas of one colour.
MOST_OF_ONE_COLOUR = 0.2


def folded(text):
    """Text as sentences are compared: NFC, white space folded."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def first_sentence(text):
    return re.split(r"(?<=[.!?])\s+(?=[\"'(A-Z0-9])", folded(text))[0]


def figures(root):
    """`(url, {"caption": text, "alt text": text})` of every figure that has words."""
    for book in ledger.BOOKS:
        for line in (root / f"{book}.captions.jsonl").read_text().splitlines():
            figure = json.loads(line)
            words = {"caption": figure["caption"], "alt text": figure["alt"]}
            yield ledger.PREFIX + figure["image"], {k: first_sentence(v) for k, v in words.items() if v and v.strip()}


def build(realsyn, models, out, documents):
    source = out / "source"
    source.mkdir(parents=True)
    size = -(-len(documents) // FILES)
    for i in range(FILES):
        parts = [(f"{url}.html", [("image", url), *(("text", t) for t in texts.values())]) for url, texts in documents[i * size : (i + 1) * size]]
        ledger.write_documents(source / f"part-{i}.parquet", parts)
    ledger.manifest(out / "build.yaml", source, ledger.openstax() / "images", models, ANY, stopAfter="image-embed")
    return ledger.run(realsyn, out / "build.yaml", out / "build", models, "--no-report")


def pixels(jpeg):
    """What the network is shown of a stored picture: its middle, `[3, 224, 224]` of 0 to 255."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    side = 0.875 * min(image.size)
    x, y = (image.width - side) / 2, (image.height - side) / 2
    image = image.resize((224, 224), Image.Resampling.BICUBIC, (x, y, x + side, y + side))
    return numpy.asarray(image, numpy.float64).transpose(2, 0, 1)


class Peer:
    """Plain ConSE in numpy."""

    def __init__(self, models):
        encode = reference.minilm(models / "all-minilm-l6-v2")
        folder = models / "efficientnet-lite0"
        names = json.loads((folder / "imagenet1k_clean_names.json").read_text())
        self.labels = numpy.stack([encode(name.split(" (")[0].strip()) for name in names])
        self.classify = reference.efficientnet(next(folder.glob("*.pth")))

    def embed(self, jpeg):
        _, probabilities = self.classify(pixels(jpeg))
        best = numpy.argsort(-probabilities)[:KEPT_LABELS]
        mean = probabilities[best] @ self.labels[best]
        return mean / numpy.linalg.norm(mean)


def start_peer(models):
    global PEER
    PEER = Peer(models)


def peer_embed(jpeg):
    return PEER.embed(jpeg)


def is_photograph(jpeg):
    """Whether no colour, in 16 levels a channel, covers more than a fifth of the picture."""
    small = numpy.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB").resize((64, 64))).reshape(-1, 3) // 16
    _, counts = numpy.unique(small, axis=0, return_counts=True)
    return counts.max() <= MOST_OF_ONE_COLOUR * len(small)


def ranks(images, texts, own):
    """The rank, from 1, of `own[i]` among all texts for image i; texts that tie with it come before it."""
    cosines = images.astype(numpy.float64) @ texts.astype(numpy.float64).T
    mine = cosines[numpy.arange(len(own)), own]
    return (cosines >= mine[:, None]).sum(1)


def ranks_among(asked, vectors, vector_of_text):
    """The ranks of `[(image's place, its text)]` among their own texts, and how many texts there are."""
    gallery = sorted({text for _, text in asked})
    place = {text: at for at, text in enumerate(gallery)}
    texts = numpy.stack([vector_of_text[text] for text in gallery])
    return ranks(vectors[[at for at, _ in asked]], texts, numpy.array([place[text] for _, text in asked])), len(gallery)


def compare(kind, galleries, encoders, vector_of_text):
    """Prints what each encoder finds in these galleries, all together, beside chance."""
    recall = {}
    for name, vectors in encoders.items():
        found = [ranks_among(asked, vectors, vector_of_text) for asked in galleries]
        rank, n = numpy.concatenate([rank for rank, _ in found]), statistics.mean(n for _, n in found)
        recall[name] = [(rank <= k).mean() for k in (1, 10)] + [numpy.median(rank)]
    recall["chance"] = [1 / n, 10 / n, (n + 1) / 2]
    for name, (first, ten, median) in recall.items():
        print(f"{kind:<10}{name:<14}{len(rank):>8}{n:>8.0f}{first:>9.2%}{ten:>9.2%}{median:>13.0f}")
    for name in ("plain ConSE", "chance"):
        one, ten = (recall["pipeline"][i] / recall[name][i] for i in (0, 1))
        print(f"{'':<10}pipeline / {name}: R@1 x{one:.2f}, R@10 x{ten:.2f}")


def main():
    realsyn, models, out = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
    shutil.rmtree(out, ignore_errors=True)
    documents = list(figures(ledger.openstax()))
    seconds, _ = build(realsyn, models, out, documents)
    made = ledger.Ledger(out / "build")

    vector_of_text = {}
    for row, vector in zip(made.rows("sentence-dedup-near/rows", "sentences"), made.vectors("sentence-embed/embed", "vectors")):
        vector_of_text[row["text"]] = vector
    images = [row["image"] for row in made.rows("image-embed/embed", "images")]
    shared = made.vectors("image-embed/embed", "shared")
    url_of = {row["image"]: row["occurrences"][0]["url"] for row in made.rows("image-decode/decode", "images")}
    pictures = {}
    for media in made.objects("image-decode/decode", "media"):
        with tarfile.open(fileobj=io.BytesIO(media)) as tar:
            pictures.update({m.name.removesuffix(".jpg"): tar.extractfile(m).read() for m in tar.getmembers()})
    words_of = dict(documents)

    started = time.monotonic()
    with multiprocessing.Pool(os.cpu_count(), start_peer, (models,)) as pool:
        plain = numpy.stack(pool.map(peer_embed, [pictures[i] for i in images], chunksize=8))
    peer_seconds = time.monotonic() - started

    print(f"{len(documents)} figures, {len(images)} kept by the shape and duplicate rules; build {seconds:.0f} s, numpy peer {peer_seconds:.0f} s")
    print(f"{'texts':<10}{'encoder':<14}{'images':>8}{'texts':>8}{'R@1':>9}{'R@10':>9}{'median rank':>13}")
    encoders = {"pipeline": shared, "plain ConSE": plain}
    asked = {}
    for kind in ("caption", "alt text"):
        texts = ((at, words_of[url_of[image]].get(kind)) for at, image in enumerate(images))
        asked[kind] = [(at, text) for at, text in texts if text in vector_of_text]
        compare(kind, [asked[kind]], encoders, vector_of_text)
    photographs = {at for at, image in enumerate(images) if is_photograph(pictures[image])}
    print(f"\n{len(photographs)} photographs, {GALLERY} at a time:")
    for kind, pairs in asked.items():
        keyed = sorted((p for p in pairs if p[0] in photographs), key=lambda p: hashlib.blake2b(images[p[0]].encode()).digest())
        whole = range(0, len(keyed) - GALLERY + 1, GALLERY)
        compare(kind, [keyed[at : at + GALLERY] for at in whole], encoders, vector_of_text)


if __name__ == "__main__":
    main()
