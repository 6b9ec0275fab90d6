#!/usr/bin/env python3
"""Fetches the demo corpus: a part of GIMP's user manual (GFDL), from the distribution's package.

    fetch-corpus.py DEST [PAGES]

No root is needed: the package is downloaded and unpacked, not installed. DEST/pages gets PAGES HTML pages (default
155), chosen by a keyed hash of their names; DEST/images gets the pictures that they show.
"""
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PACKAGE = "gimp-help-en"
KEY = b"realsyn demo corpus 1"


def unpack(folder: pathlib.Path) -> pathlib.Path:
    """Downloads the package into `folder` and returns the manual's folder."""
    try:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip()
        sys.exit(f"fetch-corpus: `apt-get download {PACKAGE}` failed: {detail}\n"
                 "Run `apt-get update` once as root, or put HTML pages of your own in place and run `realsyn build` yourself.")
    package = next(folder.glob(f"{PACKAGE}_*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(folder / "tree")], check=True)
    manual = sorted((folder / "tree").glob("usr/share/gimp/*/help/en"))
    if not manual:
        sys.exit(f"fetch-corpus: {package.name} holds no English manual; the package may have changed")
    return manual[0]


def main() -> None:
    dest = pathlib.Path(sys.argv[1])
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 155
    done = dest / f".complete-{wanted}"
    if done.exists():
        print(f"corpus: {dest} is there")
        return
    with tempfile.TemporaryDirectory() as scratch:
        manual = unpack(pathlib.Path(scratch))
        order = lambda page: hashlib.blake2b(page.name.encode(), key=KEY).digest()
        pages = sorted(sorted(manual.glob("*.html"), key=order)[:wanted])
        shutil.rmtree(dest, ignore_errors=True)
        (dest / "pages").mkdir(parents=True)
        images = set()
        for page in pages:
            text = page.read_text(encoding="utf-8", errors="replace")
            images.update(re.findall(r'<img[^>]*\ssrc="([^"]+)"', text))
            shutil.copy(page, dest / "pages" / page.name)
        copied = 0
        for name in sorted(images):
            source = (manual / name).resolve()
            if source.is_file() and manual.resolve() in source.parents:
                target = dest / "images" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
                copied += 1
        done.touch()
    print(f"corpus: {len(pages)} pages with {copied} pictures in {dest}")


main()
