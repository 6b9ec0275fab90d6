"""What the benchmarks share: a build as a child process, and its records, tables and vectors read with pyarrow and numpy.

A build's folder is read as docs/data-contract.md describes it. The folders here are fresh: one seal per step, no voids.
"""
import glob
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy
import pyarrow
import pyarrow.parquet

PREFIX = "https://openstax.example/"
BOOKS = ["astronomy", "introduction-sociology", "us-history"]


def openstax():
    """The folder of the OpenStax sample."""
    root = pathlib.Path(os.environ.get("REALSYN_OPENSTAX", pathlib.Path(__file__).parents[2] / "../shared/data/openstax"))
    if not (root / "astronomy.parquet").exists():
        sys.exit(f"{root} does not hold the OpenStax sample: set REALSYN_OPENSTAX to its folder")
    return root.resolve()


def folder_sha256(folder):
    """The hash by which a build names a model's folder."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    lines = sorted(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_documents(path, documents):
    """Writes `(url, [("image" | "text", value)])` as an OBELICS file."""
    columns = {"images": [], "texts": [], "metadata": [], "general_metadata": []}
    for url, parts in documents:
        columns["images"].append([value if kind == "image" else None for kind, value in parts])
        columns["texts"].append([value if kind == "text" else None for kind, value in parts])
        columns["metadata"].append(json.dumps([{} if kind == "image" else None for kind, _ in parts]))
        columns["general_metadata"].append(json.dumps({"url": url}))
    strings = pyarrow.list_(pyarrow.string())
    types = {"images": strings, "texts": strings, "metadata": pyarrow.string(), "general_metadata": pyarrow.string()}
    pyarrow.parquet.write_table(pyarrow.table({k: pyarrow.array(v, types[k]) for k, v in columns.items()}), path)


def manifest(path, source, images, models, stages, **spec):
    """Writes a build of OBELICS files whose images lie in a folder."""
    clip, language = (folder_sha256(models / name) for name in ("demo-clip", "smollm2-135m-instruct"))
    build = {
        "apiVersion": "realsyn.dev/v1alpha1",
        "kind": "RealSynBuild",
        "metadata": {"name": "bench"},
        "spec": {
            "source": {"format": "obelics", "uri": str(source), "imageMirrors": [{"prefix": PREFIX, "uri": str(images)}]},
            "storage": {"uri": "unused"},
            "models": {"clip": {"sha256": clip}, "perplexity": {"sha256": language}, "llm": {"sha256": language}},
            "stages": stages,
            **spec,
        },
    }
    # JSON is YAML.
    path.write_text(json.dumps(build, indent=1))


# Starts a command, and says on its last line how long it took and the most memory that it held, in KiB. It is a process of its own
# because a child's peak begins with that of the process which started it, and one with numpy in it is large.
MEASURE = """
import os, sys, time
started = time.monotonic()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(time.monotonic() - started, usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def measured(*command):
    """Runs a command. Returns what it printed, its wall-clock seconds, and the most memory that it held, in bytes."""
    command = [str(c) for c in command]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", MEASURE, *command], capture_output=True, text=True)
    said, _, figures = done.stderr.rstrip().rpartition("\n")
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed: {said}")
    seconds, kib = figures.split()
    return done.stdout, float(seconds), int(kib) * 1024


def run(realsyn, build, out, models, *arguments):
    """Runs a build. Returns its wall-clock seconds, and the most memory that it held, in bytes."""
    _, seconds, memory = measured(realsyn, "build", "-f", build, "--out", out, "--models", models, *arguments)
    return seconds, memory


def run_by_step(realsyn, build, out, models, *arguments):
    """Runs a build as pods do, each step in a process of its own. Returns its wall-clock seconds, and by step the most memory that
    its process held, in bytes."""
    at = ("-f", build, "--out", out, "--models", models)
    started, memory, known = time.monotonic(), {}, []
    while True:
        report = json.loads(measured(realsyn, "advance", *at, *(["--known", ",".join(known)] if known else []))[0])
        known += [sealed["step"] for sealed in report.get("sealed", [])]
        if "complete" in report:
            return time.monotonic() - started, memory
        if "stalled" in report or not (report.get("ready") or report.get("more")):
            sys.exit(f"the build does not go on: {report}")
        for ready in report.get("ready", []):
            _, _, memory[ready["step"]] = measured(realsyn, "stage", ready["step"], *at, *arguments)


class Ledger:
    """The records of one build."""

    def __init__(self, root):
        self.root = pathlib.Path(root)

    def seal(self, step):
        """The seal of `stage/step`; `None` while it has not run."""
        found = glob.glob(f"{self.root}/{step}/*.seal.json")
        if len(found) > 1:
            sys.exit(f"{self.root}/{step} holds {len(found)} seals: benchmarks read fresh folders only")
        return json.loads(pathlib.Path(found[0]).read_text()) if found else None

    def steps(self):
        """Every step that has a seal."""
        found = glob.glob(f"{self.root}/*/*/*.seal.json")
        return {pathlib.Path(f).parent.relative_to(self.root).as_posix() for f in found}

    def finished(self, step):
        """When the step was sealed, for sorting."""
        return pathlib.Path(glob.glob(f"{self.root}/{step}/*.seal.json")[0]).stat().st_mtime_ns

    def data(self, step):
        """What each shard of a step published, in the order of shards."""
        seal = self.seal(step)
        for shard in seal["shards"]:
            name = f"{step}/{seal['recipe'][:32]}/{shard['key']}.g{shard['generation']}.commit.json"
            yield json.loads((self.root / name).read_text())["outcome"]["data"]

    def counts(self, step):
        """The counts of each shard of a step."""
        return [data["counts"] for data in self.data(step)]

    def objects(self, step, role):
        """The bytes of a role's objects, in the order of shards."""
        for data in self.data(step):
            for o in data["objects"]:
                if o["role"] == role:
                    yield (self.root / o["name"]).read_bytes()

    def rows(self, step, role):
        """The rows of a role's tables, shard after shard."""
        for data in self.objects(step, role):
            yield from pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()

    def vectors(self, step, role):
        """A role's vectors as one `[n, d]` array of f32, in the order of shards."""
        parts = [numpy.load(io.BytesIO(data)) for data in self.objects(step, role)]
        return numpy.concatenate([p for p in parts if len(p)]).astype(numpy.float32)
