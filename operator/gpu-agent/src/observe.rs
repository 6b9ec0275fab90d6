//! One look at the driver through NVML. Whatever a call says, the look goes on; what cannot be read is absent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id;
use nvml_wrapper::{EventSet, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use crate::facts::{Device, Driver, Errors, Facts, Failure, FarEnd, Faults, Instance, Readings, Recovery, Trouble};
use crate::mig;
use crate::reader::Progress;

/// NVLinks are read every so many looks: there are up to eighteen a device, and they hardly change.
const LINKS_EVERY: u64 = 4;
/// More links than any device has; the driver refuses the first that is not there.
const MAX_LINKS: u32 = 36;
/// More events of one device than happen between two orders, so that a driver that always has one more is left.
const MAX_EVENTS: usize = 64;
const NVIDIA: u32 = 0x10de;
const FIELD_GPU_RECOVERY_ACTION: u32 = field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;

/// A load of the driver.
pub struct Loaded {
    /// Counts the loads that this process has seen.
    pub number: u64,
    /// The version that answered.
    pub version: Option<String>,
}

/// An initialised library, and what is remembered of it between looks.
pub struct Session<'nvml> {
    nvml: &'nvml Nvml,
    loaded: Loaded,
    looks: u64,
    // One set for each device, by its index, with its UUID: of a set in which one device could not be registered NVML says that
    // nothing may be relied on.
    events: BTreeMap<u32, (Option<String>, EventSet<'nvml>)>,
}

impl<'nvml> Session<'nvml> {
    /// A session of a library that was just initialised.
    pub fn new(nvml: &'nvml Nvml, loaded: Loaded) -> Self {
        Self { nvml, loaded, looks: 0, events: BTreeMap::new() }
    }

    /// The XIDs since the last call: index of the device, and number.
    pub fn events(&mut self, progress: &Progress) -> Vec<(u32, u64)> {
        let mut xids = Vec::new();
        self.events.retain(|&index, (_, set)| {
            for _ in 0..MAX_EVENTS {
                match progress.during("nvmlEventSetWait_v2", || set.wait(1)) {
                    Ok(event) => match event.event_data {
                        Some(XidError::Value(number)) => xids.push((index, number)),
                        Some(XidError::Unknown) => tracing::warn!(index, "an XID that the driver does not name"),
                        None => {}
                    },
                    Err(NvmlError::Timeout) => return true,
                    Err(error) => {
                        // The next look registers the device again.
                        tracing::debug!(index, %error, "nvmlEventSetWait_v2");
                        return false;
                    }
                }
            }
            true
        });
        xids
    }
}

/// Whether a code says that there is no driver behind the library any more.
pub fn is_gone(error: &NvmlError) -> bool {
    use NvmlError::{DriverNotLoaded, LibRmVersionMismatch, LibraryNotFound, Uninitialized};
    matches!(error, Uninitialized | DriverNotLoaded | LibraryNotFound | LibRmVersionMismatch)
}

/// The driver's version.
pub fn version(nvml: &Nvml, progress: &Progress) -> Option<String> {
    progress.during("nvmlSystemGetDriverVersion", || nvml.sys_driver_version()).ok()
}

/// Looks at everything. The error is that of a call about the driver as a whole, after which the library is to be loaded anew.
pub fn look(session: &mut Session<'_>, sysfs: &Path, progress: &Progress) -> (Facts, Option<NvmlError>) {
    let mut calls = Calls { progress, device: None, failures: Vec::new(), trouble: None };
    let nvml = session.nvml;
    let cuda = calls.get("nvmlSystemGetCudaDriverVersion_v2", || nvml.sys_cuda_driver_version());
    let cuda = cuda.map(|v| format!("{}.{}", cuda_driver_version_major(v), cuda_driver_version_minor(v)));
    if session.loaded.version.is_none() {
        session.loaded.version = calls.get("nvmlSystemGetDriverVersion", || nvml.sys_driver_version());
    }
    let driver = Driver::Present { load: session.loaded.number, version: session.loaded.version.clone(), cuda };
    let count = match progress.during("nvmlDeviceGetCount_v2", || nvml.device_count()) {
        Ok(count) => count,
        Err(error) => {
            let call = "nvmlDeviceGetCount_v2";
            let trouble = Some(format!("{call}: {error}"));
            calls.failures.push(Failure { call, device: None, error: error.to_string() });
            return (Facts { driver, devices: None, trouble, failures: calls.failures }, Some(error));
        }
    };
    let with_links = session.looks.is_multiple_of(LINKS_EVERY);
    session.looks += 1;
    let mut devices = Vec::new();
    for index in 0..count {
        (calls.device, calls.trouble) = (Some(index), None);
        devices.push(device(session, index, with_links, sysfs, &mut calls));
    }
    (Facts { driver, devices: Some(devices), trouble: None, failures: calls.failures }, None)
}

fn device(session: &mut Session<'_>, index: u32, with_links: bool, sysfs: &Path, calls: &mut Calls<'_>) -> Device {
    let nvml = session.nvml;
    let handle = match calls.progress.during("nvmlDeviceGetHandleByIndex_v2", || nvml.device_by_index(index)) {
        Ok(handle) => handle,
        Err(error) => {
            calls.failed("nvmlDeviceGetHandleByIndex_v2", &error);
            let trouble = calls.trouble.take().unwrap_or_else(|| Trouble::Unreadable(error.to_string()));
            return Device { index, trouble: Some(trouble), ..Device::default() };
        }
    };
    let pci = calls.get("nvmlDeviceGetPciInfo_v3", || handle.pci_info()).map(|pci| address(&pci.bus_id));
    let memory = calls.get("nvmlDeviceGetMemoryInfo_v2", || handle.memory_info());
    let memory_size = memory.as_ref().map(|memory| memory.total);
    let mode = calls.get("nvmlDeviceGetMigMode", || handle.mig_mode()).map(|mode| mode.current == 1);
    let fields = Fields::read(&handle, calls);
    let reasons = calls.get("nvmlDeviceGetCurrentClocksThrottleReasons", || handle.current_throttle_reasons());
    let device = Device {
        index,
        uuid: calls.get("nvmlDeviceGetUUID", || handle.uuid()),
        name: calls.get("nvmlDeviceGetName", || handle.name()),
        compute: calls
            .get("nvmlDeviceGetCudaComputeCapability", || handle.cuda_compute_capability())
            .map(|compute| format!("{}.{}", compute.major, compute.minor)),
        numa: pci.as_deref().and_then(|pci| numa(sysfs, pci)),
        memory: memory_size,
        mig: mode,
        instances: if mode == Some(true) { instances(&handle, memory_size, calls) } else { None },
        links: if with_links { links(&handle, calls) } else { None },
        faults: faults(&handle, &fields, reasons, calls),
        readings: Readings {
            utilization: calls.get("nvmlDeviceGetUtilizationRates", || handle.utilization_rates()).map(|u| u.gpu),
            memory_used: memory.map(|memory| memory.used),
            temperature: calls.get("nvmlDeviceGetTemperature", || handle.temperature(TemperatureSensor::Gpu)),
            power: calls.get("nvmlDeviceGetPowerUsage", || handle.power_usage()),
            throttle: reasons.map(|reasons| reasons.bits()),
            ecc_corrected: ecc(&handle, MemoryError::Corrected, calls),
            remapped_rows: fields.errors(field_id::NVML_FI_DEV_REMAPPED_COR, field_id::NVML_FI_DEV_REMAPPED_UNC),
            retired_pages: fields.errors(field_id::NVML_FI_DEV_RETIRED_SBE, field_id::NVML_FI_DEV_RETIRED_DBE),
        },
        pci,
        trouble: None,
    };
    // An index that is another device's by now has the events of the one before.
    session.events.retain(|&at, (uuid, _)| at != index || device.uuid.is_none() || *uuid == device.uuid);
    if !session.events.contains_key(&index) && calls.trouble.is_none() {
        let set = calls.get("nvmlEventSetCreate", || nvml.create_event_set());
        let only = EventTypes::CRITICAL_XID_ERROR;
        let register = |set| handle.register_events(only, set).map_err(|error| error.error);
        let set = set.and_then(|set| calls.get("nvmlDeviceRegisterEvents", || register(set)));
        session.events.extend(set.map(|set| (index, (device.uuid.clone(), set))));
    }
    Device { trouble: calls.trouble.take(), ..device }
}

fn faults(
    handle: &nvml_wrapper::Device<'_>,
    fields: &Fields,
    reasons: Option<ThrottleReasons>,
    calls: &mut Calls<'_>,
) -> Faults {
    let pending = fields.number(field_id::NVML_FI_DEV_REMAPPED_PENDING).map(|pending| pending != 0);
    Faults {
        ecc_uncorrected: ecc(handle, MemoryError::Uncorrected, calls),
        // Ampere and later remap rows; who remaps none may still retire pages.
        remap_pending: pending
            .or_else(|| calls.get("nvmlDeviceGetRetiredPagesPendingStatus", || handle.are_pages_pending_retired())),
        remap_failed: fields.number(field_id::NVML_FI_DEV_REMAPPED_FAILURE).map(|failed| failed != 0),
        recovery: fields.number(FIELD_GPU_RECOVERY_ACTION).map(|action| match action {
            0 => Recovery::Nothing,
            2 => Recovery::Reboot,
            3 => Recovery::DrainPeers,
            _ => Recovery::Reset,
        }),
        hot: reasons.map(|reasons| reasons.contains(ThrottleReasons::HW_THERMAL_SLOWDOWN)),
    }
}

fn ecc(handle: &nvml_wrapper::Device<'_>, kind: MemoryError, calls: &mut Calls<'_>) -> Option<u64> {
    calls.get("nvmlDeviceGetTotalEccErrors", || handle.total_ecc_errors(kind, EccCounter::Volatile))
}

/// What is read in one call.
struct Fields(BTreeMap<u32, u64>);

impl Fields {
    const ALL: [u32; 7] = [
        field_id::NVML_FI_DEV_REMAPPED_COR,
        field_id::NVML_FI_DEV_REMAPPED_UNC,
        field_id::NVML_FI_DEV_REMAPPED_PENDING,
        field_id::NVML_FI_DEV_REMAPPED_FAILURE,
        field_id::NVML_FI_DEV_RETIRED_SBE,
        field_id::NVML_FI_DEV_RETIRED_DBE,
        FIELD_GPU_RECOVERY_ACTION,
    ];

    fn read(handle: &nvml_wrapper::Device<'_>, calls: &mut Calls<'_>) -> Self {
        let values = calls.get("nvmlDeviceGetFieldValues", || handle.field_values_for(&Self::ALL.map(FieldId)));
        let values = Self::ALL.into_iter().zip(values.unwrap_or_default());
        Self(values.filter_map(|(field, value)| Some((field, number(value)?))).collect())
    }

    fn number(&self, field: u32) -> Option<u64> {
        self.0.get(&field).copied()
    }

    fn errors(&self, corrected: u32, uncorrected: u32) -> Errors {
        Errors { corrected: self.number(corrected), uncorrected: self.number(uncorrected) }
    }
}

fn number(value: Result<nvml_wrapper::struct_wrappers::device::FieldValueSample, NvmlError>) -> Option<u64> {
    match value.ok()?.value.ok()? {
        SampleValue::U32(value) => Some(value.into()),
        SampleValue::U64(value) => Some(value),
        SampleValue::I64(value) => u64::try_from(value).ok(),
        SampleValue::F64(_) => None,
    }
}

fn instances(handle: &nvml_wrapper::Device<'_>, memory: Option<u64>, calls: &mut Calls<'_>) -> Option<Vec<Instance>> {
    let count = calls.get("nvmlDeviceGetMaxMigDeviceCount", || handle.mig_device_count())?;
    let mut instances = Vec::new();
    for index in 0..count {
        let call = "nvmlDeviceGetMigDeviceHandleByIndex";
        let instance = match calls.progress.during(call, || handle.mig_device_by_index(index)) {
            Ok(instance) => instance,
            // There may be fewer than the most that fit.
            Err(NvmlError::NotFound | NvmlError::InvalidArg) => continue,
            Err(error) => {
                calls.failed(call, &error);
                return None;
            }
        };
        let attributes = calls.get("nvmlDeviceGetAttributes_v2", || instance.attributes());
        let size = attributes.as_ref().map(|a| a.memory_size_mb << 20);
        let bytes = calls.get("nvmlDeviceGetMemoryInfo_v2", || instance.memory_info()).map(|memory| memory.total);
        let name = calls.get("nvmlDeviceGetName", || instance.name());
        let by_size = || {
            let a = attributes.as_ref()?;
            mig::profile_of_size(a.gpu_instance_slice_count, a.compute_instance_slice_count, size?, memory?)
        };
        let uuid = calls.get("nvmlDeviceGetUUID", || instance.uuid());
        let profile = name.as_deref().and_then(mig::profile_of_name).or_else(by_size);
        let (Some(uuid), Some(profile)) = (uuid, profile) else { return None };
        instances.push(Instance { uuid, profile, memory: bytes.or(size).unwrap_or(0) });
    }
    Some(instances)
}

fn links(handle: &nvml_wrapper::Device<'_>, calls: &mut Calls<'_>) -> Option<Vec<FarEnd>> {
    let mut ends = Vec::new();
    for index in 0..MAX_LINKS {
        let link = handle.link_wrapper_for(index);
        let active = match calls.progress.during("nvmlDeviceGetNvLinkState", || link.is_active()) {
            Ok(active) => active,
            // A device without NVLink, or the end of its links.
            Err(NvmlError::NotSupported | NvmlError::InvalidArg) => break,
            Err(error) => {
                calls.failed("nvmlDeviceGetNvLinkState", &error);
                return None;
            }
        };
        if !active {
            continue;
        }
        match calls.progress.during("nvmlDeviceGetNvLinkRemotePciInfo_v2", || link.remote_pci_info()) {
            // Vendor 0 is what a switch shows in a virtual machine; others are processors.
            Ok(far) if matches!(far.pci_device_id & 0xffff, NVIDIA | 0) => ends.push(FarEnd::At(address(&far.bus_id))),
            Ok(_) => {}
            // From Blackwell on all links end in switches, and no address is told.
            Err(NvmlError::NotSupported) => ends.push(FarEnd::Switch),
            Err(error) => {
                calls.failed("nvmlDeviceGetNvLinkRemotePciInfo_v2", &error);
                return None;
            }
        }
    }
    ends.sort_unstable();
    ends.dedup();
    Some(ends)
}

/// `00000000:3B:00.0` as the kernel writes it, `0000:3b:00.0`.
fn address(nvml: &str) -> String {
    let address = nvml.to_lowercase();
    match address.split_once(':') {
        Some((domain, rest)) if domain.len() == 8 => {
            format!("{}:{rest}", domain.strip_prefix("0000").unwrap_or(domain))
        }
        _ => address,
    }
}

/// The NUMA node, where the kernel knows one.
fn numa(sysfs: &Path, pci: &str) -> Option<u32> {
    // The address comes from the driver and becomes part of a path.
    let is_address = pci.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.') && !pci.contains("..");
    let path = sysfs.join("bus/pci/devices").join(Some(pci).filter(|_| is_address)?).join("numa_node");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Calls about one device, or about the driver.
struct Calls<'a> {
    progress: &'a Progress,
    device: Option<u32>,
    failures: Vec<Failure>,
    trouble: Option<Trouble>,
}

impl Calls<'_> {
    fn get<T>(&mut self, call: &'static str, run: impl FnOnce() -> Result<T, NvmlError>) -> Option<T> {
        self.progress.during(call, run).map_err(|error| self.failed(call, &error)).ok()
    }

    fn failed(&mut self, call: &'static str, error: &NvmlError) {
        match error {
            // What a device or an old library does not have.
            NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) => return,
            NvmlError::GpuLost => self.trouble = Some(Trouble::Lost),
            NvmlError::ResetRequired if self.trouble.is_none() => self.trouble = Some(Trouble::ResetRequired),
            _ => {}
        }
        self.failures.push(Failure { call, device: self.device, error: error.to_string() });
    }
}
