#!/usr/bin/env python3
"""Reads a build that it knows nothing of but docs/data-contract.md and docs/tables.md, and makes its digests anew.

    contract.py DOCS ROOT

Written from these two pages alone, with numpy and pyarrow and nothing of this project. Of every reference below ROOT it recomputes
recipes and stage digests, the shards of every step and their keys, every commit's content, the totals of partitions, and the roots of
seals; it compares every object with its hash and every table with the columns that the page of tables gives it; it chooses a release's
pairs from the pool by itself, and recomputes the digest of what was published.
"""
import io
import json
import pathlib
import re
import struct
import sys
import tarfile

import numpy
import pyarrow.parquet

# BLAKE3, as its specification has it. Words are Python integers, or arrays of them where many chunks are hashed side by side.
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, CONTEXT, MATERIAL = 1, 2, 4, 8, 32, 64
MASK = 0xFFFFFFFF


def compress(cv, block, counter, length, flags):
    v = [*cv, *IV[:4], counter & MASK, counter >> 32, length, flags]

    def mix(a, b, c, d, x, y):
        for word, r1, r2 in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & MASK
            v[d] = rotate(v[d] ^ v[a], r1)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = rotate(v[b] ^ v[c], r2)

    for turn in range(7):
        for at in range(4):
            mix(at, at + 4, at + 8, at + 12, block[2 * at], block[2 * at + 1])
        for at in range(4):
            mix(at, (at + 1) % 4 + 4, (at + 2) % 4 + 8, (at + 3) % 4 + 12, block[8 + 2 * at], block[9 + 2 * at])
        if turn < 6:
            block = [block[p] for p in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def rotate(x, n):
    return (x >> n | x << (32 - n)) & MASK


def words(block):
    return struct.unpack("<16I", block.ljust(64, b"\0"))


def chunk_cv(key, data, counter, flags, last):
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    cv = key
    for at, block in enumerate(blocks):
        ends = (CHUNK_END | last) if at == len(blocks) - 1 else 0
        cv = compress(cv, words(block), counter, len(block), flags | (CHUNK_START if at == 0 else 0) | ends)
    return cv


def hashed(data, key=IV, flags=0):
    """The 32 bytes of BLAKE3."""
    if len(data) <= 1024:
        return struct.pack("<8I", *chunk_cv(key, data, 0, flags, ROOT))
    whole = len(data) // 1024 - (len(data) % 1024 == 0)
    # [block, word, chunk]: all chunks but the last go through their 16 blocks together.
    chunks = numpy.frombuffer(data[: whole * 1024], "<u4").reshape(whole, 16, 16).transpose(1, 2, 0).astype(numpy.uint64)
    cv, counter = [numpy.uint64(k) for k in key], numpy.arange(whole, dtype=numpy.uint64)
    for at in range(16):
        cv = compress(cv, list(chunks[at]), counter, 64, flags | (CHUNK_START if at == 0 else CHUNK_END if at == 15 else 0))
    nodes = numpy.stack(cv, 1).astype("<u4").tolist()
    nodes.append(chunk_cv(key, data[whole * 1024 :], whole, flags, 0))
    while len(nodes) > 2:
        pairs = [[*map(int, a), *map(int, b)] for a, b in zip(nodes[::2], nodes[1::2])]
        nodes = [compress(key, pair, 0, 64, flags | PARENT) for pair in pairs] + nodes[2 * len(pairs) :]
    return struct.pack("<8I", *compress(key, [*map(int, nodes[0]), *map(int, nodes[1])], 0, 64, flags | PARENT | ROOT))


CONTEXTS = {}


def derived(context, data):
    """BLAKE3 in key-derivation mode."""
    if context not in CONTEXTS:
        CONTEXTS[context] = struct.unpack("<8I", hashed(context.encode(), flags=CONTEXT))
    return hashed(data, CONTEXTS[context], MATERIAL)


def digest(domain, *parts):
    """A digest of the page: numbers are eight little-endian bytes, digests their 32 bytes, texts UTF-8."""
    data = b""
    for part in parts:
        part = struct.pack("<Q", part) if isinstance(part, int) else part.encode() if isinstance(part, str) else part
        data += struct.pack("<Q", len(part)) + part
    return derived(f"realsyn.dev/v1 {domain}", data)


def order(key, name):
    """H(key, id)."""
    return derived(f"realsyn.dev/v1 order {key}", bytes.fromhex(name))[:8], name


def sections(page):
    """The rows of the tables of a Markdown page, by the heading above."""
    found, heading = {}, ""
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| ") or line.startswith("|---"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip().strip("|").split(" | ")])
    return {heading: rows[2:] for heading, rows in found.items()}


class Pages:
    """What the two pages say in tables."""

    def __init__(self, docs):
        self.contract = (docs / "data-contract.md").read_text()
        tables = sections((docs / "tables.md").read_text())
        ticked = lambda text: re.findall(r"`([^`]*)`", text)  # noqa: E731
        self.stages = {ticked(n)[0]: (int(r), ticked(reads) if reads else []) for n, r, reads in map(pad(3), tables["Stages"])}
        self.steps = [(ticked(s)[0], cut, reads.split(", "), shuffles) for s, cut, reads, shuffles in map(pad(4), tables["Steps"])]
        self.objects = {(ticked(step)[0], ticked(role)[0]): file for step, role, file, _ in tables["Objects"]}
        self.tables = {name: rows for name, rows in tables.items() if rows and len(rows[0]) in (3, 4) and name[0].isupper()}
        listed = lambda heading: set(ticked("".join(cell for row in sections(self.contract)[heading] for cell in row[1:])))  # noqa: E731
        self.reasons, self.counts = listed("Reasons"), listed("Counts") | {"in", "out"}

    def columns(self, table):
        """`[(name, type, nullable)]` of a table."""
        return [(name.strip("`"), kind, null == "yes") for name, kind, null, _ in map(pad(4), self.tables[table])]


def pad(n):
    return lambda row: (row + [""] * n)[:n]


class Number(str):
    """A number of JSON as it was written."""


def compact(value):
    """JSON without blanks."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


class Build:
    """A build's folder."""

    def __init__(self, root, pages):
        self.root, self.pages, self.seals, self.done = root, pages, {}, {"commits": 0, "objects": 0, "rows": 0}
        self.names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())

    def bytes_of(self, name):
        return (self.root / name).read_bytes()

    def current(self, stem, record, void):
        """The name of the record that counts: that of the first generation without a void."""
        void_at = {int(n[len(stem) : -len(void)]) for n in self.names if n.startswith(stem) and n.endswith(void)}
        generation = next(g for g in range(len(void_at) + 1) if g not in void_at)
        return f"{stem}{generation}{record}"

    def inventory(self):
        """The only inventory's shards."""
        names = {n.split(".g")[0] for n in self.names if n.startswith("inventory/")}
        assert len(names) == 1, names
        return json.loads(self.bytes_of(self.current(f"{names.pop()}.g", ".json", ".void")))["shards"]

    def references(self):
        """Of every owner the reference with the highest number."""
        newest = {}
        for name in self.names:
            if found := re.fullmatch(r"_refs/([0-9a-f]{32})/(\d+)\.json", name):
                newest[found[1]] = max(newest.get(found[1], (0, "")), (int(found[2]), name))
        return [json.loads(self.bytes_of(name), parse_float=Number) for _, name in newest.values()]


