//! Element-wise functions written so that the compiler turns their loops into vector code, fused where that saves a
//! pass.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Tensor};

/// e^x for x ≤ 88, within 2 units in the last place; 0 below −87. Reduction to |r| ≤ ln 2 / 2 and a polynomial (Cephes'
/// coefficients).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 · 2^23 rounds to the nearest integer without a rounding instruction.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.max(-87.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts: the first has few bits, so n times it is exact.
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { y * power }
}

/// x · Φ(x), Φ the standard normal distribution function, with the error function of Abramowitz and Stegun 7.1.26
/// (absolute error of erf ≤ 1.5e-7).
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152_1;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * exp(-z * z);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// ln Σ e^x over a row, shifted by its maximum. Lanes are summed in f32 over 1,024 elements at a time and in f64
/// beyond.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut sum = 0f64;
    for block in row.chunks(1024) {
        let mut lanes = [0f32; 16];
        let chunks = block.chunks_exact(16);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += exp(x - max);
            }
        }
        sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        sum += rest.iter().map(|&x| f64::from(exp(x - max))).sum::<f64>();
    }
    f64::from(max) + sum.ln()
}

/// Scales a vector to unit Euclidean length, the norm summed in f64. A zero vector stays.
pub(crate) fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| Error::Msg("expected a contiguous tensor".into()))?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// `x + y` of the same shape, or with one row `y` added to each row of `x`.
///
/// The library's own sum splits its work over a process-wide pool behind one lock, where batches on several threads
/// would wait for each other.
pub(crate) fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(y, &Add)
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, y) = (contiguous(x, x_layout)?, contiguous(y, y_layout)?);
        if y.is_empty() || !x.len().is_multiple_of(y.len()) {
            return Err(Error::Msg(format!("cannot add {:?} to {:?}", y_layout.shape(), x_layout.shape())));
        }
        let mut out = Vec::with_capacity(x.len());
        for x in x.chunks_exact(y.len()) {
            out.extend(x.iter().zip(y).map(|(x, y)| x + y));
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// [`gelu`] of every element.
pub(crate) struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(storage, layout)?;
        Ok((CpuStorage::F32(x.iter().map(|&x| gelu(x)).collect()), layout.shape().clone()))
    }
}

/// `[n, 2·f]`, gate then up, to `[n, f]`: gate · σ(gate) · up.
pub(crate) struct SwiGlu;

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, width) = layout.shape().dims2()?;
        let f = width / 2;
        let mut out = vec![0f32; n * f];
        for (row, out) in contiguous(storage, layout)?.chunks_exact(width).zip(out.chunks_exact_mut(f)) {
            let (gate, up) = row.split_at(f);
            for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
                // e^-x is needed up to x = -87, where the product is 0 to single precision anyway.
                *out = gate / (1.0 + exp((-gate).min(87.0))) * up;
            }
        }
        Ok((CpuStorage::F32(out), (n, f).into()))
    }
}

/// Softmax of `scale · x` along the last dimension over the first `visible(row)` elements of each row, rows counted
/// over all other dimensions; the elements beyond are masked, their probability is 0. `visible` is at least 1.
pub(crate) struct MaskedSoftmax<F> {
    pub(crate) scale: f32,
    pub(crate) visible: F,
}

impl<F: Fn(usize) -> usize + Send + Sync> CustomOp1 for MaskedSoftmax<F> {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(storage, layout)?;
        let mut out = vec![0f32; x.len()];
        let width = layout.dims().last().copied().unwrap_or(1);
        for (row, (x, out)) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            let visible = (self.visible)(row);
            out[..visible].copy_from_slice(&x[..visible]);
            softmax(&mut out[..visible], self.scale);
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// Softmax of `scale · x` in place; `scale` > 0.
pub(crate) fn softmax(x: &mut [f32], scale: f32) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = exp((*x - max) * scale));
    let inverse = 1.0 / x.iter().sum::<f32>();
    x.iter_mut().for_each(|x| *x *= inverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> impl Iterator<Item = f32> {
        (-9000..=9000).map(|i| i as f32 * 0.01)
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for x in samples().filter(|&x| (-87.0..=88.0).contains(&x)) {
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 2.0 * f64::from(f32::EPSILON) * exact, "{x}");
        }
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn gelu_agrees_with_the_normal_distribution() {
        // Φ at 0, ±1, ±2 from tables.
        for (x, phi) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_1),
            (-1.0, 0.158_655_253_9),
            (2.0, 0.977_249_868_1),
            (-2.0, 0.022_750_131_9),
        ] {
            // erf's 1.5e-7 halved, times |x|, plus rounding.
            assert!((f64::from(gelu(x as f32)) - x * phi).abs() < 4e-7, "{x}");
        }
        assert_eq!(gelu(-30.0), 0.0);
        assert_eq!(gelu(30.0), 30.0);
    }

    #[test]
    fn log_sum_exp_agrees_with_f64() {
        let row: Vec<f32> = (0..5003).map(|i| ((i * 7919) % 1000) as f32 * 0.02 - 10.0).collect();
        let exact = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        // Relative error of the sum: 2 ulp from exp, 64 additions of half an ulp each.
        assert!((log_sum_exp(&row) - exact).abs() < 70.0 * f64::from(f32::EPSILON));
        assert_eq!(log_sum_exp(&[1000.0]), 1000.0);
    }

    #[test]
    fn normalize_gives_unit_length_and_keeps_zero() {
        let mut v = [3.0, 4.0];
        normalize(&mut v);
        assert_eq!(v, [0.6, 0.8]);
        let mut zero = [0.0; 3];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 3]);
    }
}
