//! What Prometheus sees: the readings that change all the time. Labels are bounded by devices, calls and the catalogue of XIDs.

use std::sync::atomic::AtomicU64;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use realsyn_crds::{GpuDevice, GpuNodeStatus};

use crate::facts::{Device, Errors, Facts};
use crate::xid;

type DeviceLabels = [(&'static str, String); 2];
type Readings = Family<DeviceLabels, Gauge<f64, AtomicU64>>;
type Counts = Family<[(&'static str, String); 3], Gauge<f64, AtomicU64>>;

/// Why clocks are down, apart from having nothing to do.
const THROTTLES: [(ThrottleReasons, &str); 8] = [
    (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "applications-clocks"),
    (ThrottleReasons::SW_POWER_CAP, "power-cap"),
    (ThrottleReasons::HW_SLOWDOWN, "hw-slowdown"),
    (ThrottleReasons::SYNC_BOOST, "sync-boost"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw-thermal"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw-thermal"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw-power-brake"),
    (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display-clocks"),
];

/// All metrics of the agent.
pub struct Metrics {
    registry: Registry,
    utilization: Readings,
    memory_used: Readings,
    memory_peak: Readings,
    memory: Readings,
    temperature: Readings,
    power: Readings,
    healthy: Readings,
    allocated: Readings,
    ecc: Counts,
    remapped: Counts,
    retired: Counts,
    throttled: Counts,
    xids: Family<[(&'static str, String); 3], Counter>,
    failures: Family<[(&'static str, &'static str); 1], Counter>,
    /// Whether a driver answers.
    pub driver: Gauge,
    /// Looks at the driver.
    pub looks: Counter,
    /// Questions that kubelet did not answer.
    pub kubelet_errors: Counter,
    /// Writes of the status.
    pub status_writes: Counter,
    /// Renewals of the Lease.
    pub renewals: Counter,
    /// Writes that failed.
    pub write_errors: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("realsyn_gpu");
        let mut readings = |name: &str, help: &str, unit: Option<Unit>| {
            let family = Readings::default();
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
                None => registry.register(name, help, family.clone()),
            }
            family
        };
        let new = Self {
            utilization: readings("utilization", "Share of time in which a kernel ran", Some(Unit::Ratios)),
            memory_used: readings("memory_used", "Memory in use", Some(Unit::Bytes)),
            memory_peak: readings("memory_peak", "Most memory seen in use since nobody held it", Some(Unit::Bytes)),
            memory: readings("memory", "Memory", Some(Unit::Bytes)),
            temperature: readings("temperature", "Temperature of the chip", Some(Unit::Celsius)),
            power: readings("power", "Power drawn", Some(Unit::Other("watts".to_owned()))),
            healthy: readings("healthy", "Whether work can be trusted to it", None),
            allocated: readings("allocated", "Whether a container holds it", None),
            ecc: Family::default(),
            remapped: Family::default(),
            retired: Family::default(),
            throttled: Family::default(),
            xids: Family::default(),
            failures: Family::default(),
            driver: Gauge::default(),
            looks: Counter::default(),
            kubelet_errors: Counter::default(),
            status_writes: Counter::default(),
            renewals: Counter::default(),
            write_errors: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("ecc_errors", "ECC errors since the driver was loaded", new.ecc.clone());
        registry.register("remapped_rows", "Rows of memory remapped for ECC errors, ever", new.remapped.clone());
        registry.register("retired_pages", "Pages of memory retired for ECC errors, ever", new.retired.clone());
        registry.register("throttled", "Whether the clocks are down for this reason", new.throttled.clone());
        registry.register("xids", "XIDs by number", new.xids.clone());
        registry.register("nvml_failures", "NVML calls that failed", new.failures.clone());
        registry.register("driver", "Whether a driver answers", new.driver.clone());
        registry.register("looks", "Looks at the driver", new.looks.clone());
        registry.register("kubelet_errors", "Questions that kubelet did not answer", new.kubelet_errors.clone());
        registry.register("status_writes", "Writes of the status", new.status_writes.clone());
        registry.register("lease_renewals", "Renewals of the Lease", new.renewals.clone());
        registry.register("write_errors", "Writes that failed", new.write_errors.clone());
        Self { registry, ..new }
    }
}

impl Metrics {
    /// Everything in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        _ = encode(&mut text, &self.registry);
        text
    }

    /// What a look brought, and the status that followed.
    pub fn looked(&self, facts: &Facts, status: &GpuNodeStatus) {
        self.looks.inc();
        self.driver.set(i64::from(status.driver.is_some()));
        for failure in &facts.failures {
            self.failures.get_or_create(&[("call", failure.call)]).inc();
        }
        let labels = |device: &GpuDevice| [("uuid", device.uuid.clone()), ("product", device.product.clone())];
        let peak = |device| self.memory_peak.get(&labels(device)).map_or(0.0, |bytes| bytes.get());
        let peaks: Vec<f64> = status.devices.iter().map(peak).collect();
        // Of a device that is no longer there nothing must stay.
        self.readings().into_iter().for_each(Readings::clear);
        self.counts().into_iter().for_each(Counts::clear);
        for (device, peak) in status.devices.iter().zip(peaks) {
            let labels = labels(device);
            let set = |family: &Readings, value: Option<f64>| {
                if let Some(value) = value {
                    family.get_or_create(&labels).set(value);
                }
            };
            set(&self.memory, Some(device.memory as f64));
            set(&self.healthy, Some(f64::from(device.healthy)));
            set(&self.allocated, Some(f64::from(device.allocated)).filter(|_| !status.allocation_unknown));
            let is_this = |seen: &&Device| match &seen.uuid {
                Some(uuid) => *uuid == device.uuid,
                None => seen.pci.as_ref() == Some(&device.pci),
            };
            let Some(seen) = facts.devices.iter().flatten().find(is_this) else { continue };
            set(&self.utilization, seen.readings.utilization.map(|percent| f64::from(percent) / 100.0));
            let used = seen.readings.memory_used.map(|bytes| bytes as f64);
            set(&self.memory_used, used);
            let held = device.allocated || device.instances.iter().any(|instance| instance.allocated);
            set(&self.memory_peak, used.into_iter().chain(held.then_some(peak)).reduce(f64::max));
            set(&self.temperature, seen.readings.temperature.map(f64::from));
            set(&self.power, seen.readings.power.map(|milliwatts| f64::from(milliwatts) / 1000.0));
            let [uuid, product] = labels;
            let count = |family: &Counts, label: (&'static str, &str), value: Option<u64>| {
                if let Some(value) = value {
                    let labels = [uuid.clone(), product.clone(), (label.0, label.1.to_owned())];
                    family.get_or_create(&labels).set(value as f64);
                }
            };
            let ecc = Errors { corrected: seen.readings.ecc_corrected, uncorrected: seen.faults.ecc_uncorrected };
            let (remapped, retired) = (seen.readings.remapped_rows, seen.readings.retired_pages);
            for (family, errors) in [(&self.ecc, ecc), (&self.remapped, remapped), (&self.retired, retired)] {
                count(family, ("kind", "corrected"), errors.corrected);
                count(family, ("kind", "uncorrected"), errors.uncorrected);
            }
            for (reason, name) in THROTTLES {
                let is_one = |bits: u64| u64::from(bits & reason.bits() != 0);
                count(&self.throttled, ("reason", name), seen.readings.throttle.map(is_one));
            }
        }
    }

    /// An XID of a device.
    pub fn xid(&self, uuid: String, product: String, number: u64) {
        let number = if xid::entry(number).is_some() { number.to_string() } else { "other".to_owned() };
        self.xids.get_or_create(&[("uuid", uuid), ("product", product), ("xid", number)]).inc();
    }

    fn counts(&self) -> [&Counts; 4] {
        [&self.ecc, &self.remapped, &self.retired, &self.throttled]
    }

    fn readings(&self) -> [&Readings; 8] {
        [
            &self.utilization,
            &self.memory_used,
            &self.memory_peak,
            &self.memory,
            &self.temperature,
            &self.power,
            &self.healthy,
            &self.allocated,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Faults, Readings as Seen};

    /// The value of the one line of a metric with these labels, beside those of the device.
    fn value(text: &str, name: &str, more: &str) -> Option<f64> {
        let head = format!("realsyn_gpu_{name}{{uuid=\"GPU-1\",product=\"A100\"{more}}} ");
        text.lines().find_map(|line| line.strip_prefix(&head)).map(|value| value.parse().unwrap())
    }

    #[test]
    fn readings_have_units_and_xids_a_number_of_the_table() {
        let metrics = Metrics::default();
        let seen = Device {
            uuid: Some("GPU-1".into()),
            readings: Seen { utilization: Some(87), power: Some(312_500), throttle: Some(5), ..Seen::default() },
            faults: Faults { ecc_uncorrected: Some(3), ..Faults::default() },
            ..Device::default()
        };
        let device = GpuDevice { uuid: "GPU-1".into(), product: "A100".into(), ..GpuDevice::default() };
        let facts = Facts { devices: Some(vec![seen]), ..Facts::default() };
        metrics.looked(&facts, &GpuNodeStatus { devices: vec![device], ..GpuNodeStatus::default() });
        for number in [79, 79, 4242] {
            metrics.xid("GPU-1".into(), "A100".into(), number);
        }
        let text = metrics.text();
        for (name, more, expected) in [
            ("utilization_ratios", "", 0.87),
            ("power_watts", "", 312.5),
            ("throttled", ",reason=\"power-cap\"", 1.0),
            ("throttled", ",reason=\"hw-thermal\"", 0.0),
            ("ecc_errors", ",kind=\"uncorrected\"", 3.0),
            ("healthy", "", 0.0),
            ("xids_total", ",xid=\"79\"", 2.0),
            ("xids_total", ",xid=\"other\"", 1.0),
        ] {
            assert_eq!(value(&text, name, more), Some(expected), "{name}: {text}");
        }
        // What has gone is shown no more, but what happened to it has happened.
        metrics.looked(&Facts::default(), &GpuNodeStatus::default());
        let text = metrics.text();
        assert_eq!((value(&text, "power_watts", ""), value(&text, "xids_total", ",xid=\"79\"")), (None, Some(2.0)));
        assert!(!text.contains("realsyn_gpu_ecc_errors{") && !text.contains("realsyn_gpu_throttled{"), "{text}");
    }

    #[test]
    fn the_peak_of_memory_is_that_of_who_holds_it() {
        let metrics = Metrics::default();
        let peak = |used: Option<u64>, allocated: bool| {
            let readings = Seen { memory_used: used, ..Seen::default() };
            let seen = Device { uuid: Some("GPU-1".into()), readings, ..Device::default() };
            let device = GpuDevice { uuid: "GPU-1".into(), product: "A100".into(), allocated, ..GpuDevice::default() };
            let facts = Facts { devices: Some(vec![seen]), ..Facts::default() };
            metrics.looked(&facts, &GpuNodeStatus { devices: vec![device], ..GpuNodeStatus::default() });
            let text = metrics.text();
            let line = text.lines().find(|line| line.starts_with("realsyn_gpu_memory_peak_bytes{"));
            line.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        };
        let looks = [(None, false), (Some(1), false), (Some(9), true), (Some(5), true), (None, true), (Some(2), false)];
        let told = looks.map(|(used, allocated)| peak(used, allocated));
        assert_eq!(told, [None, Some(1.0), Some(9.0), Some(9.0), Some(9.0), Some(2.0)]);
    }
}
