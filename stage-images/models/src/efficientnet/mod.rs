//! EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation, with ReLU6): image features and ImageNet
//! labels.

mod depthwise;
mod preprocess;

use std::path::Path;

use candle_core::{Device, Result as TensorResult, Tensor};

use crate::numeric::{add, normalize, softmax};
use crate::torch::{self, Pinned};
use crate::weights::{Weights, stack_transposed};
use crate::workers::Workers;
use crate::{ModelError, RgbView};
use depthwise::{Depthwise, inside, same};
pub use preprocess::View;
use preprocess::{SIDE, pixels};

const NAME: &str = "efficientnet-lite0";
const EPSILON: f32 = 1e-3;
const STEM: usize = 32;
/// Dimensions of the pooled features.
pub(crate) const FEATURES: usize = 1280;
/// Number of ImageNet labels.
pub(crate) const LABELS: usize = 1000;
/// The published weights, in PyTorch's old format.
pub(crate) const PTH: Pinned<'_> = Pinned {
    name: "efficientnet-lite0-57934424.pth",
    sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    converted: "0c677c314df2a69239bef9609a095a957201d5092462c5ace5d8bf3e0201bbd7",
};
/// (repeats, kernel, stride of the first, expansion, output channels).
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];

/// EfficientNet-Lite0 on the CPU in f32.
pub struct EfficientNet {
    stem: Pointwise,
    blocks: Vec<Block>,
    head: Pointwise,
    classifier: Pointwise,
    workers: Workers,
}

/// What the network says about one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// The pooled features, 1,280 dimensions, scaled to unit Euclidean length.
    pub features: Vec<f32>,
    /// Probability of each of the 1,000 ImageNet labels.
    pub probabilities: Vec<f32>,
}

/// A 1 × 1 convolution or a fully connected layer: `[rows, input] · [input, output] + bias`.
struct Pointwise {
    weight: Tensor,
    bias: Tensor,
}

struct Block {
    expand: Option<Pointwise>,
    depthwise: Depthwise,
    project: Pointwise,
    residual: bool,
}

/// Scale and shift of a batch normalisation: y = x · scale + shift.
fn batch_norm(weights: &mut Weights, name: &str, channels: usize) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
    let mut take = |part: &str| weights.take(&format!("{name}.{part}"), &[channels]);
    let (gain, bias, mean, variance) = (take("weight")?, take("bias")?, take("running_mean")?, take("running_var")?);
    let scale: Vec<f32> =
        gain.iter().zip(&variance).map(|(gain, variance)| gain / (variance + EPSILON).sqrt()).collect();
    let shift = bias.iter().zip(&mean).zip(&scale).map(|((bias, mean), scale)| bias - mean * scale).collect();
    Ok((scale, shift))
}

impl Pointwise {
    /// A convolution over `taps` whose batch normalisation is folded in. `shape` is the stored one, output channels
    /// first.
    fn load(weights: &mut Weights, convolution: &str, norm: &str, shape: [usize; 4]) -> Result<Self, ModelError> {
        let [output, input, height, width] = shape;
        let stored = weights.take(&format!("{convolution}.weight"), &shape)?;
        let (scale, shift) = batch_norm(weights, norm, output)?;
        // From [output, input, height, width] to [output, height, width, input], scaled.
        let taps = height * width;
        let mut weight = Vec::with_capacity(stored.len());
        for (filter, scale) in stored.chunks_exact(input * taps).zip(&scale) {
            weight
                .extend((0..taps).flat_map(|tap| (0..input).map(move |channel| filter[channel * taps + tap] * scale)));
        }
        Self::new(weight, shift, taps * input)
    }

    fn new(weight: Vec<f32>, bias: Vec<f32>, input: usize) -> Result<Self, ModelError> {
        let bias = Tensor::new(bias, &Device::Cpu).map_err(ModelError::compute(NAME))?;
        Ok(Self { weight: stack_transposed(&[weight], input)?, bias })
    }

    /// `x: [rows, input]`, flat.
    fn apply(&self, x: Vec<f32>) -> TensorResult<Vec<f32>> {
        let input = self.weight.dim(0)?;
        let x = Tensor::from_vec(x, ((), input), &Device::Cpu)?;
        add(&x.matmul(&self.weight)?, &self.bias)?.flatten_all()?.to_vec1()
    }
}

fn relu6(mut x: Vec<f32>) -> Vec<f32> {
    x.iter_mut().for_each(|x| *x = x.clamp(0.0, 6.0));
    x
}

