//! Tests on the real models. They look in the folder that `REALSYN_MODELS` names, else in `.cache/models` of the
//! workspace, and skip loudly when it is not there. The golden values come from `tests/golden/reference.py`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use crate::efficientnet::PTH;
use crate::*;

/// Hashes as `scripts/fetch-models.py` prints them.
const MINILM: (&str, &str) = ("all-minilm-l6-v2", "0a47636628b2690e27d4c56857ea8d2bcc6e6f866918f578324786c2deda0118");
const EFFICIENTNET: (&str, &str) =
    ("efficientnet-lite0", "6c342dd58f20c6c3aaa574afa61592cd1645c53d3126a5f5e968a19695f41675");
const SMOLLM: (&str, &str) =
    ("smollm2-135m-instruct", "e33aad1699036e5667b0cffef48bbdfeb1ef37b22e825579c7ba132cd48580fa");

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    minilm: Vec<Vec<f64>>,
    smollm: Vec<Surprisals>,
    prompt: (String, String),
    answer: Answer,
    efficientnet: Image,
}

#[derive(Deserialize)]
struct Surprisals {
    surprisals: Vec<f64>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    tokens: u32,
    smallest_gap: f64,
}

#[derive(Deserialize)]
struct Image {
    features: Vec<f64>,
    top: Vec<(usize, f64)>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../tests/golden/golden.json")).unwrap()
}

pub(crate) fn folder(model: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/models");
    let folder = std::env::var_os("REALSYN_MODELS").map_or(workspace, PathBuf::from).join(model);
    if !folder.is_dir() {
        let why = format!("{} is not there; run scripts/fetch-models.py and set REALSYN_MODELS", folder.display());
        realsyn_skip::skipped(model, why);
        return None;
    }
    Some(folder)
}

fn minilm() -> Option<&'static Arc<MiniLm>> {
    static MODEL: OnceLock<Option<Arc<MiniLm>>> = OnceLock::new();
    MODEL.get_or_init(|| Some(Arc::new(MiniLm::load(&folder(MINILM.0)?).unwrap()))).as_ref()
}

fn efficientnet() -> Option<&'static Arc<EfficientNet>> {
    static MODEL: OnceLock<Option<Arc<EfficientNet>>> = OnceLock::new();
    MODEL
        .get_or_init(|| Some(Arc::new(EfficientNet::load(&folder(EFFICIENTNET.0)?, &std::env::temp_dir()).unwrap())))
        .as_ref()
}

fn smollm() -> Option<&'static SmolLm> {
    static MODEL: OnceLock<Option<SmolLm>> = OnceLock::new();
    let options = SmolLmOptions { max_new_tokens: 16, ..SmolLmOptions::default() };
    MODEL.get_or_init(|| Some(SmolLm::load(&folder(SMOLLM.0)?, options).unwrap())).as_ref()
}

fn distance<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| (a.into() - b.into()).powi(2)).sum::<f64>().sqrt()
}

/// A picture of stripes and waves, the same as in the reference.
fn picture(side: usize) -> Vec<u8> {
    let pixel = |channel: usize, row: usize, column: usize| {
        row * (3 + channel) + column * (5 - channel) + row * column / 64 * (channel + 1)
    };
    let point = |i: usize| (0..3).map(move |channel| (pixel(channel, i / side, i % side) % 256) as u8);
    (0..side * side).flat_map(point).collect()
}

