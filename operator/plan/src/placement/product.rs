//! What a GPU is, whatever the spelling.

use std::fmt;

/// A product, or those parts of one that a person has written: `A100`, `A100-80GB`, `A100-SXM4-80GB`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Product {
    /// The family in capitals: `A100`, `L40S`, `RTX-4090`.
    pub family: String,
    /// How it is built in, where the name says so.
    pub form_factor: Option<FormFactor>,
    /// Memory as the vendor counts it, where the name says so.
    pub memory_gb: Option<u32>,
}

/// How a GPU is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FormFactor {
    /// On a board with others, joined by NVLink; with the generation of the socket where it is known.
    Sxm(Option<u8>),
    /// A PCI Express card.
    Pcie,
    /// A PCI Express card that is made to be joined in pairs.
    Nvl,
}

/// Words of a name that tell nothing apart.
const NOISE: &[&str] = &["NVIDIA", "TESLA", "QUADRO", "GEFORCE", "GPU", "GENERATION", "EDITION", "SHARED"];

/// Memory in GB as products are sold, to find the one that a driver's number of bytes stands for.
const SOLD_GB: &[u32] = &[4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180, 192, 288];

impl Product {
    /// Reads a driver's name (`NVIDIA A100 80GB PCIe`), a label's value (`NVIDIA-A100-SXM4-80GB-SHARED`), or what a person
    /// writes (`A100-80GB`). What says how a GPU is shared or cut is read over. `None` if no family is left.
    pub fn parse(name: &str) -> Option<Self> {
        let (mut family, mut form_factor, mut memory_gb) = (String::new(), None, None);
        let mut stacked = false;
        for word in name.split(|c: char| c.is_whitespace() || matches!(c, '-' | '_' | '/')).filter(|w| !w.is_empty()) {
            let word = word.to_ascii_uppercase();
            if word == "MIG" {
                break;
            } else if NOISE.contains(&word.as_str()) {
            } else if let Some(form) = form_of(&word) {
                form_factor = Some(form);
            } else if let Some(gb) = gigabytes(&word) {
                memory_gb = Some(gb);
            } else if word.starts_with("HBM") {
                stacked = word.starts_with("HBM3");
            } else {
                if !family.is_empty() {
                    family.push('-');
                }
                family.push_str(&word);
            }
        }
        // `RTX A6000` is called A6000, but `RTX 6000` is another GPU than the 6000 of any other series.
        if let Some(short) = family.strip_prefix("RTX-A").filter(|s| s.starts_with(|c: char| c.is_ascii_digit())) {
            family = format!("A{short}");
        }
        if family.is_empty() {
            return None;
        }
        // Only boards of this family have HBM3; their names say nothing else of how they are built in.
        if form_factor.is_none() && stacked && matches!(family.as_str(), "H100" | "H800") {
            form_factor = Some(FormFactor::Sxm(None));
        }
        if form_factor == Some(FormFactor::Sxm(None)) {
            form_factor = Some(FormFactor::Sxm(socket(&family)));
        }
        // The number in a Grace Hopper's name is the memory of its processor.
        if family.starts_with("GH200") && memory_gb.is_some_and(|gb| gb > 144 || gb == 120) {
            memory_gb = None;
        }
        Some(Self { family, form_factor, memory_gb })
    }

    /// A device's product: its name, and what its name leaves out but its memory tells.
    pub fn of_device(name: &str, bytes: u64) -> Option<Self> {
        let mut product = Self::parse(name)?;
        product.memory_gb = product.memory_gb.or_else(|| sold_with(bytes));
        if product.form_factor.is_none() && matches!(product.family.as_str(), "H200" | "H20" | "B200" | "B300") {
            product.form_factor = Some(FormFactor::Sxm(socket(&product.family)));
        }
        Some(product)
    }

    /// Whether a device of this product is one of `wanted`: what that leaves open may be anything.
    pub fn is_a(&self, wanted: &Self) -> bool {
        let form = match (wanted.form_factor, self.form_factor) {
            (None, _) => true,
            (Some(FormFactor::Sxm(a)), Some(FormFactor::Sxm(b))) => a.is_none() || b.is_none() || a == b,
            (a, b) => a == b,
        };
        form && self.family == wanted.family && wanted.memory_gb.is_none_or(|gb| self.memory_gb == Some(gb))
    }
}

/// As one writes it in `gpu.products`, and as the agent reports it: `A100-SXM4-80GB`.
impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.family)?;
        match self.form_factor {
            Some(FormFactor::Sxm(Some(socket))) => write!(f, "-SXM{socket}")?,
            Some(FormFactor::Sxm(None)) => f.write_str("-SXM")?,
            Some(FormFactor::Pcie) => f.write_str("-PCIE")?,
            Some(FormFactor::Nvl) => f.write_str("-NVL")?,
            None => {}
        }
        self.memory_gb.map_or(Ok(()), |gb| write!(f, "-{gb}GB"))
    }
}

fn form_of(word: &str) -> Option<FormFactor> {
    match word {
        "PCIE" => Some(FormFactor::Pcie),
        "NVL" => Some(FormFactor::Nvl),
        _ => match word.strip_prefix("SXM")? {
            "" => Some(FormFactor::Sxm(None)),
            socket => Some(FormFactor::Sxm(Some(socket.parse().ok()?))),
        },
    }
}

