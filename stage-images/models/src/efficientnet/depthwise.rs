//! Depthwise convolution, one filter per channel, channels last. The tensor library would run one convolution per
//! channel.

/// Zero padding before and the output's size along one axis under TensorFlow's SAME rule: the output has ⌈n / stride⌉
/// points, and of an odd amount of padding the greater part lies behind.
pub(super) fn same(n: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let out = n.div_ceil(stride);
    let total = ((out - 1) * stride + kernel).saturating_sub(n);
    (total / 2, out)
}

/// A square depthwise kernel.
pub(super) struct Depthwise {
    /// `[kernel, kernel, channels]`.
    pub(super) weight: Vec<f32>,
    /// `[channels]`.
    pub(super) bias: Vec<f32>,
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

impl Depthwise {
    /// Convolves `x: [side, side, channels]` with SAME padding and clips to 0…6. Returns `[out, out, channels]` and
    /// `out`.
    pub(super) fn apply_relu6(&self, x: &[f32], side: usize) -> (Vec<f32>, usize) {
        let channels = self.bias.len();
        let (before, out) = same(side, self.kernel, self.stride);
        let mut y = Vec::with_capacity(out * out * channels);
        for row in 0..out {
            for column in 0..out {
                let start = y.len();
                y.extend_from_slice(&self.bias);
                let sums = &mut y[start..];
                for ky in 0..self.kernel {
                    let Some(input_row) = inside(row * self.stride + ky, before, side) else { continue };
                    for kx in 0..self.kernel {
                        let Some(input_column) = inside(column * self.stride + kx, before, side) else { continue };
                        let x = &x[(input_row * side + input_column) * channels..][..channels];
                        let weight = &self.weight[(ky * self.kernel + kx) * channels..][..channels];
                        sums.iter_mut().zip(x).zip(weight).for_each(|((sum, x), weight)| *sum += x * weight);
                    }
                }
                sums.iter_mut().for_each(|sum| *sum = sum.clamp(0.0, 6.0));
            }
        }
        (y, out)
    }
}

/// A padded coordinate in the unpadded input.
pub(super) fn inside(padded: usize, before: usize, side: usize) -> Option<usize> {
    padded.checked_sub(before).filter(|&at| at < side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_follows_the_rule() {
        // Even input, odd kernel, stride 2: one zero behind for 3, one before and two behind for 5.
        assert_eq!(same(224, 3, 2), (0, 112));
        assert_eq!(same(56, 5, 2), (1, 28));
        assert_eq!(same(7, 3, 2), (1, 4));
        assert_eq!(same(14, 5, 1), (2, 14));
    }

    #[test]
    fn each_channel_has_its_own_filter() {
        // 3 × 3 input, two channels: ones, and 0…8 in reading order; kernel 3, stride 2; filters: a sum, and the centre
        // alone.
        let x: Vec<f32> = (0..9).flat_map(|i| [1.0, i as f32]).collect();
        let weight = (0..9).flat_map(|i| [1.0, if i == 4 { 0.5 } else { 0.0 }]).collect();
        let kernel = Depthwise { weight, bias: vec![0.25, -0.5], kernel: 3, stride: 2 };
        // Centres at the four corners: 4 neighbours inside each; 0, 2, 6, 8 halved less 0.5, clipped at 0.
        assert_eq!(kernel.apply_relu6(&x, 3), (vec![4.25, 0.0, 4.25, 0.5, 4.25, 2.5, 4.25, 3.5], 2));
    }
}