/// Texts of many lengths, so that batches are padded.
fn many_texts() -> Vec<String> {
    let texts = golden().texts;
    (1..40).map(|i| texts.join(" ").split(' ').cycle().skip(i * 5).take(i).collect::<Vec<_>>().join(" ")).collect()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn folders_have_the_hashes_that_the_script_prints() {
    for (model, sha256) in [MINILM, EFFICIENTNET, SMOLLM] {
        let Some(folder) = folder(model) else { return };
        assert_eq!(folder_sha256(&folder).unwrap(), sha256, "{model}");
    }
}

#[test]
fn sentence_vectors_agree_with_the_reference() {
    let Some(model) = minilm() else { return };
    let golden = golden();
    let vectors = model.encode(&borrowed(&golden.texts)).unwrap();
    for (vector, expected) in vectors.chunks_exact(model.dim()).zip(&golden.minilm) {
        let distance = distance(vector, expected);
        assert!(distance < 1e-5, "{distance}");
    }
}

#[test]
fn batched_sentence_vectors_equal_single_ones() {
    let Some(model) = minilm() else { return };
    let texts = many_texts();
    let texts = borrowed(&texts);
    let batched = model.encode(&texts).unwrap();
    for (text, vector) in texts.iter().zip(batched.chunks_exact(model.dim())) {
        let single = model.encode(&[text]).unwrap();
        assert!(distance(vector, &single) < 1e-5, "{text}");
        let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        assert!((norm - 1.0).abs() < 1e-6, "{norm}");
    }
    assert!(model.encode(&[]).unwrap().is_empty());
}

#[test]
fn a_long_text_is_cut_and_an_empty_one_is_a_text() {
    let Some(model) = minilm() else { return };
    // One word piece each; 254 fit beside the two special ones.
    let (exact, longer) = ("dog ".repeat(254), "dog ".repeat(1000));
    let vectors = model.encode(&[&exact, &longer, ""]).unwrap();
    let dim = model.dim();
    assert!(distance(&vectors[..dim], &vectors[dim..2 * dim]) < 1e-5);
    assert!(vectors[2 * dim..].iter().any(|&x| x != 0.0));
}

#[test]
fn surprisals_agree_with_the_reference() {
    let Some(model) = smollm() else { return };
    let golden = golden();
    let scores = model.score(&borrowed(&golden.texts)).unwrap();
    for ((score, expected), text) in scores.iter().zip(&golden.smollm).zip(&golden.texts) {
        assert_eq!(score.tokens as usize, expected.surprisals.len(), "{text}");
        let expected: f64 = expected.surprisals.iter().sum();
        assert!(
            (score.nll_sum - expected).abs() <= 1e-4 * f64::from(score.tokens),
            "{text}: {score:?}, expected {expected}"
        );
    }
    assert_eq!(scores[4].perplexity(), None, "one token has nothing before it");
}

#[test]
fn batched_scores_equal_single_ones() {
    let Some(model) = smollm() else { return };
    let texts = many_texts();
    let texts = borrowed(&texts[..12]);
    for (text, batched) in texts.iter().zip(model.score(&texts).unwrap()) {
        let single = model.score(&[text]).unwrap()[0];
        assert_eq!(single.tokens, batched.tokens);
        assert!(
            (single.nll_sum - batched.nll_sum).abs() <= 1e-4 * f64::from(single.tokens),
            "{text}: {single:?} {batched:?}"
        );
    }
}

#[test]
fn a_prepended_end_of_text_scores_one_token_more() {
    let Some(folder) = folder(SMOLLM.0) else { return };
    let options = SmolLmOptions { prepend_eos: true, max_score_tokens: 8, ..SmolLmOptions::default() };
    let scores = SmolLm::load(&folder, options).unwrap().score(&["dog", "", &"dog ".repeat(50)]).unwrap();
    assert_eq!(scores.iter().map(|score| score.tokens).collect::<Vec<_>>(), [1, 0, 7]);
}

#[test]
fn the_greedy_answer_is_the_reference_s() {
    let Some(model) = smollm() else { return };
    let golden = golden();
    // Far above what rounding moves a logit by, so the choice is the same in single precision.
    assert!(golden.answer.smallest_gap > 1e-2);
    let (system, user) = (&golden.prompt.0, &golden.prompt.1);
    let answer = model.generate(&[Prompt { system, user }]).unwrap();
    assert_eq!((&answer[0].text, answer[0].tokens), (&golden.answer.text, golden.answer.tokens));
}

#[test]
fn answers_come_in_order_and_end_for_a_reason() {
    let Some(model) = smollm() else { return };
    let golden = golden();
    let long = "Count from one to a hundred. ".repeat(3);
    let system = &golden.prompt.0;
    let users = [long.as_str(), &golden.prompt.1, "What is the capital of France?"];
    let together = model.generate(&users.map(|user| Prompt { system, user })).unwrap();
    assert_eq!(together[1].text, golden.answer.text);
    assert_eq!((together[1].finish, together[1].tokens), (FinishReason::Length, 16));
    assert!(together[2].text.contains("Paris") && together[2].finish == FinishReason::Stop, "{:?}", together[2]);
    assert!(model.generate(&[]).unwrap().is_empty());
}

#[test]
fn a_document_cannot_end_a_turn() {
    let Some(model) = smollm() else { return };
    // Were it read as a control token, the text would have 3 tokens, 2 of them scored.
    let score = model.score(&["a<|im_end|>b"]).unwrap()[0];
    assert!(score.tokens > 4, "{score:?}");
}

#[test]
fn a_prompt_beyond_the_context_is_refused() {
    let Some(model) = smollm() else { return };
    let user = "dog ".repeat(9000);
    let fine = Prompt { system: "", user: "hello" };
    let error = model.generate(&[fine, Prompt { system: "", user: &user }]).unwrap_err();
    assert!(matches!(error, ModelError::Input { index: 1, .. }), "{error}");
}

#[test]
fn image_features_agree_with_the_reference() {
    let Some(model) = efficientnet() else { return };
    let golden = golden().efficientnet;
    let pixels: Vec<f32> = picture(224).iter().map(|&byte| (f32::from(byte) - 127.0) / 128.0).collect();
    let found = model.forward(&pixels).unwrap();
    let distance = distance(&found.features, &golden.features);
    // 50 layers of sums of up to 1,152 products: √(50 · 1152) · 6e-8 is 1.4e-5.
    assert!(distance < 1.4e-5, "{distance}");
    for (label, probability) in golden.top {
        assert!((f64::from(found.probabilities[label]) - probability).abs() < 1e-4 * probability.max(0.01), "{label}");
    }
    let total: f32 = found.probabilities.iter().sum();
    assert!((total - 1.0).abs() < 1e-5);
}

#[test]
fn the_published_weights_are_kept_as_safetensors() {
    let (Some(folder), Some(model)) = (folder(EFFICIENTNET.0), efficientnet()) else { return };
    let (scratch, converted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = picture(100);
    let image = [RgbView::new(100, 100, &data).unwrap()];
    let expected = model.classify(&image).unwrap();
    let load = || EfficientNet::load(&folder, scratch.path()).unwrap().classify(&image).unwrap();
    assert_eq!(load(), expected);
    let kept = scratch.path().join(format!("realsyn-{}.safetensors", PTH.sha256));
    assert_eq!(file_sha256(&kept).unwrap(), PTH.converted);
    assert_eq!(load(), expected);
    std::fs::rename(&kept, converted.path().join("model.safetensors")).unwrap();
    let model = EfficientNet::load(converted.path(), scratch.path()).unwrap();
    assert_eq!(model.classify(&image).unwrap(), expected);
}

#[test]
fn the_demonstration_encodes_captions_and_tags() {
    let (Some(folder), Some(text), Some(network)) = (folder(EFFICIENTNET.0), minilm(), efficientnet()) else { return };
    let encoder = Arc::new(ConseEncoder::load(&folder, network.clone(), &**text).unwrap());
    let captioner = LabelCaptioner::load(&folder, network.clone()).unwrap();
    let options = LabelTaggerOptions { min_cosine: -1.0, max_nouns: 2, ..LabelTaggerOptions::default() };
    let tagger = LabelTagger::new(encoder.clone(), &**text, &["pattern", "dog", "sea"], options).unwrap();
    let (small, large) = (picture(64), picture(300));
    let images = [RgbView::new(64, 64, &small).unwrap(), RgbView::new(300, 300, &large).unwrap()];
    for embedding in encoder.encode(&images).unwrap() {
        for (vector, dim) in [(&embedding.shared, encoder.shared_dim()), (&embedding.visual, encoder.visual_dim())] {
            let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            assert!(vector.len() == dim && (norm - 1.0).abs() < 1e-5);
        }
    }
    for caption in captioner.caption(&images).unwrap() {
        assert!(caption.starts_with("a photo of ") || caption.starts_with("an image that resembles "), "{caption}");
    }
    for tags in tagger.tag(&images).unwrap() {
        assert!(tags.len() >= 2 && tags.is_sorted_by(|a, b| a.score >= b.score), "{tags:?}");
    }
}

#[test]
fn a_damaged_model_is_refused_before_the_first_batch() {
    let (Some(smollm), Some(minilm)) = (folder(SMOLLM.0), folder(MINILM.0)) else { return };
    let dir = tempfile::tempdir().unwrap();
    let name = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let whole = std::fs::read(smollm.join(name)).unwrap();
    let target = dir.path().join(name);
    // In the magic number, the settings, the tensors' names, the weights.
    for end in [3, 1_000, 1_700_000, 40_000_000] {
        std::fs::write(&target, &whole[..end]).unwrap();
        let error = SmolLm::load(dir.path(), SmolLmOptions::default()).err().unwrap();
        assert!(matches!(&error, ModelError::Format { path, .. } if *path == target), "{end}: {error}");
    }
    let at = whole.windows(19).position(|window| window == b"blk.7.ffn_up.weight").unwrap();
    let mut bytes = whole;
    bytes[at..at + 19].copy_from_slice(b"blk.7.ffn_UP.weight");
    std::fs::write(&target, &bytes).unwrap();
    let error = SmolLm::load(dir.path(), SmolLmOptions::default()).err().unwrap();
    assert!(matches!(&error, ModelError::MissingTensor { name, .. } if name == "blk.7.ffn_up.weight"), "{error}");
    std::fs::write(dir.path().join("second.gguf"), b"").unwrap();
    assert!(SmolLm::load(dir.path(), SmolLmOptions::default()).err().unwrap().to_string().contains("found 2"));

    let safe = std::fs::read(minilm.join("model.safetensors")).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), &safe[..safe.len() / 2]).unwrap();
    let error = MiniLm::load(dir.path()).err().unwrap();
    assert!(error.to_string().contains("not a whole safetensors file"), "{error}");
    let error = EfficientNet::load(dir.path(), dir.path()).err().unwrap();
    assert!(error.to_string().contains("not a whole safetensors file"), "{error}");
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    std::fs::write(dir.path().join(PTH.name), b"cposix\nsystem\n(S'id'\ntR.").unwrap();
    assert!(matches!(EfficientNet::load(dir.path(), dir.path()).err().unwrap(), ModelError::Digest { .. }));
}

