//! How GPU Feature Discovery spells the products that are known, for clusters of which nothing has been seen yet.

use super::Product;

/// The label's value, and GB of memory.
#[rustfmt::skip]
const KNOWN: &[(&str, u32)] = &[
    ("A100-PCIE-40GB", 40), ("A100-SXM-80GB", 80), ("A100-SXM4-40GB", 40), ("A100-SXM4-80GB", 80),
    ("NVIDIA-A10", 24), ("NVIDIA-A100-80GB-PCIe", 80), ("NVIDIA-A100-PCIE-40GB", 40), ("NVIDIA-A100-PCIE-80GB", 80),
    ("NVIDIA-A100-SXM4-40GB", 40), ("NVIDIA-A100-SXM4-80GB", 80), ("NVIDIA-A10G", 24), ("NVIDIA-A16", 16),
    ("NVIDIA-A2", 16), ("NVIDIA-A30", 24), ("NVIDIA-A40", 48), ("NVIDIA-A800-80GB-PCIe", 80),
    ("NVIDIA-A800-SXM4-80GB", 80), ("NVIDIA-B200", 180), ("NVIDIA-GH200-144G-HBM3e", 144), ("NVIDIA-GH200-480GB", 96),
    ("NVIDIA-GeForce-RTX-3090", 24), ("NVIDIA-GeForce-RTX-4090", 24), ("NVIDIA-GeForce-RTX-5090", 32),
    ("NVIDIA-H100-80GB-HBM3", 80), ("NVIDIA-H100-NVL", 94), ("NVIDIA-H100-PCIe", 80), ("NVIDIA-H20", 96),
    ("NVIDIA-H200", 141), ("NVIDIA-H200-NVL", 141), ("NVIDIA-H800", 80), ("NVIDIA-L4", 24), ("NVIDIA-L40", 48),
    ("NVIDIA-L40S", 48), ("NVIDIA-RTX-6000-Ada-Generation", 48), ("NVIDIA-RTX-A6000", 48), ("Tesla-P100-PCIE-16GB", 16),
    ("Tesla-P100-SXM2-16GB", 16), ("Tesla-T4", 16), ("Tesla-V100-PCIE-16GB", 16), ("Tesla-V100-PCIE-32GB", 32),
    ("Tesla-V100-SXM2-16GB", 16), ("Tesla-V100-SXM2-32GB", 32), ("Tesla-V100-SXM3-32GB", 32),
];

/// Label values that mean one of these products: those that are known, and the likely spellings of one that is not.
pub(super) fn spellings(wanted: &[Product]) -> Vec<String> {
    let mut found = Vec::new();
    for wanted in wanted {
        let before = found.len();
        found.extend(KNOWN.iter().filter(|(label, gb)| named(label, *gb).is_a(wanted)).map(|(l, _)| (*l).to_owned()));
        if found.len() == before {
            found.extend([wanted.to_string(), format!("NVIDIA-{wanted}")]);
        }
    }
    found
}

fn named(label: &str, gb: u32) -> Product {
    Product::of_device(label, u64::from(gb) << 30).expect("every entry names a family")
}

#[cfg(test)]
mod tests {
    use super::*;

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
