//! What one look at the driver brought, as the driver said it. What could not be read is absent.

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The driver, or why there is none.
    pub driver: Driver,
    /// The devices; none of them if they could not even be counted.
    pub devices: Option<Vec<Device>>,
    /// Why the devices could not be counted.
    pub trouble: Option<String>,
    /// Calls that failed, for the logs and metrics; what a device does not support is no failure.
    pub failures: Vec<Failure>,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The call.
    pub call: &'static str,
    /// The device's index, if it was about one.
    pub device: Option<u32>,
    /// NVML's words.
    pub error: String,
}

/// The driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// None answers, and why.
    Absent(String),
    /// One answers.
    Present {
        /// Counts the loads of a driver that this process has seen.
        load: u64,
        /// Its version.
        version: Option<String>,
        /// The newest CUDA that it supports, `12.4`.
        cuda: Option<String>,
    },
}

impl Default for Driver {
    fn default() -> Self {
        Self::Absent("nobody has looked yet".to_owned())
    }
}

/// Why a device is not to be trusted, as the calls about it say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It fell off the bus.
    Lost,
    /// It must be reset before anything else.
    ResetRequired,
    /// There is not even a handle of it.
    Unreadable(String),
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// Its index, which is only good until the driver counts again.
    pub index: u32,
    /// `GPU-…`.
    pub uuid: Option<String>,
    /// The PCI address as the kernel writes it, `0000:3b:00.0`.
    pub pci: Option<String>,
    /// The driver's name of the product.
    pub name: Option<String>,
    /// Compute capability, `8.0`.
    pub compute: Option<String>,
    /// The NUMA node.
    pub numa: Option<u32>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Whether MIG is on.
    pub mig: Option<bool>,
    /// MIG instances.
    pub instances: Option<Vec<Instance>>,
    /// The far ends of its NVLinks, each once; none if they were not read this time.
    pub links: Option<Vec<FarEnd>>,
    /// What goes wrong.
    pub faults: Faults,
    /// What changes all the time.
    pub readings: Readings,
    /// What the calls said of it as a whole.
    pub trouble: Option<Trouble>,
}

/// What goes wrong in a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Uncorrected ECC errors since the driver was loaded.
    pub ecc_uncorrected: Option<u64>,
    /// Whether a row, or before Ampere a page, waits for a reset to be put aside.
    pub remap_pending: Option<bool>,
    /// Whether a row could not be remapped.
    pub remap_failed: Option<bool>,
    /// What the driver asks for.
    pub recovery: Option<Recovery>,
    /// Whether the hardware slows down because it is too hot.
    pub hot: Option<bool>,
}

/// What the driver asks for, from its field 230.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing.
    Nothing,
    /// Nothing new on the device's NVLinks; its own work goes on.
    DrainPeers,
    /// A reset, at once or when its work has ended.
    Reset,
    /// A reboot of the node.
    Reboot,
}

/// What goes to the metrics alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Share of time in which a kernel ran, in percent.
    pub utilization: Option<u32>,
    /// Bytes of memory in use.
    pub memory_used: Option<u64>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Milliwatts.
    pub power: Option<u32>,
    /// Why the clocks are down, as NVML's bits.
    pub throttle: Option<u64>,
    /// Corrected ECC errors since the driver was loaded.
    pub ecc_corrected: Option<u64>,
    /// Rows of memory that were remapped, ever.
    pub remapped_rows: Errors,
    /// Pages of memory that were retired, ever: what was done before Ampere.
    pub retired_pages: Errors,
}

/// How often something was done, by the kind of ECC errors that it was done for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// For corrected ones.
    pub corrected: Option<u64>,
    /// For uncorrected ones.
    pub uncorrected: Option<u64>,
}

/// A MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `MIG-…`.
    pub uuid: String,
    /// `3g.40gb`.
    pub profile: String,
    /// Bytes of memory.
    pub memory: u64,
}

/// The far end of an NVLink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FarEnd {
    /// The device at this PCI address, if it is one; else a switch.
    At(String),
    /// A switch, of which the driver tells no address.
    Switch,
}
