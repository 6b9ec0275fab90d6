//! The arithmetic of memory, against numbers worked out by hand, and what holds of any device.

use realsyn_crds::Dtype;
use realsyn_plan::memory::{
    EVA02_E_IMAGE, EVA02_E_TEXT, GPT2_LARGE, KNOWN, LLAMA3_8B, Model, OFA_BASE, RAM_PLUS_SWIN_L, batch_for, least,
    needed,
};

/// Memory as drivers report it of an A100 of 40 and of 80 GB.
const A100: [u64; 2] = [42_505_273_344, 85_899_345_920];

#[test]
fn bytes_are_those_of_the_arithmetic_by_hand() {
    // 257 × (2·1792 + max(3·1792 + 2·16·257, 2·15360)) = 257 × (3,584 + 30,720)
    assert_eq!(EVA02_E_IMAGE.pass, 8_816_128);
    // 77 × (2·1280 + max(3·1280 + 2·20·77, 2·5120)) = 77 × (2,560 + 10,240)
    assert_eq!(EVA02_E_TEXT.pass, 985_600);
    // 128 × (2,560 + max(3,840 + 2·20·128, 10,240)) and 2 × 128 × 50,257 logits
    assert_eq!((GPT2_LARGE.pass, GPT2_LARGE.outputs), (1_638_400, 12_865_792));
    // 908 × (1,536 + max(2,304 + 2·12·908, 6,144)), and five beams of 2·6·12·64 × 928
    assert_eq!((OFA_BASE.pass, OFA_BASE.cache), (23_273_856, 42_762_240));
    // The image: 9,216 × (384 + max(576 + 2·6·144, 1,536)) = 24,772,608. The tags are wider:
    // 8,585 × (51 + 512) + 8,585 × (1,536 + max(2,304 + 2·4·145, 6,144)) = 4,833,355 + 65,932,800
    assert_eq!((RAM_PLUS_SWIN_L.pass, RAM_PLUS_SWIN_L.tables), (70_766_155, 224_171_520));
    // Keys and values: 2·32·8·128 = 65,536 a token, of 512 tokens; 8,192 × (8,192 + 28,672) of a prompt's run
    assert_eq!((LLAMA3_8B.cache, LLAMA3_8B.once), (33_554_432, 301_989_888));

    // LLaMA in bf16, 16 sequences: (2^30 + 2·(8.03e9 + 301,989,888) + 16·(2·33,554,432 + 4·256,512)) ÷ 0.9
    let by_hand = (1_073_741_824 + 16_663_979_776 + 16 * 68_134_912u64) as f64 / 0.9;
    assert!((least(&LLAMA3_8B, Dtype::Bf16, 1) as f64 - by_hand).abs() <= 1.0);
    // In two halves, without halving the context: 2^30 + (16,663,979,776 + 16 · 68,134,912) ÷ 2
    let halved = (1_073_741_824 + 8_331_989_888 + 8 * 68_134_912u64) as f64 / 0.9;
    assert!((least(&LLAMA3_8B, Dtype::Bf16, 2) as f64 - halved).abs() <= 1.0);
    assert_eq!(least(&LLAMA3_8B, Dtype::Bf16, 16), least(&LLAMA3_8B, Dtype::Bf16, 8), "eight heads of keys");
    assert_eq!(least(&EVA02_E_IMAGE, Dtype::F16, 4), least(&EVA02_E_IMAGE, Dtype::F16, 1), "encoders are not split");
}

#[test]
fn parameters_agree_with_the_architectures() {
    // Four matrices of attention and two of the hidden layer, and a table of words.
    let plain = |layers: u64, width: u64, hidden: u64, vocab: u64| {
        (layers * (4 * width * width + 2 * width * hidden) + vocab * width) as f64
    };
    // Three matrices of the hidden layer, narrow keys and values, two tables of words.
    let llama = (32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336) + 2 * 128_256 * 4096u64) as f64;
    for (model, worked_out) in [
        (EVA02_E_IMAGE, plain(64, 1792, 15360, 0)),
        (EVA02_E_TEXT, plain(32, 1280, 5120, 49_408)),
        (GPT2_LARGE, plain(36, 1280, 5120, 50_257)),
        (LLAMA3_8B, llama),
    ] {
        let published = model.parameters as f64;
        assert!((published / worked_out - 1.0).abs() < 0.01, "{}: {published} published, {worked_out}", model.name);
    }
}

#[test]
fn a_batch_fits_and_one_more_does_not() {
    for model in KNOWN {
        for (dtype, gpus) in [(Dtype::F32, 1), (Dtype::F16, 1), (Dtype::Bf16, 2), (Dtype::Bf16, 8)] {
            let mut last = 0;
            // Steps of no round number, up to some 200 GB.
            for bytes in (0..300).map(|i| i * 700_000_001) {
                let batch = batch_for(model, dtype, gpus, bytes).unwrap_or(0);
                assert!(batch >= last, "{}: more memory, smaller batch", model.name);
                assert!(batch == 0 || needed(model, dtype, gpus, batch) <= bytes, "{}: {batch} in {bytes}", model.name);
                assert!(needed(model, dtype, gpus, batch + 1) > bytes, "{}: {batch} in {bytes}", model.name);
                last = batch;
            }
            assert!(last > 0);
            let least = least(model, dtype, gpus);
            assert_eq!(batch_for(model, dtype, gpus, least), Some(16));
        }
    }
    assert_eq!(batch_for(&LLAMA3_8B, Dtype::Bf16, 1, 0), None);
    assert!(batch_for(&GPT2_LARGE, Dtype::F16, 1, u64::MAX).is_some());
}

#[test]
fn the_table_of_the_book_is_this_one() {
    let rows = |model: &Model| {
        let gib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 30));
        let batches = A100.map(|bytes| batch_for(model, Dtype::F16, 1, bytes).unwrap().to_string());
        let weights = (model.parameters + model.tables) * 2;
        format!(
            "| {} | {} | {} | {} |",
            model.name,
            gib(weights),
            gib(least(model, Dtype::F16, 1)),
            batches.join(" | ")
        )
    };
    let book = include_str!("../../../docs/gpus.md");
    let missing: Vec<String> = KNOWN.iter().map(rows).filter(|row| !book.contains(row)).collect();
    assert!(missing.is_empty(), "docs/gpus.md lacks\n{}", missing.join("\n"));
}