impl Block {
    fn load(
        weights: &mut Weights,
        index: usize,
        input: usize,
        stage: (usize, usize, usize, usize),
    ) -> Result<Self, ModelError> {
        let (kernel, stride, expansion, output) = stage;
        let name = |part: &str| format!("_blocks.{index}.{part}");
        let inner = input * expansion;
        let mut expand = None;
        if expansion > 1 {
            expand = Some(Pointwise::load(weights, &name("_expand_conv"), &name("_bn0"), [inner, input, 1, 1])?);
        }
        let stored = weights.take(&name("_depthwise_conv.weight"), &[inner, 1, kernel, kernel])?;
        let (scale, bias) = batch_norm(weights, &name("_bn1"), inner)?;
        let taps = kernel * kernel;
        let weight = (0..taps).flat_map(|tap| (0..inner).map(move |channel| (tap, channel)));
        let weight = weight.map(|(tap, channel)| stored[channel * taps + tap] * scale[channel]).collect();
        Ok(Self {
            expand,
            depthwise: Depthwise { weight, bias, kernel, stride },
            project: Pointwise::load(weights, &name("_project_conv"), &name("_bn2"), [output, inner, 1, 1])?,
            residual: stride == 1 && input == output,
        })
    }

    fn apply(&self, x: Vec<f32>, side: usize) -> TensorResult<(Vec<f32>, usize)> {
        let before = self.residual.then(|| x.clone());
        let expanded = match &self.expand {
            Some(expand) => relu6(expand.apply(x)?),
            None => x,
        };
        let (filtered, side) = self.depthwise.apply_relu6(&expanded, side);
        let mut y = self.project.apply(filtered)?;
        if let Some(before) = before {
            y.iter_mut().zip(before).for_each(|(y, x)| *y += x);
        }
        Ok((y, side))
    }
}

/// `[side, side, 3]` to the 3 × 3 neighbourhoods at stride 2, `[out, out, 27]`.
fn neighbourhoods(x: &[f32], side: usize) -> (Vec<f32>, usize) {
    let (before, out) = same(side, 3, 2);
    let mut rows = Vec::with_capacity(out * out * 27);
    for point in 0..out * out {
        for tap in 0..9 {
            let (row, column) = (point / out * 2 + tap / 3, point % out * 2 + tap % 3);
            match (inside(row, before, side), inside(column, before, side)) {
                (Some(row), Some(column)) => rows.extend_from_slice(&x[(row * side + column) * 3..][..3]),
                _ => rows.extend_from_slice(&[0.0; 3]),
            }
        }
    }
    (rows, out)
}

impl EfficientNet {
    /// Loads `model.safetensors` from a model folder, or else the published `efficientnet-lite0-57934424.pth`, whose
    /// hash is known here and which is read without being executed, once: its tensors are kept in `scratch`, a folder
    /// that may be shared and lost. Names and shapes of all tensors are checked here.
    pub fn load(folder: &Path, scratch: &Path) -> Result<Self, ModelError> {
        let safe = folder.join("model.safetensors");
        let mut weights =
            if safe.exists() { Weights::safetensors(&safe)? } else { torch::load(folder, &PTH, scratch)? };
        let weights = &mut weights;
        let stem = Pointwise::load(weights, "_conv_stem", "_bn0", [STEM, 3, 3, 3])?;
        let mut blocks = Vec::new();
        let mut channels = STEM;
        for (repeats, kernel, stride, expansion, output) in STAGES {
            for repeat in 0..repeats {
                let stride = if repeat == 0 { stride } else { 1 };
                blocks.push(Block::load(weights, blocks.len(), channels, (kernel, stride, expansion, output))?);
                channels = output;
            }
        }
        let head = Pointwise::load(weights, "_conv_head", "_bn1", [FEATURES, channels, 1, 1])?;
        let classifier = weights.take("_fc.weight", &[LABELS, FEATURES])?;
        let classifier = Pointwise::new(classifier, weights.take("_fc.bias", &[LABELS])?, FEATURES)?;
        let workers = Workers::start().map_err(ModelError::io(folder))?;
        Ok(Self { stem, blocks, head, classifier, workers })
    }

    /// Features and label probabilities of the central square of each image, in input order. Each image goes through
    /// the network alone, so its result depends on nothing else.
    pub fn classify(&self, images: &[RgbView<'_>]) -> Result<Vec<Classified>, ModelError> {
        self.classify_view(images, View::Centre)
    }

    /// As [`classify`](Self::classify), of another view.
    pub fn classify_view(&self, images: &[RgbView<'_>], view: View) -> Result<Vec<Classified>, ModelError> {
        let one = |index: usize| self.forward(&pixels(&images[index], view)).map_err(ModelError::compute(NAME));
        self.workers.map(images.len(), one)
    }

    /// `pixels: [224, 224, 3]`, scaled.
    pub(crate) fn forward(&self, pixels: &[f32]) -> TensorResult<Classified> {
        let (rows, mut side) = neighbourhoods(pixels, SIDE);
        let mut x = relu6(self.stem.apply(rows)?);
        for block in &self.blocks {
            (x, side) = block.apply(x, side)?;
        }
        let x = relu6(self.head.apply(x)?);
        let mut features = vec![0f32; FEATURES];
        for row in x.chunks_exact(FEATURES) {
            features.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        let points = (side * side) as f32;
        features.iter_mut().for_each(|sum| *sum /= points);
        let mut probabilities = self.classifier.apply(features.clone())?;
        softmax(&mut probabilities, 1.0);
        normalize(&mut features);
        Ok(Classified { features, probabilities })
    }
}
