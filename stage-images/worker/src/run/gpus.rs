//! The GPUs that the pod of a worker holds, and the time of theirs that a shard took. It goes into commits beside what they
//! publish, and never into a hash.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use realsyn_plan::placement::Product;
use realsyn_plan::records::Spent;

/// How many GPUs, slices or instances the pod holds; set by the controller.
const COUNT: &str = "REALSYN_GPUS";
/// What they may be, by commas: placement knows where the pod fits, and the scheduler chooses.
const PRODUCTS: &str = "REALSYN_GPU_PRODUCTS";
/// Where NVIDIA's runtime shows a container the devices that it holds.
const DRIVER: &str = "/proc/driver/nvidia/gpus";
/// Of a device that nobody can name.
const UNKNOWN: &str = "unknown";

/// The GPUs of this pod.
#[derive(Debug)]
pub struct Gpus {
    count: u32,
    product: String,
    charged: Mutex<Instant>,
}

impl Gpus {
    /// As the environment and the driver tell it; none if the pod holds none. Their time is counted from now.
    pub fn of_environment() -> Option<Self> {
        let count = std::env::var(COUNT).ok()?.parse().ok().filter(|n| *n > 0)?;
        let products = std::env::var(PRODUCTS).unwrap_or_default();
        Some(Self::new(count, &which(&products, driver_name(Path::new(DRIVER)).as_deref())))
    }

    /// So many of a product, counted from now.
    pub fn new(count: u32, product: &str) -> Self {
        Self { count, product: product.to_owned(), charged: Mutex::new(Instant::now()) }
    }

    /// What they are.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// How many they are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What passed since the last shard was charged. Shards that are computed at once share the time, so that their sum is
    /// never more than the pod held.
    pub fn charge(&self, records: u64) -> Spent {
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let millis = now.duration_since(std::mem::replace(&mut charged, now)).as_millis() as u64;
        Spent { gpu_millis: millis.saturating_mul(self.count.into()), shards: 1, records }
    }
}

/// Which of the products that placement named the driver's device is. The driver's word counts, and placement's where the
/// driver says nothing and there is only one.
fn which(products: &str, driver: Option<&str>) -> String {
    let named: Vec<&str> = products.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
    let Some(device) = driver.and_then(Product::parse) else {
        return match named.as_slice() {
            [one] => (*one).to_owned(),
            _ => UNKNOWN.to_owned(),
        };
    };
    let is_it = |name: &&&str| Product::parse(name).is_some_and(|product| product.is_a(&device));
    named.iter().find(is_it).map_or_else(|| device.to_string(), |name| (*name).to_owned())
}

/// The name of the first device.
fn driver_name(folder: &Path) -> Option<String> {
    let mut devices: Vec<_> =
        std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    devices.sort();
    let text = std::fs::read_to_string(devices.first()?.join("information")).ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim();
    (!model.is_empty()).then(|| model.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_called_as_placement_calls_it() {
        for (named, driver, product) in [
            ("A100-SXM4-80GB", None, "A100-SXM4-80GB"),
            ("A100-SXM4-80GB,H100-PCIE-80GB", None, UNKNOWN),
            // A driver's name leaves out the memory.
            ("A100-SXM4-80GB,H100-PCIE-80GB", Some("NVIDIA H100 PCIe"), "H100-PCIE-80GB"),
            ("A100-SXM4-80GB-MIG-3g.40gb", Some("NVIDIA A100-SXM4-80GB"), "A100-SXM4-80GB-MIG-3g.40gb"),
            // An autoscaler brought another.
            ("A100-SXM4-80GB", Some("NVIDIA L40S"), "L40S"),
            ("", Some("Tesla T4"), "T4"),
            ("", None, UNKNOWN),
        ] {
            assert_eq!(which(named, driver), product, "{named} {driver:?}");
        }
    }

    #[test]
    fn the_drivers_folder_names_the_device() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(driver_name(folder.path()), None);
        let device = folder.path().join("0000:07:00.0");
        std::fs::create_dir(&device).unwrap();
        std::fs::write(device.join("information"), "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 16\n").unwrap();
        assert_eq!(driver_name(folder.path()).as_deref(), Some("NVIDIA A100-SXM4-80GB"));
    }

    #[test]
    fn shards_share_the_time_that_passes() {
        let gpus = Gpus::new(4, "L4");
        let began = Instant::now();
        let sum: u64 = (0..100).map(|records| gpus.charge(records).gpu_millis).sum();
        assert!(sum <= 4 * began.elapsed().as_millis() as u64 + 4, "{sum}");
        let spent = gpus.charge(7);
        assert_eq!((spent.shards, spent.records, spent.gpu_millis % 4), (1, 7, 0));
    }
}
