//! The symbols of NVML that the agent calls, with the shapes of NVIDIA's `nvml.h` (ABI of R470 and later).
//!
//! SAFETY, for all of them: the caller is a program written against `nvml.h`, which says that every pointer argument points to
//! memory that the call may write, of the length that is given with it. Nothing else is dereferenced.

#![allow(unsafe_code, non_snake_case)]
#![allow(clippy::missing_safety_doc)]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

use crate::scenario::Link;
use crate::state::{EventSet, Handle, Locked, State, code};

type Address = usize;
type Outcome = Result<(), c_int>;

const NAME_BUFFER: usize = 96;
const MAX_LINKS: u32 = 18;
const XID_CRITICAL_ERROR: c_ulonglong = 8;
const UNCORRECTED: c_uint = 1;

macro_rules! exports {
    ($($(#[$about:meta])* fn $name:ident($($arg:ident: $type:ty),*) handle $handle:expr; |$state:ident| $body:expr)*) => {
        /// Every call that the stand-in knows.
        pub const CALLS: &[&str] = &[$(stringify!($name)),*];

        $(
            $(#[$about])*
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> c_int {
                let handle: Option<Address> = $handle;
                let call = |#[allow(unused_mut)] mut $state: Locked| -> Outcome { $body };
                State::enter(stringify!($name), handle).and_then(call).err().unwrap_or(code::SUCCESS)
            }
        )*
    };
}

exports! {
    /// `nvmlInit_v2`.
    fn nvmlInit_v2() handle None; |state| {
        state.load = Some(state.scenario.driver.load);
        Ok(())
    }
    /// `nvmlShutdown`.
    fn nvmlShutdown() handle None; |state| {
        state.load = None;
        state.sets.clear();
        Ok(())
    }
    /// `nvmlSystemGetDriverVersion`.
    fn nvmlSystemGetDriverVersion(text: *mut c_char, length: c_uint) handle None; |state| {
        put(text, length as usize, &state.scenario.driver.version)
    }
    /// `nvmlSystemGetCudaDriverVersion_v2`.
    fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) handle None; |state| {
        set(version, state.scenario.driver.cuda)
    }
    /// `nvmlDeviceGetCount_v2`.
    fn nvmlDeviceGetCount_v2(count: *mut c_uint) handle None; |state| {
        set(count, state.scenario.devices.len() as c_uint)
    }
    /// `nvmlDeviceGetHandleByIndex_v2`.
    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut Address)
        handle Some(Handle { device: index as usize, instance: None }.to_address()); |_state| {
        set(device, Handle { device: index as usize, instance: None }.to_address())
    }
    /// `nvmlDeviceGetUUID`.
    fn nvmlDeviceGetUUID(device: Address, text: *mut c_char, length: c_uint) handle Some(device); |state| {
        let handle = Handle::from_address(device).ok_or(code::INVALID_ARGUMENT)?;
        let uuid = match state.instance(handle)? {
            Some(instance) => &instance.uuid,
            None => &state.device(handle)?.uuid,
        };
        put(text, length as usize, uuid)
    }
    /// `nvmlDeviceGetPciInfo_v3`.
    fn nvmlDeviceGetPciInfo_v3(device: Address, pci: *mut PciInfo) handle Some(device); |state| {
        set(pci, PciInfo::of(&whole(&state, device)?.pci, crate::inventory::NVIDIA))
    }
    /// `nvmlDeviceGetName`.
    fn nvmlDeviceGetName(device: Address, text: *mut c_char, length: c_uint) handle Some(device); |state| {
        let handle = Handle::from_address(device).ok_or(code::INVALID_ARGUMENT)?;
        let name = &state.device(handle)?.name;
        let name = match state.instance(handle)? {
            Some(instance) => format!("{name} MIG {}", instance.profile),
            None => name.clone(),
        };
        put(text, (length as usize).min(NAME_BUFFER), &name)
    }
    /// `nvmlDeviceGetMemoryInfo_v2`.
    fn nvmlDeviceGetMemoryInfo_v2(device: Address, memory: *mut Memory) handle Some(device); |state| {
        let handle = Handle::from_address(device).ok_or(code::INVALID_ARGUMENT)?;
        let whole = state.device(handle)?;
        let (total, used) = state.instance(handle)?.map_or((whole.memory, whole.used), |i| (i.memory, 0));
        // SAFETY: as above; the version is the caller's and stays.
        unsafe {
            ((*memory).total, (*memory).reserved, (*memory).used, (*memory).free) = (total, 0, used, total - used);
        }
        Ok(())
    }
    /// `nvmlDeviceGetCudaComputeCapability`.
    fn nvmlDeviceGetCudaComputeCapability(device: Address, major: *mut c_int, minor: *mut c_int)
        handle Some(device); |state| {
        let compute = whole(&state, device)?.compute;
        set(major, compute.0)?;
        set(minor, compute.1)
    }
    /// `nvmlDeviceGetMigMode`.
    fn nvmlDeviceGetMigMode(device: Address, current: *mut c_uint, pending: *mut c_uint) handle Some(device); |state| {
        let mode = c_uint::from(whole(&state, device)?.mig.ok_or(code::NOT_SUPPORTED)?);
        set(current, mode)?;
        set(pending, mode)
    }
    /// `nvmlDeviceGetMaxMigDeviceCount`.
    fn nvmlDeviceGetMaxMigDeviceCount(device: Address, count: *mut c_uint) handle Some(device); |state| {
        set(count, whole(&state, device)?.mig.map_or(0, |_| 7))
    }
    /// `nvmlDeviceGetMigDeviceHandleByIndex`.
    fn nvmlDeviceGetMigDeviceHandleByIndex(device: Address, index: c_uint, instance: *mut Address)
        handle Some(device); |state| {
        let mut handle = Handle::from_address(device).ok_or(code::INVALID_ARGUMENT)?;
        handle.instance = Some(index as usize);
        state.instance(handle).map_err(|_| code::NOT_FOUND)?;
        set(instance, handle.to_address())
    }
    /// `nvmlDeviceGetAttributes_v2`.
    fn nvmlDeviceGetAttributes_v2(device: Address, attributes: *mut Attributes) handle Some(device); |state| {
        let handle = Handle::from_address(device).ok_or(code::INVALID_ARGUMENT)?;
        let instance = state.instance(handle)?.ok_or(code::INVALID_ARGUMENT)?;
        let mut shown = Attributes { gpu_slices: instance.slices, ..Attributes::default() };
        (shown.compute_slices, shown.memory_mb) = (instance.slices, instance.memory >> 20);
        set(attributes, shown)
    }
    /// `nvmlDeviceGetNvLinkState`.
    fn nvmlDeviceGetNvLinkState(device: Address, link: c_uint, up: *mut c_uint) handle Some(device); |state| {
        let links = &whole(&state, device)?.links;
        match (links.is_empty(), link < MAX_LINKS) {
            (true, _) => Err(code::NOT_SUPPORTED),
            (_, false) => Err(code::INVALID_ARGUMENT),
            _ => set(up, c_uint::from((link as usize) < links.len())),
        }
    }
    /// `nvmlDeviceGetNvLinkRemotePciInfo_v2`.
    fn nvmlDeviceGetNvLinkRemotePciInfo_v2(device: Address, link: c_uint, pci: *mut PciInfo) handle Some(device); |state| {
        let Link { remote, vendor } = whole(&state, device)?.links.get(link as usize).ok_or(code::NOT_SUPPORTED)?;
        set(pci, PciInfo::of(remote, *vendor))
    }
    /// `nvmlDeviceGetTotalEccErrors`: the volatile counters.
    fn nvmlDeviceGetTotalEccErrors(device: Address, kind: c_uint, _counter: c_uint, count: *mut c_ulonglong)
        handle Some(device); |state| {
        let device = whole(&state, device)?;
        let uncorrected = device.ecc_uncorrected.ok_or(code::NOT_SUPPORTED)?;
        set(count, if kind == UNCORRECTED { uncorrected } else { device.ecc_corrected })
    }
    /// `nvmlDeviceGetFieldValues`: pages retired for single-bit (29) and double-bit errors (30), rows remapped for corrected (142)
    /// and uncorrected errors (143), pending (144), failed (145), recovery action (230).
    fn nvmlDeviceGetFieldValues(device: Address, count: c_int, values: *mut FieldValue) handle Some(device); |state| {
        let device = whole(&state, device)?;
        // SAFETY: as above; `values` has `count` entries.
        let values = unsafe { std::slice::from_raw_parts_mut(values, usize::try_from(count).unwrap_or(0)) };
        for value in values {
            let answer = match (value.field, device.remapped_rows) {
                (29, _) => device.retired_pages.map(|(single, _)| single),
                (30, _) => device.retired_pages.map(|(_, double)| double),
                (142, Some(_)) => Some(device.remapped_corrected),
                (143, Some((rows, _, _))) => Some(rows),
                (144, Some((_, pending, _))) => Some(u32::from(pending)),
                (145, Some((_, _, failed))) => Some(u32::from(failed)),
                (230, _) => device.recovery_action,
                _ => None,
            };
            (value.kind, value.value) = (1, answer.unwrap_or_default().into());
            value.outcome = if answer.is_some() { code::SUCCESS } else { code::NOT_SUPPORTED };
        }
        Ok(())
    }
    /// `nvmlDeviceGetRetiredPagesPendingStatus`.
    fn nvmlDeviceGetRetiredPagesPendingStatus(device: Address, pending: *mut c_uint) handle Some(device); |state| {
        set(pending, whole(&state, device)?.pages_pending.ok_or(code::NOT_SUPPORTED)?.into())
    }
    /// `nvmlDeviceGetCurrentClocksThrottleReasons`.
    fn nvmlDeviceGetCurrentClocksThrottleReasons(device: Address, reasons: *mut c_ulonglong) handle Some(device); |state| {
        set(reasons, whole(&state, device)?.throttle)
    }
    /// `nvmlDeviceGetPowerUsage`.
    fn nvmlDeviceGetPowerUsage(device: Address, milliwatts: *mut c_uint) handle Some(device); |state| {
        set(milliwatts, whole(&state, device)?.power.ok_or(code::NOT_SUPPORTED)?)
    }
    /// `nvmlDeviceGetTemperature`.
    fn nvmlDeviceGetTemperature(device: Address, _sensor: c_uint, degrees: *mut c_uint) handle Some(device); |state| {
        set(degrees, whole(&state, device)?.temperature.ok_or(code::NOT_SUPPORTED)?)
    }
    /// `nvmlDeviceGetUtilizationRates`.
    fn nvmlDeviceGetUtilizationRates(device: Address, rates: *mut [c_uint; 2]) handle Some(device); |state| {
        let device = whole(&state, device)?;
        set(rates, [device.utilization.ok_or(code::NOT_SUPPORTED)?, 0])
    }
    /// `nvmlEventSetCreate`.
    fn nvmlEventSetCreate(events: *mut Address) handle None; |state| {
        state.last_set += 1;
        let address = state.last_set;
        state.sets.insert(address, EventSet::default());
        set(events, address)
    }
    /// `nvmlDeviceRegisterEvents`.
    fn nvmlDeviceRegisterEvents(device: Address, _types: c_ulonglong, events: Address) handle Some(device); |state| {
        let handle = Handle::from_address(device).ok_or(code::INVALID_ARGUMENT)?;
        let seen = state.scenario.xids.len();
        let registered = &mut state.sets.get_mut(&events).ok_or(code::INVALID_ARGUMENT)?.devices;
        registered.insert(handle.device, seen);
        Ok(())
    }
    /// `nvmlEventSetWait_v2`: never waits, so that tests don't either.
    fn nvmlEventSetWait_v2(events: Address, event: *mut Event, _milliseconds: c_uint) handle None; |state| {
        let state = &mut *state;
        let registered = &mut state.sets.get_mut(&events).ok_or(code::INVALID_ARGUMENT)?.devices;
        for (&device, seen) in registered {
            let news = state.scenario.xids.iter().enumerate().skip(*seen).find(|(_, xid)| xid.device == device);
            if let Some((position, xid)) = news {
                *seen = position + 1;
                let device = Handle { device, instance: None }.to_address();
                return set(event, Event { device, kinds: XID_CRITICAL_ERROR, data: xid.code, instances: [u32::MAX; 2] });
            }
        }
        Err(code::TIMEOUT)
    }
    /// `nvmlEventSetFree`.
    fn nvmlEventSetFree(events: Address) handle None; |state| {
        state.sets.remove(&events);
        Ok(())
    }
}

/// The device of a handle that is no instance's.
fn whole(state: &State, address: Address) -> Result<&crate::scenario::Device, c_int> {
    let handle = Handle::from_address(address).filter(|handle| handle.instance.is_none());
    state.device(handle.ok_or(code::INVALID_ARGUMENT)?)
}

fn set<T>(place: *mut T, value: T) -> Outcome {
    // SAFETY: as above.
    unsafe { place.write(value) };
    Ok(())
}

fn put(place: *mut c_char, length: usize, text: &str) -> Outcome {
    let bytes = text.bytes().take(length.saturating_sub(1)).chain([0]);
    for (index, byte) in bytes.enumerate() {
        // SAFETY: as above; `index` stays below `length`.
        unsafe { place.add(index).write(byte as c_char) };
    }
    Ok(())
}

/// `nvmlPciInfo_t`.
#[repr(C)]
pub struct PciInfo {
    legacy: [c_char; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    ids: c_uint,
    subsystem: c_uint,
    address: [c_char; 32],
}

impl PciInfo {
    fn of(address: &str, vendor: u16) -> Self {
        let number = |range: std::ops::Range<usize>| {
            address.get(range).and_then(|digits| c_uint::from_str_radix(digits, 16).ok()).unwrap_or(0)
        };
        let (domain, bus, device) = (number(0..8), number(9..11), number(12..14));
        let ids = 0x20b2_0000 | c_uint::from(vendor);
        let mut info = Self { legacy: [0; 16], domain, bus, device, ids, subsystem: 0, address: [0; 32] };
        for (place, byte) in info.address.iter_mut().zip(address.bytes().take(31)) {
            *place = byte as c_char;
        }
        info
    }
}

/// `nvmlMemory_v2_t`.
#[repr(C)]
pub struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

/// `nvmlDeviceAttributes_t`.
#[repr(C)]
#[derive(Default)]
pub struct Attributes {
    multiprocessors: c_uint,
    shared: [c_uint; 5],
    gpu_slices: c_uint,
    compute_slices: c_uint,
    memory_mb: c_ulonglong,
}

/// `nvmlFieldValue_t`.
#[repr(C)]
pub struct FieldValue {
    field: c_uint,
    scope: c_uint,
    timestamp: i64,
    latency: i64,
    kind: c_uint,
    outcome: c_int,
    value: c_ulonglong,
}

/// `nvmlEventData_t`.
#[repr(C)]
pub struct Event {
    device: Address,
    kinds: c_ulonglong,
    data: c_ulonglong,
    instances: [c_uint; 2],
}