fn gigabytes(word: &str) -> Option<u32> {
    word.strip_suffix("GB").or_else(|| word.strip_suffix('G'))?.parse().ok().filter(|gb| *gb > 0)
}

/// The socket that a family's boards have, where all have the same.
fn socket(family: &str) -> Option<u8> {
    match family {
        "P100" => Some(2),
        "A100" | "A800" => Some(4),
        "H100" | "H800" | "H200" | "H20" => Some(5),
        "B200" | "B300" => Some(6),
        _ => None,
    }
}

/// The size sold that is at most a tenth above what the driver leaves: error correction takes a sixteenth, firmware a bit.
fn sold_with(bytes: u64) -> Option<u32> {
    let gib = bytes as f64 / (1u64 << 30) as f64;
    SOLD_GB.iter().copied().find(|gb| f64::from(*gb) >= gib).filter(|gb| f64::from(*gb) * 0.9 <= gib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_product_is_the_same_product() {
        for (name, canonical) in [
            ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
            ("A100-SXM4-80GB", "A100-SXM4-80GB"),
            ("NVIDIA-A100-SXM4-80GB", "A100-SXM4-80GB"),
            ("A100-SXM-80GB", "A100-SXM4-80GB"),
            ("nvidia a100-sxm4-80gb", "A100-SXM4-80GB"),
            ("NVIDIA-A100-SXM4-80GB-SHARED", "A100-SXM4-80GB"),
            ("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", "A100-SXM4-80GB"),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100-SXM4-40GB"),
            ("A100-PCIE-40GB", "A100-PCIE-40GB"),
            ("NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"),
            ("NVIDIA-A100-80GB-PCIe", "A100-PCIE-80GB"),
            ("H100 80GB HBM3", "H100-SXM5-80GB"),
            ("NVIDIA-H100-80GB-HBM3", "H100-SXM5-80GB"),
            ("NVIDIA H100 PCIe", "H100-PCIE"),
            ("NVIDIA H100 NVL", "H100-NVL"),
            ("NVIDIA H200", "H200"),
            ("NVIDIA GH200 480GB", "GH200"),
            ("NVIDIA GH200 144G HBM3e", "GH200-144GB"),
            ("L4", "L4"),
            ("NVIDIA L40S", "L40S"),
            ("Tesla T4", "T4"),
            ("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"),
            ("Tesla V100-SXM3-32GB", "V100-SXM3-32GB"),
            ("NVIDIA RTX A6000", "A6000"),
            ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-ADA"),
            ("NVIDIA GeForce RTX 4090", "RTX-4090"),
            ("NVIDIA GeForce RTX 3080 Ti", "RTX-3080-TI"),
        ] {
            let product = Product::parse(name).unwrap();
            assert_eq!(product.to_string(), canonical, "{name}");
            assert_eq!(Product::parse(canonical), Some(product), "{name}: reading the canonical name changes it");
        }
        for nothing in ["", " - ", "NVIDIA", "80GB", "MIG 1g.5gb"] {
            assert_eq!(Product::parse(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn memory_fills_in_what_a_name_leaves_out() {
        const MIB: u64 = 1 << 20;
        // Totals in MiB as nvidia-smi prints them.
        for (name, mib, canonical) in [
            ("NVIDIA H100 PCIe", 81_559, "H100-PCIE-80GB"),
            ("NVIDIA H100 NVL", 95_830, "H100-NVL-94GB"),
            ("NVIDIA H200", 143_771, "H200-SXM5-141GB"),
            ("NVIDIA L4", 23_034, "L4-24GB"),
            ("NVIDIA A10G", 22_731, "A10G-24GB"),
            ("NVIDIA L40S", 46_068, "L40S-48GB"),
            ("Tesla T4", 15_360, "T4-16GB"),
            ("NVIDIA A100-SXM4-40GB", 40_536, "A100-SXM4-40GB"),
            ("NVIDIA X1", 1, "X1"),
        ] {
            let product = Product::of_device(name, mib * MIB).unwrap();
            assert_eq!(product.to_string(), canonical, "{name}");
            assert_eq!(Product::of_device(canonical, mib * MIB), Some(product), "{name}: twice is another");
        }
    }

    #[test]
    fn what_a_person_leaves_open_may_be_anything() {
        let device = Product::parse("NVIDIA A100-SXM4-80GB").unwrap();
        for (wanted, fits) in [
            ("A100", true),
            ("A100-80GB", true),
            ("A100-SXM4", true),
            ("A100-SXM", true),
            ("A100-SXM4-80GB", true),
            ("A100-40GB", false),
            ("A100-PCIE-80GB", false),
            ("A10", false),
            ("A100X", false),
            ("H100", false),
        ] {
            assert_eq!(device.is_a(&Product::parse(wanted).unwrap()), fits, "{wanted}");
        }
        let unsure = Product::parse("NVIDIA L4").unwrap();
        assert!(!unsure.is_a(&Product::parse("L4-24GB").unwrap()), "a name alone does not prove its memory");
    }
}
