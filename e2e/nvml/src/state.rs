//! What the library remembers between calls.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs, thread};

use crate::scenario::{Device, Instance, Scenario};

/// NVML's codes that the library gives by itself.
pub mod code {
    /// The call worked.
    pub const SUCCESS: i32 = 0;
    /// `nvmlInit` was not called, or another driver has been loaded since.
    pub const UNINITIALIZED: i32 = 1;
    /// An index or handle that does not exist.
    pub const INVALID_ARGUMENT: i32 = 2;
    /// The device cannot do this.
    pub const NOT_SUPPORTED: i32 = 3;
    /// Nothing there.
    pub const NOT_FOUND: i32 = 6;
    /// No driver.
    pub const DRIVER_NOT_LOADED: i32 = 9;
    /// Nothing happened in time.
    pub const TIMEOUT: i32 = 10;
    /// The device fell off the bus.
    pub const GPU_IS_LOST: i32 = 15;
}

/// A device, or one of its instances, as its handle says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The device's index.
    pub device: usize,
    /// The instance's index.
    pub instance: Option<usize>,
}

impl Handle {
    /// The pointer that stands for it; never null.
    pub fn to_address(self) -> usize {
        (self.device + 1) << 8 | self.instance.map_or(0, |instance| instance + 1)
    }

    /// What a pointer stands for.
    pub fn from_address(address: usize) -> Option<Self> {
        Some(Self { device: (address >> 8).checked_sub(1)?, instance: (address & 0xff).checked_sub(1) })
    }
}

/// An event set: its devices, and the next XID of each.
#[derive(Default)]
pub struct EventSet {
    /// Device and the number of XIDs that are no news to it.
    pub devices: BTreeMap<usize, usize>,
}

/// The library's memory.
pub struct State {
    path: PathBuf,
    stamp: Option<(u64, i64, u64)>,
    /// What the file says.
    pub scenario: Scenario,
    /// The driver's load at the last `nvmlInit`.
    pub load: Option<u64>,
    /// Event sets by their address.
    pub sets: BTreeMap<usize, EventSet>,
    /// The address of the last event set.
    pub last_set: usize,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

impl State {
    /// What a call is about to work on: the scenario as it is now, once the call may go on and should not fail.
    pub fn enter(call: &'static str, handle: Option<usize>) -> Result<Locked, i32> {
        let handle = handle.map(|address| Handle::from_address(address).ok_or(code::INVALID_ARGUMENT)).transpose()?;
        let names = |entry: &String| {
            entry == call || handle.is_some_and(|handle| *entry == format!("{call}@{}", handle.device))
        };
        let state = loop {
            let state = Locked::take();
            if !state.scenario.hangs.iter().any(names) {
                break state;
            }
            drop(state);
            thread::sleep(Duration::from_millis(5));
        };
        if let Some((_, &failure)) = state.scenario.errors.iter().find(|(entry, _)| names(entry)) {
            return Err(failure);
        }
        if state.scenario.driver.absent {
            return Err(code::DRIVER_NOT_LOADED);
        }
        let lives = state.load == Some(state.scenario.driver.load);
        if !lives && !matches!(call, "nvmlInit_v2" | "nvmlShutdown" | "nvmlEventSetFree") {
            return Err(code::UNINITIALIZED);
        }
        if let Some(handle) = handle {
            let device = state.scenario.devices.get(handle.device).ok_or(code::INVALID_ARGUMENT)?;
            if device.lost {
                return Err(code::GPU_IS_LOST);
            }
        }
        Ok(state)
    }

    fn read(path: PathBuf) -> Self {
        let (scenario, load, sets) = (Scenario::default(), None, BTreeMap::new());
        Self { path, stamp: None, scenario, load, sets, last_set: 0x1000 }
    }

    fn refresh(&mut self) {
        let stamp = fs::metadata(&self.path).ok().map(|m| (m.ino(), m.mtime_nsec(), m.len()));
        if stamp == self.stamp {
            return;
        }
        let text = fs::read(&self.path).unwrap_or_default();
        match serde_json::from_slice(&text) {
            Ok(scenario) => (self.scenario, self.stamp) = (scenario, stamp),
            // Whoever writes it in place is seen half-way; the file before it counts until then.
            Err(_) if self.stamp.is_some() => {}
            Err(error) => panic!("{}: {error}", self.path.display()),
        }
    }

    /// The device of a handle.
    pub fn device(&self, handle: Handle) -> Result<&Device, i32> {
        self.scenario.devices.get(handle.device).ok_or(code::INVALID_ARGUMENT)
    }

    /// The instance of a handle, if it is one's.
    pub fn instance(&self, handle: Handle) -> Result<Option<&Instance>, i32> {
        let Some(instance) = handle.instance else { return Ok(None) };
        self.device(handle)?.instances.get(instance).ok_or(code::INVALID_ARGUMENT).map(Some)
    }
}

/// The memory, while a call works on it.
pub struct Locked(MutexGuard<'static, Option<State>>);

impl Locked {
    fn take() -> Self {
        let mut locked = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        locked.get_or_insert_with(|| State::read(scenario_path())).refresh();
        Self(locked)
    }
}

impl std::ops::Deref for Locked {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_ref().expect("set in take")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("set in take")
    }
}

fn scenario_path() -> PathBuf {
    if let Some(path) = env::var_os("REALSYN_NVML_SCENARIO") {
        return path.into();
    }
    own_path().unwrap_or_default().with_file_name("scenario.json")
}

/// Where this library lies: the file of the mapping that this function is in.
fn own_path() -> Option<PathBuf> {
    let here = own_path as fn() -> Option<PathBuf> as usize;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (first, last) = range.split_once('-')?;
        let [first, last] = [first, last].map(|address| usize::from_str_radix(address, 16).unwrap_or(0));
        let path = rest.split_whitespace().nth(4)?;
        (first..last).contains(&here).then(|| Path::new(path).to_owned())
    })
}
