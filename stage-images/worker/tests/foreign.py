"""Opens a release and the embeddings behind it with the field's own tools, and compares what they read."""
import glob
import hashlib
import io
import json
import sys

import datasets
import numpy
import pyarrow.parquet
import webdataset
from PIL import Image

release, root, pairs = sys.argv[1], sys.argv[2], int(sys.argv[3])

rows = {}
for path in sorted(glob.glob(f"{release}/*.parquet")):
    for row in pyarrow.parquet.read_table(path).to_pylist():
        assert row["key"] not in rows, row["key"]
        rows[row["key"]] = row
assert len(rows) == pairs, (len(rows), pairs)

tars = sorted(glob.glob(f"{release}/*.tar"))
seen = 0
for sample in webdataset.WebDataset(tars, shardshuffle=False):
    row = rows[sample["__key__"]]
    meta = json.loads(sample["json"])
    assert sample["txt"].decode() == row["text1"]
    assert hashlib.sha256(sample["jpg"]).hexdigest() == row["sha256"] == meta["sha256"]
    assert Image.open(io.BytesIO(sample["jpg"])).size == (row["width"], row["height"])
    for field in ("syn_text", "image_id", "cluster", "original_width", "text1_id"):
        assert meta[field] == row[field], field
    for n in (2, 3):
        assert meta.get(f"text{n}") == row[f"text{n}"]
    seen += 1
assert seen == pairs, (seen, pairs)

hub = datasets.load_dataset("parquet", data_files=f"{release}/*.parquet", split="train")
assert len(hub) == pairs
assert {r["syn_text"] for r in hub} == {r["syn_text"] for r in rows.values()}

vectors = 0
for path in glob.glob(f"{root}/*-embed/embed/**/*.npy", recursive=True):
    array = numpy.load(path)
    assert array.dtype == numpy.float16 and array.ndim == 2
    norms = numpy.linalg.norm(array.astype(numpy.float64), axis=1)
    assert len(norms) == 0 or abs(norms - 1).max() < 2e-3, path
    vectors += len(array)
assert vectors > 0

with open(f"{release}/manifest.json") as file:
    manifest = json.load(file)
assert manifest["pairs"] == pairs
print(f"{pairs} pairs agree, {vectors} vectors are of unit length")
