//! How much memory of a GPU a model needs, and which batch fits.
//!
//! On each of the GPUs that share a model lie, in bytes:
//!
//! ```text
//! needed(batch) = (context + weights + once + batch × item) ÷ 0.9
//! weights       = (parameters + tables) × size of a number        ÷ GPUs that share it
//! once          = values that a batch of any size needs × size    ÷ GPUs that share it
//! item          = (pass + cache) × size + outputs × 4             ÷ GPUs that share it
//! ```
//!
//! A tenth is left to the allocator's gaps. Inference keeps the values of one layer at a time; a *pass* is the widest: the
//! residual and its norm, and beside them either queries, keys, values and two copies of the attention scores, or two copies
//! of the hidden layer. These are upper bounds worked out from published architectures; none was measured on a GPU.

use realsyn_crds::{BuildSpec, Dtype, ModelRef, Stage};

/// A CUDA context with its libraries' handles and workspaces, with room to spare.
const CONTEXT: u64 = 1 << 30;
/// The smallest batch that is worth a GPU.
const LEAST_BATCH: u32 = 16;
/// The most sequences that a language model's server works on side by side. It is also the largest batch that vLLM records
/// a CUDA graph for: a larger one pays for the launch of every kernel.
pub const MOST_SEQUENCES: u32 = 512;

/// What a model holds, in numbers rather than bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// What people call it.
    pub name: &'static str,
    /// How its files are called, in lower-case letters and digits (`plus` for `+`).
    files: &'static [&'static str],
    /// Weights.
    pub parameters: u64,
    /// Constant tables beside the weights.
    pub tables: u64,
    /// Values held once, whatever the batch.
    pub once: u64,
    /// Values of one item in the widest layer.
    pub pass: u64,
    /// Values of one item that are kept from layer to layer and step to step: keys and values.
    pub cache: u64,
    /// 32-bit results of one item, and its input.
    pub outputs: u64,
    /// How many GPUs can share it; one more holds a copy of its own.
    pub shares: u32,
}

/// Values of a transformer's widest layer: `tokens × (2·width + max(3·width + 2·heads·keys, 2·hidden))`. `keys` is 0 where
/// the attention is fused and never writes its scores.
const fn pass(tokens: u64, width: u64, hidden: u64, heads: u64, keys: u64) -> u64 {
    let attention = 3 * width + 2 * heads * keys;
    let widest = if attention > 2 * hidden { attention } else { 2 * hidden };
    tokens * (2 * width + widest)
}

/// Keys and values of all layers.
const fn keys_and_values(layers: u64, heads: u64, head: u64, tokens: u64) -> u64 {
    2 * layers * heads * head * tokens
}

/// The image tower of EVA02-CLIP-E/14-plus: 64 layers of width 1792, hidden 15360, 16 heads, 257 tokens of 224 × 224 pixels
/// (Fang et al., EVA-02, arXiv 2303.11331; Sun et al., EVA-CLIP, arXiv 2303.15389, table 1: 4.4 billion parameters).
pub const EVA02_E_IMAGE: Model = Model {
    name: "EVA02-CLIP-E/14-plus, images",
    files: EVA02_E_FILES,
    parameters: 4_350_000_000,
    pass: pass(257, 1792, 15360, 16, 257),
    outputs: 3 * 224 * 224 + 1024,
    ..NOTHING
};

/// Its text tower: 32 layers of width 1280, hidden 5120, 20 heads, 77 tokens, vocabulary 49,408 (EVA-CLIP, table 1: 695
/// million parameters).
pub const EVA02_E_TEXT: Model = Model {
    name: "EVA02-CLIP-E/14-plus, texts",
    files: EVA02_E_FILES,
    parameters: 695_000_000,
    pass: pass(77, 1280, 5120, 20, 77),
    outputs: 77 + 1024,
    ..NOTHING
};

const EVA02_E_FILES: &[&str] = &["eva02e14plus", "eva02clipe14plus", "eva02enormouspatch14plus", "eva02clipepsz14plus"];

/// GPT-2 large: 36 layers of width 1280, hidden 5120, 20 heads, vocabulary 50,257, 774 million parameters (Radford et al.,
/// Language Models are Unsupervised Multitask Learners, table 2). A sentence of up to 81 words is taken as 128 tokens, each
/// with its logits and their softmax.
pub const GPT2_LARGE: Model = Model {
    name: "GPT-2 large",
    files: &["gpt2large"],
    parameters: 774_000_000,
    pass: pass(128, 1280, 5120, 20, 128),
    outputs: 2 * 128 * 50_257,
    ..NOTHING
};

/// OFA base: 6 + 6 layers of width 768, hidden 3072, 12 heads, vocabulary 59,457, 182 million parameters (Wang et al., OFA,
/// arXiv 2202.03052, table 1). 480 × 480 pixels are 900 tokens, the prompt 8 more. Five beams of 20 tokens each hold their
/// own keys and values, and those of the encoder's 908 tokens.
pub const OFA_BASE: Model = Model {
    name: "OFA base",
    files: &["ofabase"],
    parameters: 182_000_000,
    pass: pass(908, 768, 3072, 12, 908),
    cache: 5 * keys_and_values(6, 12, 64, 20 + 908),
    outputs: 3 * 480 * 480 + 5 * 2 * 59_457,
    ..NOTHING
};

