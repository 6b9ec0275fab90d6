//! A build whose vectors are compared on GPUs: every step has the bytes that the processor gives it.
//!
//! The GPUs are stand-ins that run the kernels' own source on the processor (`e2e/cuda`). Needs the models and the OpenStax
//! sample, as `whole_build` does; skipped loudly where one is missing.

#[path = "support/openstax.rs"]
mod openstax;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use openstax::Fixture;
use realsyn_crds::Stage;
use realsyn_cuda::Script;
use realsyn_plan::graph::ids;
use realsyn_plan::{Digest, StepId};

/// A build up to retrieval, with this engine wherever vectors are compared.
fn manifest(f: &Fixture, engine: &str) -> PathBuf {
    let compared = Stage::ALL.iter().filter(|stage| stage.compares_vectors()).map(|stage| {
        let more = match stage {
            // One cell of all rows, so that there is enough in it for a GPU to do.
            Stage::SentenceCells | Stage::ImageCells => ", cells: 1",
            Stage::SentenceCluster => ", rowsPerCluster: 4",
            Stage::ImageCluster => ", rowsPerCluster: 2",
            _ => "",
        };
        format!("    {}: {{engine: {engine}{more}}}\n", stage.field())
    });
    let all = "    sentences: {minComplexity: 0, requireAction: false}\n    \
               sentenceScore: {minEntropy: 0, perplexity: {min: 0, max: 1.0e+300}}\n";
    f.manifest("retrieve", &(compared.collect::<String>() + all))
}

fn build(f: &Fixture, engine: &str, script: Option<&Script>) -> Output {
    let mut command = f.command(&manifest(f, engine));
    if let Some(script) = script {
        command.envs(script.variables());
        command.envs([("REALSYN_GPUS", "1"), ("REALSYN_GPU_PRODUCTS", "A100-SXM4-80GB")]);
    }
    command.output().unwrap()
}

/// Each step's root: a hash over everything that it published.
fn roots(f: &Fixture, engine: &str) -> BTreeMap<StepId, Digest> {
    f.sealed(manifest(f, engine)).seals.iter().map(|(step, seal)| (*step, seal.root)).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn gpus_give_every_step_the_bytes_of_the_processor() {
    let Some(f) = Fixture::new(16, 200) else { return };
    let done = build(&f, "cpu", None);
    assert!(done.status.success(), "{}", said(&done));
    let expected = roots(&f, "cpu");
    assert!(expected.contains_key(&ids::CANDIDATES), "{expected:?}");

    // Without a GPU nothing runs on the processor instead.
    let none = build(&f, "cuda", None);
    assert_eq!(none.status.code(), Some(64), "{}", said(&none));
    assert!(said(&none).contains("spec.stages.sentenceCells.engine: no GPU can be used"), "{}", said(&none));
    // In a pod that holds one it is the GPU's fault, not the settings'.
    let gone = build(&f, "cuda", Some(&Script { devices: 0, ..Script::default() }));
    assert_eq!(gone.status.code(), Some(66), "{}", said(&gone));

    let old = build(&f, "cuda", Some(&Script { capability: 7, ..Script::default() }));
    assert_eq!(old.status.code(), Some(64), "{}", said(&old));
    assert!(said(&old).contains("name newer ones in spec.stages.sentenceCells.gpu.products"), "{}", said(&old));

    // A memory error in mid-step: the device is named, and another one goes on.
    let script = Script { failure: Some(("cuLaunchKernel", 3, 214)), ..Script::default() };
    let lost = build(&f, "cuda", Some(&script));
    assert_eq!(lost.status.code(), Some(66), "{}", said(&lost));
    let why = "GPU-abababab-abab-abab-abab-ababababab00: CUDA_ERROR_ECC_UNCORRECTABLE";
    assert!(said(&lost).contains(why), "{}", said(&lost));

    // A kernel's own fault ends the worker as well, and names no device that others would take for sick.
    let script = Script { failure: Some(("cuLaunchKernel", 3, 700)), ..Script::default() };
    let broken = build(&f, "cuda", Some(&script));
    assert_eq!(broken.status.code(), Some(66), "{}", said(&broken));
    let last = said(&broken).lines().last().unwrap_or_default().to_owned();
    assert!(said(&broken).contains("CUDA_ERROR_ILLEGAL_ADDRESS: a kernel failed") && !last.contains("GPU-"), "{last}");

    let done = build(&f, "cuda", Some(&Script { devices: 2, ..Script::default() }));
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(roots(&f, "cuda"), expected);
    // What lies before them is not made again for another engine of theirs, nor what has the same bytes after them.
    assert!(!said(&done).contains("sentence-score"), "{}", said(&done));
}