def content_of_shard(shard):
    parts = [p for f in shard["files"] for p in (f["name"], f["version"], f["bytes"])]
    part = shard.get("part", {"number": 0, "of": 1})
    return digest("source", *parts, *([] if part["of"] == 1 else [part["number"], part["of"]]))


def bytes_of_shard(shard):
    total, part = sum(f["bytes"] for f in shard["files"]), shard.get("part", {"number": 0, "of": 1})
    return (part["number"] + 1) * total // part["of"] - part["number"] * total // part["of"]


def recipe_of(stage, revision, fields):
    return digest("recipe", stage, revision, *(p for path in sorted(fields) for p in (path, compact(fields[path]))))


def runs(sizes, least):
    """Cuts sizes into runs of at least so many bytes, from the front."""
    found, start, total = [], 0, 0
    for at, size in enumerate(sizes):
        total += size
        if total >= least:
            found.append((start, at + 1))
            start, total = at + 1, 0
    return found + ([(start, len(sizes))] if start < len(sizes) else [])


class Reader:
    """Follows one reference through its steps."""

    def __init__(self, build, reference):
        self.build, self.pages, self.reference, self.seals = build, build.pages, reference, {}
        self.source = build.inventory()
        root = digest("inventory", *map(content_of_shard, self.source))
        assert root.hex() == reference["inventory_root"]
        total = sum(map(bytes_of_shard, self.source))
        self.ranges = min(max(1 << max(-(-total // (4 << 20)) - 1, 0).bit_length(), 4), 1 << 16)
        self.digests = {}
        for stage, (revision, reads) in self.pages.stages.items():
            if stage in reference["recipes"]["stages"]:
                recipe, named = reference["recipes"]["stages"][stage]
                made = recipe_of(stage, revision, recipe["fields"])
                assert made.hex() == recipe["digest"], stage
                self.digests[stage] = (made, digest("stage", made, root, *(self.digests[r][1] for r in reads)))
                assert self.digests[stage][1].hex() == named, stage

    def read(self):
        """Checks every step; returns how many."""
        for step, cut, reads, shuffles in self.pages.steps:
            if step.split("/")[0] in self.digests:
                self.seals[step] = self.step(step, cut, reads, shuffles)
        return len(self.seals)

    def pieces(self, cut):
        """Into how many a cut named on the page of tables cuts."""
        named = re.findall(r"`([^`]*)`", cut)
        if cut.startswith("the count"):
            return self.seals[named[1]]["counts"][named[0]]
        if cut.startswith("as "):
            return len(self.seals[named[0]]["shards"])
        return {"inventory shards": len(self.source), "ranges": self.ranges, "buckets": min(self.ranges, 256)}[cut]

    def shards(self, cut):
        """The runs of pieces that the shards of a step are."""
        named = re.findall(r"`([^`]*)`", cut)
        if cut == "one":
            return [(0, 1)]
        if cut.startswith("groups of"):
            return runs([s["bytes"] for s in self.seals[named[0]]["shards"]], 256 << 20)
        if cut.startswith("runs of"):
            step, role = named[0].split(":")
            return runs([p["bytes"] for p in self.seals[step]["partitions"][role]], 64 << 20)
        return [(n, n + 1) for n in range(self.pieces(cut))]

    def key(self, number, run, cut, reads, shuffles):
        start, end = run
        parts = [number, *(self.pieces(c) for _, c in cuts(shuffles) if c != "inventory shards")]
        parts += [start] if cut.startswith("groups") else []
        for read in reads:
            named = re.findall(r"`([^`]*)`", read)
            step, _, role = (named or [""])[0].partition(":")
            if read == "source":
                parts.append(content_of_shard(self.source[number]))
            elif read.startswith("shard"):
                parts.append(bytes.fromhex(self.seals[step]["shards"][number]["content"]))
            elif read.startswith("group"):
                parts += [end - start, *(bytes.fromhex(s["content"]) for s in self.seals[step]["shards"][start:end])]
            elif read.startswith("partition"):
                parts += [bytes.fromhex(p["hash"]) for p in self.seals[step]["partitions"][role][start:end]]
            else:
                parts.append(bytes.fromhex(self.seals[step]["root"]))
        return digest("key", *parts).hex()

    def step(self, step, cut, reads, shuffles):
        recipe, stage_digest = self.digests[step.split("/")[0]]
        name = self.build.current(f"{step}/{stage_digest.hex()}.g", ".seal.json", ".seal.void")
        if name in self.build.seals:
            return self.build.seals[name]
        seal = json.loads(self.build.bytes_of(name))
        shards, root, counts, rejected = self.shards(cut), [], {}, {}
        totals = {role: [[digest("partition"), 0, 0] for _ in range(self.pieces(c))] for role, c in cuts(shuffles)}
        assert [s["number"] for s in seal["shards"]] == list(range(len(shards))), step
        for shard, run in zip(seal["shards"], shards):
            assert shard["key"] == self.key(shard["number"], run, cut, reads, shuffles), (step, shard["number"])
            at = f"{step}/{recipe.hex()[:32]}/{shard['key']}.g"
            record = self.build.bytes_of(self.build.current(at, ".commit.json", ".void"))
            assert hashed(record).hex() == shard["commit"], (step, shard["number"])
            content = self.commit(step, json.loads(record), counts, rejected, totals)
            assert content.hex() == shard["content"], (step, shard["number"])
            root += [shard["number"], content]
        assert digest("root", *root).hex() == seal["root"], step
        assert counts == seal["counts"] and rejected == seal["rejected"], step
        assert {r: [[p["hash"], p["bytes"], p["rows"]] for p in ps] for r, ps in seal["partitions"].items()} == {
            role: [[h.hex(), b, r] for h, b, r in ps] for role, ps in totals.items()
        }, step
        from_steps = {re.findall(r"`([^`:]*)", read)[0] for read in reads if read != "source"}
        assert seal["made_from"] == {s: self.seals[s]["root"] for s in from_steps}, step
        self.build.seals[name] = seal
        return seal

    def commit(self, step, commit, counts, rejected, totals):
        """The content hash of a commit, whose sums are added up."""
        self.build.done["commits"] += 1
        if "rejected" in commit["outcome"]:
            reason = commit["outcome"]["rejected"]["reason"]
            rejected[reason] = rejected.get(reason, 0) + 1
            return digest("rejected", reason)
        data, parts = commit["outcome"]["data"], []
        roles = [o["role"] for o in data["objects"]]
        wanted = sorted(role for s, role in self.pages.objects if s == step)
        assert roles == sorted(roles) and (roles == wanted or step == "release/pack"), (step, roles, wanted)
        for o in data["objects"]:
            raw = self.build.bytes_of(o["name"])
            assert hashed(raw).hex() == o["hash"] and len(raw) == o["bytes"], o["name"]
            assert self.rows(step, o, raw, totals.get(o["role"])) == o["rows"], o["name"]
            parts += [o["role"], bytes.fromhex(o["hash"]), o["bytes"], o["rows"]]
            self.build.done["objects"] += 1
        for name in sorted(data["counts"]):
            n = data["counts"][name]
            counts[name] = counts.get(name, 0) + n
            parts += [name, n]
            assert name in self.pages.counts or name.startswith("dropped.") and name[8:] in self.pages.reasons, (step, name)
        return digest("content", *parts)

    def rows(self, step, o, raw, totals):
        """How many rows an object has, each looked at as the page says."""
        file = self.pages.objects[step, o["role"]]
        table = re.search(r"\[(\w+)\]", file)
        if file.startswith("shuffled"):
            return sum(self.table(table[1], part) for part in partitions(o, raw, totals))
        if file == "`.npy`":
            array = numpy.load(io.BytesIO(raw))
            assert array.dtype == numpy.float16 and array.ndim == 2
            return len(array)
        if file == "`.tar`":
            members = tarfile.open(fileobj=io.BytesIO(raw)).getmembers()
            assert all((m.mtime, m.uid, m.gid, m.mode) == (0, 0, 0, 0o644) for m in members)
            return len(members) // (3 if step == "release/pack" else 1)
        if table and file.startswith("["):
            return self.table(table[1], raw)
        return o["rows"]

    def table(self, name, raw):
        file = pyarrow.parquet.ParquetFile(io.BytesIO(raw))
        found = [(f.name, kind_of(f.type, self.pages), f.nullable) for f in file.schema_arrow]
        assert found == self.pages.columns(name), (name, found, self.pages.columns(name))
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        assert all(n == 16384 for n in groups[:-1])
        rows = file.read().to_pylist()
        self.build.done["rows"] += len(rows)
        if name == "Dropped":
            assert {row["reason"] for row in rows} <= self.pages.reasons, rows
        if name in ("Sentence", "KeptSentence", "Image"):
            ids = [row.get("sentence") or row["image"] for row in rows]
            assert ids == sorted(ids, key=lambda i: order("rows", i)), name
        if name in ("Sentence", "SentenceAt"):
            assert all(row["sentence"] == hashed(row["text"].encode())[:16].hex() for row in rows)
        return len(rows)

    def table_of(self, step, role):
        """The rows of a step's table, or of all its partitions, shard after shard."""
        for shard in self.seals[step]["shards"]:
            at = f"{step}/{self.seals[step]['recipe'][:32]}/{shard['key']}.g{shard['generation']}.commit.json"
            for o in json.loads(self.build.bytes_of(at))["outcome"]["data"]["objects"]:
                if o["role"] == role:
                    raw = self.build.bytes_of(o["name"])
                    for part in partitions(o, raw, None) if "partitions" in o else [raw]:
                        yield from pyarrow.parquet.read_table(io.BytesIO(part)).to_pylist()


def cuts(shuffles):
    return [(role, cut.replace("'", "")) for role, cut in re.findall(r"`([\w-]+)` to ((?:the count )?[^,]+)", shuffles)]


def partitions(o, raw, totals):
    """The files of a shuffled object; adds them to the totals of the step."""
    index = raw[len(raw) - 64 * o["partitions"] :]
    for number in range(o["partitions"]):
        entry = index[64 * number : 64 * number + 64]
        assert hashed(struct.pack("<I", number) + entry[:56])[:8] == entry[56:]
        offset, size, rows = struct.unpack("<3Q", entry[:24])
        if rows == 0:
            continue
        part = raw[offset : offset + size]
        assert hashed(part) == entry[24:56]
        if totals is not None:
            total = totals[number]
            totals[number] = [hashed(total[0] + hashed(part)), total[1] + size, total[2] + rows]
        yield part


def kind_of(kind, pages):
    """A type as the page of tables writes it."""
    if pyarrow.types.is_list(kind):
        assert kind.value_field.name == "element"
        return f"list of {kind_of(kind.value_type, pages)}"
    if pyarrow.types.is_struct(kind):
        fields = [(f.name, kind_of(f.type, pages), f.nullable) for f in kind]
        name = next(name for name in pages.tables if len(pages.tables[name][0]) >= 3 and pages.columns(name) == fields)
        return f"[{name}](#{name.lower()})"
    return str(kind)


def selection(reader, fields):
    """The images that a release takes, in its order, from its settings and the pairs alone."""
    pairs = list(reader.table_of("release/pairs", "pairs"))
    cosines = sorted(p["cosine"] for p in pairs)
    share = lambda name: float(fields.get(f"release.similarity.{name}", 0))  # noqa: E731
    n = len(cosines)
    low = cosines[min(int(share("dropBelowQuantile") * n), n - 1)]
    high = cosines[max(n - min(int(share("dropAboveQuantile") * n), n - 1) - 1, min(int(share("dropBelowQuantile") * n), n - 1))]
    assert [(b["low"], b["high"]) for b in reader.table_of("release/select", "band")] == [(low, high)]
    clusters = {}
    for p in pairs:
        if low <= p["cosine"] <= high:
            clusters.setdefault(p["cluster"], []).append(p["image"])
    most, target = fields.get("release.balance.maxPerCluster"), fields.get("release.balance.targetSamples")
    ranked = []
    for members in clusters.values():
        for rank, image in enumerate(sorted(members, key=lambda i: order("balance", i))[:most]):
            ranked.append((rank, order("level", image)))
    return sorted((image for _, (_, image) in sorted(ranked)[:target]), key=lambda i: order("pack", i))


def release(reader):
    """Checks a release: which pairs it has, where, and its digest."""
    fields = reader.reference["recipes"]["stages"]["release"][0]["fields"]
    chosen, per_shard = selection(reader, fields), fields["release.samplesPerShard"]
    manifests = [json.loads(reader.build.bytes_of(n)) for n in reader.build.names if re.fullmatch(r"releases/[^/]+/manifest.json", n)]
    manifest, folder = manifests[0], next(n.rsplit("/", 1)[0] for n in reader.build.names if n.endswith("/manifest.json"))
    shards = []
    for first in range(0, len(chosen), per_shard):
        number, contents = first // per_shard, []
        with tarfile.open(reader.build.root / folder / f"{number:05}.tar") as tar:
            for place, image in enumerate(chosen[first : first + per_shard]):
                key = f"{number:05}{place:04}"
                sample = tar.extractfile(f"{key}.json").read()
                assert json.loads(sample)["image_id"] == image, (key, image)
                contents.append(sample.replace(f'"key":"{key}"'.encode(), b'"key":""'))
        shards.append(digest("release shard", *contents).hex())
    assert digest("release", *shards, len(chosen)).hex() == manifest["digest"]
    assert manifest["pairs"] == len(chosen) > 0
    for file in manifest["files"]:
        assert hashed(reader.build.bytes_of(f"{folder}/{file['name']}")).hex() == file["blake3"]
    return len(chosen)


def worked_example(pages):
    """Computes every line `name` = `expression` | `value` of the page's example; returns how many there are."""
    known = {"digest": digest, "blake3": hashed, "H": lambda key, name: order(key, name.hex())[0]}
    lines = re.findall(r"^\| `(\w+)` = `(.+)` \| `([0-9a-f]+)` \|$", pages.contract, re.M)
    for name, expression, value in lines:
        known[name] = eval(expression, {"__builtins__": {}}, known)
        assert known[name].hex() == value, (name, known[name].hex())
    return len(lines)


def main():
    docs, root = map(pathlib.Path, sys.argv[1:3])
    pages = Pages(docs)
    assert hashed(b"").hex().startswith("af1349b9f5f9a1a6a0404dea36dcc949")
    examples = worked_example(pages)
    assert examples > 4
    build = Build(root, pages)
    chosen, steps = 0, 0
    for reference in build.references():
        reader = Reader(build, reference)
        steps = max(steps, reader.read())
        if reference["kind"] == "RealSynRelease":
            chosen += release(reader)
    assert steps == len(pages.steps), (steps, len(pages.steps))
    done = build.done
    print(f"{examples} lines of the example; all {steps} steps: {len(build.seals)} seals, {done['commits']} commits, {done['objects']} objects")
    print(f"with {done['rows']} rows of tables are as the pages say; a release of {chosen} pairs is the one that its settings choose")


if __name__ == "__main__":
    main()
