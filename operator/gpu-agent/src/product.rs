//! How products are called.

/// The product as one writes it in `gpu.products`: `NVIDIA A100-SXM4-80GB` and `Tesla V100-SXM2-32GB` without their maker,
/// words joined by dashes.
pub fn product(name: &str) -> String {
    let makers = ["NVIDIA", "Tesla", "Graphics", "Device"];
    let words = name.split_whitespace().filter(|word| !makers.contains(word));
    let product = words.collect::<Vec<_>>().join("-");
    if product.is_empty() { name.trim().to_owned() } else { product }
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn names_lose_their_maker() {
        for (name, expected) in [
            ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
            ("A100-SXM4-40GB", "A100-SXM4-40GB"),
            ("NVIDIA H100 80GB HBM3", "H100-80GB-HBM3"),
            ("Tesla V100-SXM2-32GB", "V100-SXM2-32GB"),
            ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada-Generation"),
            ("NVIDIA L4", "L4"),
            ("NVIDIA Graphics Device", "NVIDIA Graphics Device"),
        ] {
            assert_eq!(product(name), expected);
        }
    }
}
