//! How GPU Feature Discovery spells the products that are known, for clusters of which nothing has been seen yet.

use super::{Capability, Product};

/// The label's value, GB of memory, and the compute capability.
#[rustfmt::skip]
const KNOWN: &[(&str, u32, Capability)] = &[
    ("A100-PCIE-40GB", 40, (8, 0)), ("A100-SXM-80GB", 80, (8, 0)), ("A100-SXM4-40GB", 40, (8, 0)),
    ("A100-SXM4-80GB", 80, (8, 0)), ("NVIDIA-A10", 24, (8, 6)), ("NVIDIA-A100-80GB-PCIe", 80, (8, 0)),
    ("NVIDIA-A100-PCIE-40GB", 40, (8, 0)), ("NVIDIA-A100-PCIE-80GB", 80, (8, 0)),
    ("NVIDIA-A100-SXM4-40GB", 40, (8, 0)), ("NVIDIA-A100-SXM4-80GB", 80, (8, 0)), ("NVIDIA-A10G", 24, (8, 6)),
    ("NVIDIA-A16", 16, (8, 6)), ("NVIDIA-A2", 16, (8, 6)), ("NVIDIA-A30", 24, (8, 0)), ("NVIDIA-A40", 48, (8, 6)),
    ("NVIDIA-A800-80GB-PCIe", 80, (8, 0)), ("NVIDIA-A800-SXM4-80GB", 80, (8, 0)), ("NVIDIA-B200", 180, (10, 0)),
    ("NVIDIA-GH200-144G-HBM3e", 144, (9, 0)), ("NVIDIA-GH200-480GB", 96, (9, 0)),
    ("NVIDIA-GeForce-RTX-3090", 24, (8, 6)), ("NVIDIA-GeForce-RTX-4090", 24, (8, 9)),
    ("NVIDIA-GeForce-RTX-5090", 32, (12, 0)), ("NVIDIA-H100-80GB-HBM3", 80, (9, 0)), ("NVIDIA-H100-NVL", 94, (9, 0)),
    ("NVIDIA-H100-PCIe", 80, (9, 0)), ("NVIDIA-H20", 96, (9, 0)), ("NVIDIA-H200", 141, (9, 0)),
    ("NVIDIA-H200-NVL", 141, (9, 0)), ("NVIDIA-H800", 80, (9, 0)), ("NVIDIA-L4", 24, (8, 9)),
    ("NVIDIA-L40", 48, (8, 9)), ("NVIDIA-L40S", 48, (8, 9)), ("NVIDIA-RTX-6000-Ada-Generation", 48, (8, 9)),
    ("NVIDIA-RTX-A6000", 48, (8, 6)), ("Tesla-P100-PCIE-16GB", 16, (6, 0)), ("Tesla-P100-SXM2-16GB", 16, (6, 0)),
    ("Tesla-T4", 16, (7, 5)), ("Tesla-V100-PCIE-16GB", 16, (7, 0)), ("Tesla-V100-PCIE-32GB", 32, (7, 0)),
    ("Tesla-V100-SXM2-16GB", 16, (7, 0)), ("Tesla-V100-SXM2-32GB", 32, (7, 0)), ("Tesla-V100-SXM3-32GB", 32, (7, 0)),
];

/// Label values that mean one of these products: those that are known, and the likely spellings of one that is not.
pub(super) fn spellings(wanted: &[Product]) -> Vec<String> {
    let mut found = Vec::new();
    for wanted in wanted {
        let before = found.len();
        found.extend(
            KNOWN.iter().filter(|(label, gb, _)| named(label, *gb).is_a(wanted)).map(|(l, ..)| (*l).to_owned()),
        );
        if found.len() == before {
            found.extend([wanted.to_string(), format!("NVIDIA-{wanted}")]);
        }
    }
    found
}

/// Label values of the products whose compute capability is lower.
pub(super) fn below(needed: Capability) -> impl Iterator<Item = &'static str> {
    KNOWN.iter().filter(move |(_, _, has)| *has < needed).map(|(label, ..)| *label)
}

fn named(label: &str, gb: u32) -> Product {
    Product::of_device(label, u64::from(gb) << 30).expect("every entry names a family")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_is_known_by_its_label() {
        let older: Vec<&str> = below((8, 0)).collect();
        assert!(older.iter().all(|label| label.starts_with("Tesla-")) && older.len() == 8, "{older:?}");
        assert_eq!(below((6, 0)).count(), 0);
        assert!(below((8, 9)).any(|label| label == "NVIDIA-A10") && !below((8, 9)).any(|label| label == "NVIDIA-L4"));
    }

    #[test]
    fn spellings_are_of_the_product_and_no_other() {
        let of = |name: &str| spellings(&[Product::parse(name).unwrap()]);
        assert_eq!(of("A100-SXM4-80GB"), ["A100-SXM-80GB", "A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB"]);
        assert_eq!(of("H100-80GB"), ["NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"]);
        assert_eq!(of("T4"), ["Tesla-T4"]);
        assert_eq!(of("GH200-96GB"), ["NVIDIA-GH200-480GB"]);
        assert_eq!(of("Z9-SXM7-1GB"), ["Z9-SXM7-1GB", "NVIDIA-Z9-SXM7-1GB"]);
    }
}