/// Run by the test below, in processes of their own: the number of threads is read once per process.
#[test]
#[ignore = "a part of `results_have_the_same_bits_for_any_number_of_threads`"]
fn print_bits() {
    let (Some(text), Some(network), Some(lm)) = (minilm(), efficientnet(), smollm()) else { return };
    let texts = many_texts();
    let texts = borrowed(&texts);
    let bits = |values: &[f32]| {
        values.iter().fold(0u64, |hash, x| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(x.to_bits()))
    };
    println!("BITS text {:x}", bits(&text.encode(&texts).unwrap()));
    let pictures: Vec<Vec<u8>> = [64, 150, 300].into_iter().map(picture).collect();
    let views: Vec<RgbView<'_>> =
        pictures.iter().zip([64, 150, 300]).map(|(data, side)| RgbView::new(side, side, data).unwrap()).collect();
    for image in network.classify(&views).unwrap() {
        println!("BITS image {:x} {:x}", bits(&image.features), bits(&image.probabilities));
    }
    for score in lm.score(&texts[..16]).unwrap() {
        println!("BITS score {:x}", score.nll_sum.to_bits());
    }
    let prompts: Vec<Prompt<'_>> = texts[..26].iter().map(|user| Prompt { system: "Answer.", user }).collect();
    for answer in lm.generate(&prompts).unwrap() {
        println!("BITS answer {answer:?}");
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_threads() {
    if folder(SMOLLM.0).is_none() {
        return;
    }
    let run = |threads: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::print_bits", "--ignored", "--nocapture"]).env("RAYON_NUM_THREADS", threads);
        let output = command.output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let bits: Vec<String> = text.lines().filter(|line| line.starts_with("BITS")).map(str::to_owned).collect();
        bits
    };
    let one = run("1");
    assert_eq!(one.len(), 1 + 3 + 16 + 26);
    assert_eq!(one, run("3"));
}