/// RAM++ with Swin-L: 195 million parameters in the image tower at 384 × 384 pixels, 9,216 tokens of width 192 in windows of
/// 144 at its widest (Liu et al., Swin Transformer, arXiv 2103.14030), and 15 million in two layers of 768, hidden 3072, 4
/// heads, that look at 145 image tokens for each tag (Huang et al., RAM++, arXiv 2310.15200). 4,585 tags and the 4,000 that a
/// corpus adds have 51 descriptions of 512 numbers each, weighted anew for every image.
pub const RAM_PLUS_SWIN_L: Model = Model {
    name: "RAM++ Swin-L",
    files: &["ramplus"],
    parameters: 210_000_000,
    tables: RAM_TAGS * 51 * 512,
    pass: {
        let image = pass(9_216, 192, 768, 6, 144);
        let tags = RAM_TAGS * (51 + 512) + pass(RAM_TAGS, 768, 3072, 4, 145);
        if image > tags { image } else { tags }
    },
    outputs: 3 * 384 * 384 + RAM_TAGS,
    ..NOTHING
};

const RAM_TAGS: u64 = 4_585 + 4_000;

/// LLaMA-3-8B: 32 layers of width 4096, hidden 14336, 32 heads with 8 for keys and values, 128 wide, vocabulary 128,256, 8.03
/// billion parameters (Grattafiori et al., The Llama 3 Herd of Models, arXiv 2407.21783, table 3). An item is a sequence of
/// 512 tokens in a server's cache; prompts are read in runs of 8,192 tokens.
pub const LLAMA3_8B: Model = Model {
    name: "LLaMA-3-8B",
    files: &["llama38b", "llama318b"],
    parameters: 8_030_000_000,
    once: pass(8_192, 4096, 14336, 32, 0),
    cache: keys_and_values(32, 8, 128, 512),
    outputs: 2 * 128_256,
    shares: 8,
    ..NOTHING
};

/// Every model whose figures are known.
pub const KNOWN: &[Model] = &[EVA02_E_IMAGE, EVA02_E_TEXT, GPT2_LARGE, OFA_BASE, RAM_PLUS_SWIN_L, LLAMA3_8B];

const NOTHING: Model =
    Model { name: "", files: &[], parameters: 0, tables: 0, once: 0, pass: 0, cache: 0, outputs: 0, shares: 1 };

impl Model {
    fn is_called(&self, model: &ModelRef) -> bool {
        let uri = model.uri.as_deref().unwrap_or_default().to_ascii_lowercase().replace('+', "plus");
        let plain: String = uri.chars().filter(char::is_ascii_alphanumeric).collect();
        self.files.iter().any(|file| plain.contains(file))
    }
}

/// The model of a stage and its number format, where the model's URI tells which it is.
pub fn of_stage(spec: &BuildSpec, stage: Stage) -> Option<(&'static Model, Dtype)> {
    let models = &spec.models;
    let (role, model) = match stage {
        Stage::SentenceScore => (&models.perplexity, &GPT2_LARGE),
        Stage::SentenceEmbed | Stage::PairScore => (&models.clip, &EVA02_E_TEXT),
        Stage::ImageEmbed => (&models.clip, &EVA02_E_IMAGE),
        Stage::Caption => (&models.captioner, &OFA_BASE),
        Stage::Tag => (&models.tagger, &RAM_PLUS_SWIN_L),
        Stage::Generate => (&models.llm, &LLAMA3_8B),
        _ => return None,
    };
    role.as_ref().filter(|given| model.is_called(given)).map(|given| (model, given.dtype))
}

/// Bytes that each of `gpus` devices must have for a batch.
pub fn needed(model: &Model, dtype: Dtype, gpus: u32, batch: u32) -> u64 {
    let (fixed, item) = parts(model, dtype, gpus);
    (fixed + item * u64::from(batch)).saturating_mul(10).div_ceil(9)
}

/// Bytes that each of `gpus` devices must have for the model to be worth its place: a stage's `minMemory`, if none is given.
pub fn least(model: &Model, dtype: Dtype, gpus: u32) -> u64 {
    needed(model, dtype, gpus, LEAST_BATCH)
}

/// The largest batch that fits on each of `gpus` devices of so many bytes; `None` if not even one item does.
pub fn batch_for(model: &Model, dtype: Dtype, gpus: u32, device_bytes: u64) -> Option<u32> {
    let (fixed, item) = parts(model, dtype, gpus);
    let usable = u128::from(device_bytes) * 9 / 10;
    let batch = usable.checked_sub(u128::from(fixed))? / u128::from(item);
    u32::try_from(batch).ok().or(Some(u32::MAX)).filter(|batch| *batch > 0)
}

/// Bytes whatever the batch, and bytes of each item.
fn parts(model: &Model, dtype: Dtype, gpus: u32) -> (u64, u64) {
    let size = match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::Bf16 => 2,
    };
    let shared = |bytes: u64| bytes.div_ceil(u64::from(gpus.clamp(1, model.shares)));
    let fixed = shared((model.parameters + model.tables + model.once) * size);
    let item = shared((model.pass + model.cache) * size + model.outputs * 4);
    (CONTEXT + fixed, item)
}
