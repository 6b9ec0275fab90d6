"""Opens a release and what it was made from with the field's own tools, and compares what they read."""
import glob
import hashlib
import io
import json
import sys
import tarfile

import datasets
import numpy
import pyarrow.parquet
import webdataset
from PIL import Image

release, root, pairs = sys.argv[1], sys.argv[2], int(sys.argv[3])


def sealed(step):
    """The objects of a step's shards by number, each as {role: path}, and the sum of their counts."""
    shards, counts = {}, {}
    for path in glob.glob(f"{root}/{step}/**/*.commit.json", recursive=True):
        with open(path) as file:
            commit = json.load(file)
        data = commit["outcome"]["data"]
        assert commit["number"] not in shards, f"{path}: two builds below one root"
        shards[commit["number"]] = {o["role"]: f"{root}/{o['name']}" for o in data["objects"]}
        for name, n in data["counts"].items():
            counts[name] = counts.get(name, 0) + n
    assert shards, step
    return [shards[number] for number in sorted(shards)], counts


def table(path):
    return pyarrow.parquet.read_table(path).to_pylist()


rows = {}
for path in sorted(glob.glob(f"{release}/*.parquet")):
    for row in table(path):
        assert row["key"] not in rows, row["key"]
        rows[row["key"]] = row
assert len(rows) == pairs, (len(rows), pairs)

tars = sorted(glob.glob(f"{release}/*.tar"))
shown = {}
for sample in webdataset.WebDataset(tars, shardshuffle=False):
    row = rows[sample["__key__"]]
    meta = json.loads(sample["json"])
    assert sample["txt"].decode() == row["text1"]
    assert hashlib.sha256(sample["jpg"]).hexdigest() == row["sha256"] == meta["sha256"]
    picture = Image.open(io.BytesIO(sample["jpg"]))
    assert picture.size == (row["width"], row["height"])
    shown[row["image_id"]] = picture.convert("RGB")
    for field in ("syn_text", "image_id", "cluster", "original_width", "text1_id"):
        assert meta[field] == row[field], field
    for n in (2, 3):
        assert meta.get(f"text{n}") == row[f"text{n}"]
assert len(shown) == pairs, (len(shown), pairs)

hub = datasets.load_dataset("parquet", data_files=f"{release}/*.parquet", split="train")
assert len(hub) == pairs
assert {r["syn_text"] for r in hub} == {r["syn_text"] for r in rows.values()}

# The texts are those of the build's sentences, and the cosines are those of its vectors.
texts, sentence_vectors = {}, {}
for shard in sealed("sentence-dedup-exact/unique")[0]:
    texts.update({row["sentence"]: row["text"] for row in table(shard["sentences"])})
for shard in sealed("sentence-cluster/cluster")[0]:
    vectors = numpy.load(shard["vectors"]).astype(numpy.float64)
    sentence_vectors.update(zip((row["sentence"] for row in table(shard["sentences"])), vectors))
image_vectors = {}
for shard in sealed("image-cluster/home")[0]:
    vectors = numpy.load(shard["vectors"]).astype(numpy.float64)
    image_vectors.update(zip((row["image"] for row in table(shard["images"])), vectors))
scores = {}
for shard in sealed("pair-score/score")[0]:
    scores.update({row["image"]: row["cosine"] for row in table(shard["scores"])})
compared = 0
for row in rows.values():
    for n in (1, 2, 3):
        sentence = row[f"text{n}_id"]
        if sentence is None:
            continue
        assert row[f"text{n}"] == texts[sentence], sentence
        cosine = image_vectors[row["image_id"]] @ sentence_vectors[sentence]
        # Products of halves are exact in single precision: what is lost is the rounding of a sum of 2^9 terms below one.
        assert abs(cosine - row[f"text{n}_cosine"]) < 2**9 * 2**-24, (sentence, cosine, row[f"text{n}_cosine"])
        compared += 1
    assert row["syn_cosine"] == scores[row["image_id"]]
assert compared >= pairs

# A released picture is the stored one made smaller by the same kernel (Catmull-Rom) and written as JPEG. This library's own
# JPEG of that quality tells how much a picture loses by it: twice that, and half a step of rounding, is the most they may differ.
stored = {}
for shard in sealed("image-decode/decode")[0]:
    with tarfile.open(shard["media"]) as tar:
        for member in tar:
            stored[member.name.removesuffix(".jpg")] = tar.extractfile(member).read()


def difference(a, b):
    return numpy.abs(numpy.asarray(a, numpy.int16) - numpy.asarray(b, numpy.int16)).mean()


for image, picture in shown.items():
    smaller = Image.open(io.BytesIO(stored[image])).convert("RGB").resize(picture.size, Image.Resampling.BICUBIC)
    again = io.BytesIO()
    smaller.save(again, "JPEG", quality=90)
    allowed = 2 * difference(smaller, Image.open(again)) + 0.5
    assert difference(smaller, picture) < allowed, (image, difference(smaller, picture), allowed)

vectors = 0
for path in glob.glob(f"{root}/*-embed/embed/**/*.npy", recursive=True):
    array = numpy.load(path)
    assert array.dtype == numpy.float16 and array.ndim == 2
    norms = numpy.linalg.norm(array.astype(numpy.float64), axis=1)
    assert len(norms) == 0 or abs(norms - 1).max() < 2e-3, path
    vectors += len(array)
assert vectors > 0

# What the commits counted is what the files hold.
assert sealed("release/pack")[1]["out"] == sealed("release/select")[1]["out"] == pairs
assert sealed("image-decode/decode")[1]["out"] >= len(stored)
assert sealed("sentence-dedup-exact/unique")[1]["out"] == len(texts)
assert sealed("sentence-cluster/cluster")[1]["out"] == len(sentence_vectors)
assert sealed("image-cluster/home")[1]["out"] == len(image_vectors)

with open(f"{release}/manifest.json") as file:
    manifest = json.load(file)
assert manifest["pairs"] == pairs
print(f"{pairs} pairs agree, {vectors} vectors are of unit length, {compared} cosines are theirs")
