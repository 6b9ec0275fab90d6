//! Compiles the kernels' own source, and what stands in for a GPU and its driver, with the machine's C++ compiler.

use std::path::Path;
use std::process::Command;

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kernels = here.join("../../stage-images/vectors/src/cuda/screen.cu");
    let out = std::env::var("OUT_DIR").unwrap();
    println!("cargo:rerun-if-changed={}", here.join("simt").display());
    println!("cargo:rerun-if-changed={}", kernels.display());
    let built = Command::new("g++")
        // No contraction: what is rounded where is the shim's business.
        .args([
            "-std=c++17",
            "-O2",
            "-ffp-contract=off",
            "-fPIC",
            "-shared",
            // So that it is all that an image needs.
            "-static-libstdc++",
            "-static-libgcc",
            "-Wall",
            "-Wno-unknown-pragmas",
            "-pthread",
        ])
        .args(["-Wl,-soname,libcuda.so.1", "-o"])
        .arg(Path::new(&out).join("libcuda.so.1"))
        .arg("-I")
        .arg(kernels.parent().unwrap())
        .args(["simt.cpp", "kernels.cpp", "driver.cpp"].map(|name| here.join("simt").join(name)))
        .status();
    match built {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("g++ failed: {status}"),
        Err(error) => {
            panic!("g++ is needed for the tests of the CUDA kernels, and cannot be run ({error}): install g++")
        }
    }
}
