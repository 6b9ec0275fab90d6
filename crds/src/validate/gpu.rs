//! Which GPUs a stage asks for, judged: what no cluster can give.

use super::Judge;
use crate::{Gpu, Quantity, Sharing};

/// What contradicts itself, or is no product and no profile.
pub(super) fn validate(judge: &mut Judge, path: &str, gpu: &Gpu) {
    for (i, product) in gpu.products.iter().enumerate() {
        let at = format!("{path}.products[{i}]");
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '/');
        let right = product.len() <= 63 && product.chars().all(known) && product.chars().any(|c| c.is_ascii_digit());
        judge.require(right, &at, product.as_str(), "is no product; write `A100`, `A100-80GB` or `A100-SXM4-80GB`");
        let again = gpu.products[..i].contains(product);
        judge.require(!again, &at, product.as_str(), "stands in the list already; leave it out");
    }
    let shared = gpu.sharing == Sharing::Shared;
    let message = "slices of GPUs may be slices of the same GPU; write `count: 1`, or leave `sharing` out";
    judge.require(!shared || gpu.count == 1, &format!("{path}.count"), gpu.count, message);
    let Some(profile) = &gpu.mig else { return };
    let at = format!("{path}.mig");
    let Some(gigabytes) = gigabytes(profile) else {
        judge.wrong(
            &at,
            profile.as_str(),
            "is no MIG profile; write it as `nvidia-smi mig -lgip` does, such as `3g.40gb`",
        );
        return;
    };
    let message = "a process sees one MIG instance and no more; write `count: 1`";
    judge.require(gpu.count == 1, &format!("{path}.count"), gpu.count, message);
    let message = "a MIG instance is a part of a GPU, and given to one pod; leave one of the two out";
    judge.require(!shared, &format!("{path}.sharing"), "shared", message);
    let message = "MIG devices have no NVLink; leave one of the two out";
    judge.require(!gpu.nvlink, &format!("{path}.nvlink"), true, message);
    // As placement does, with a twentieth of slack, and with the most that a GB can mean.
    let most = f64::from(gigabytes) * 1024f64.powi(3);
    let asked = gpu.min_memory.as_ref().and_then(Quantity::value).unwrap_or(0.0);
    let message = format!("is more than a MIG instance `{profile}` has; lower it, or name a larger profile");
    judge.require(
        asked * 0.95 <= most,
        &format!("{path}.minMemory"),
        gpu.min_memory.as_ref().map_or("", Quantity::as_str),
        &message,
    );
}

/// What the language model's server cannot do: it takes nine tenths of its GPU's memory, whoever else is there.
pub(super) fn validate_server(judge: &mut Judge, path: &str, gpu: &Gpu) {
    let message =
        "the server beside `generate` takes nine tenths of a GPU's memory, which leaves none to others; leave it out";
    judge.require(gpu.sharing != Sharing::Shared, &format!("{path}.sharing"), "shared", message);
}

/// What has no effect.
pub(super) fn warn(judge: &mut Judge, path: &str, gpu: &Gpu) {
    let message = "joins the GPUs of one pod, and `count` is 1; raise that, or leave it out";
    judge.require(!(gpu.nvlink && gpu.count == 1), &format!("{path}.nvlink"), true, message);
}

/// The memory in a profile's name: `3g.40gb`, `1g.10gb+me`, `1c.3g.40gb`.
fn gigabytes(profile: &str) -> Option<u32> {
    let (name, extra) = profile.split_once('+').unwrap_or((profile, "me"));
    let parts: Vec<&str> = name.split('.').collect();
    let slices =
        |part: &str, unit: char| part.strip_suffix(unit).is_some_and(|n| matches!(n.as_bytes(), [b'1'..=b'7']));
    let memory = match parts.as_slice() {
        [g, memory] if slices(g, 'g') => memory,
        [c, g, memory] if slices(c, 'c') && slices(g, 'g') => memory,
        [g, memory, "me"] if slices(g, 'g') => memory,
        _ => return None,
    };
    let right = !extra.is_empty() && extra.chars().all(|c| c.is_ascii_lowercase() || c == '.');
    memory.strip_suffix("gb")?.parse().ok().filter(|gb| right && (1..=1000).contains(gb))
}
