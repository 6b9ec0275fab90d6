//! The devices in one line.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_crds::{GpuDevice, GpuSummary};

use crate::links::islands;

/// The columns of `kubectl get gpunodes`; none without devices.
pub fn summary(devices: &[GpuDevice]) -> Option<GpuSummary> {
    let smallest = devices.iter().map(|device| device.memory).min()?;
    let products: BTreeSet<&str> = devices.iter().map(|device| device.product.as_str()).collect();
    let mut profiles: BTreeMap<&str, u32> = BTreeMap::new();
    for instance in devices.iter().flat_map(|device| &device.instances) {
        *profiles.entry(&instance.profile).or_default() += 1;
    }
    let profiles: Vec<String> = profiles.iter().map(|(profile, count)| format!("{profile} x{count}")).collect();
    let healthy = devices.iter().filter(|device| device.healthy);
    let free = healthy.clone().map(|device| match device.mig {
        true => device.instances.iter().filter(|instance| !instance.allocated).count() as u32,
        false => u32::from(!device.allocated),
    });
    Some(GpuSummary {
        product: products.into_iter().collect::<Vec<_>>().join(","),
        gpus: devices.len() as u32,
        memory: format!("{:.1}Gi", smallest as f64 / f64::from(1 << 30)),
        mig: (!profiles.is_empty()).then(|| profiles.join(", ")),
        nvlink: islands(devices.iter().map(|device| (device.pci.as_str(), device.nvlink.as_slice()))),
        healthy: format!("{}/{}", healthy.count(), devices.len()),
        free: free.sum(),
    })
}
