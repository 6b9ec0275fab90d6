#!/usr/bin/env python3
"""compile-kernels.py [--check]: the CUDA kernels as PTX, by NVRTC, checked in because then a worker needs no compiler.

    pip install -r scripts/requirements.txt
    python3 scripts/compile-kernels.py

Needs neither a GPU nor a driver. What NVRTC makes for compute_80 the driver of any later device translates for itself. A driver refuses PTX
of a later version than its own; the kernels need no more than version 7.0 has, which ptxas checks, so that is what they say. Then ptxas
assembles them for A100 (sm_80), A10 and L4 (sm_86, sm_89) and H100 (sm_90), and must not spill a register. With --check nothing is
written: it fails where the file is not what NVRTC makes of the source.
"""

import ctypes
import pathlib
import re
import subprocess
import sys
import tempfile

import nvidia.cuda_nvcc
import nvidia.cuda_nvrtc

CUDA = pathlib.Path(__file__).parent.parent / "stage-images/vectors/src/cuda"
OPTIONS = [b"--gpu-architecture=compute_80", b"--std=c++17", b"-default-device"]
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90"]


def compiled(source: bytes) -> bytes:
    folder = pathlib.Path(nvidia.cuda_nvrtc.__path__[0]) / "lib"
    nvrtc = ctypes.CDLL(str(folder / "libnvrtc.so.11.2"))
    program = ctypes.c_void_p()

    def call(name, *arguments):
        if code := getattr(nvrtc, name)(*arguments):
            size = ctypes.c_size_t()
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            sys.exit(f"{name}: error {code}\n{log.value.decode()}")

    call("nvrtcCreateProgram", ctypes.byref(program), source, b"screen.cu", 0, None, None)
    call("nvrtcCompileProgram", program, len(OPTIONS), (ctypes.c_char_p * len(OPTIONS))(*OPTIONS))
    size = ctypes.c_size_t()
    call("nvrtcGetPTXSize", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    call("nvrtcGetPTX", program, text)
    return re.sub(rb"^\.version .*$", b".version 7.0", text.value, flags=re.M)


def assembled(ptx: pathlib.Path, architecture: str):
    tool = pathlib.Path(nvidia.cuda_nvcc.__path__[0]) / "bin/ptxas"
    with tempfile.NamedTemporaryFile() as out:
        command = [tool, f"-arch={architecture}", "-v", ptx, "-o", out.name]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    for name, part in re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry|\Z)", said, re.S):
        registers, shared = re.search(r"Used (\d+) registers", part)[1], re.search(r"(\d+) bytes smem", part)
        print(f"{architecture} {name}: {registers} registers, {shared[1] if shared else 0} bytes of shared memory")
        spilled = [int(n) for n in re.findall(r"(\d+) bytes spill", part)]
        if any(spilled):
            sys.exit(f"{architecture} {name}: spills registers to memory: {part.strip()}")


def main():
    ptx = compiled((CUDA / "screen.cu").read_bytes())
    if sys.argv[1:] == ["--check"]:
        if (CUDA / "screen.ptx").read_bytes() != ptx:
            sys.exit("screen.ptx is not what NVRTC makes of screen.cu: run scripts/compile-kernels.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        (CUDA / "screen.ptx").write_bytes(ptx)
    for architecture in ARCHITECTURES:
        assembled(CUDA / "screen.ptx", architecture)


if __name__ == "__main__":
    main()
