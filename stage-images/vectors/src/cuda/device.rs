//! The devices that are there, what is loaded on them, and how work is dealt out.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, DriverError};
use half::f16;

use crate::panels::pieces;
use crate::rows::{Error, Fault, Rows};

/// Queries and rows of a block of threads.
pub(crate) const TILE: usize = 128;
/// Threads of a block.
pub(crate) const THREADS: u32 = 256;
/// Columns that a kernel stages at a time: rows on a device are filled up to a multiple of them.
const DEPTH: usize = 32;
/// Most queries on a device at once: enough blocks for any device.
const MAX_QUERIES: usize = 1 << 17;
/// Most rows on a device at once: a kernel numbers them by `int`.
const MAX_ROWS: usize = 1 << 29;
/// The earliest compute capability that [`crate::Kernel::Cuda`] runs on.
pub const CAPABILITY: (i32, i32) = (8, 0);
const KERNELS: &str = include_str!("screen.ptx");

/// A device that [`crate::Kernel::Cuda`] computes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// As `nvidia-smi -L` prints it: `GPU-` and 32 hexadecimal digits in five groups.
    pub uuid: String,
    /// The driver's name for its product.
    pub name: String,
    /// Bytes, those that others use included.
    pub memory: u64,
}

/// The devices that this process sees, in the driver's order (`CUDA_VISIBLE_DEVICES`).
///
/// # Errors
/// [`Error::NoDevice`] where there is no driver or no device, [`Error::TooOld`] and [`Error::Device`] for the first one that
/// cannot be used.
pub fn gpus() -> Result<Vec<Gpu>, Error> {
    Ok(opened()?.iter().map(|device| device.gpu.clone()).collect())
}

/// A device with the kernels on it.
pub(crate) struct Device {
    pub(crate) gpu: Gpu,
    pub(crate) multiprocessors: usize,
    pub(crate) best: CudaFunction,
    pub(crate) above: CudaFunction,
    context: Arc<CudaContext>,
}

/// The devices, opened once. Where that fails, the next call tries again.
pub(crate) fn opened() -> Result<&'static [Device], Error> {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    static OPENING: Mutex<()> = Mutex::new(());
    let _one = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    match DEVICES.get() {
        Some(devices) => Ok(devices),
        None => {
            let devices = open()?;
            Ok(DEVICES.get_or_init(|| devices))
        }
    }
}

fn open() -> Result<Vec<Device>, Error> {
    // SAFETY: looks whether a library can be loaded; the only one of such a name is NVIDIA's driver.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDevice { why: "libcuda.so.1, which comes with NVIDIA's driver, is not there".into() });
    }
    let count =
        CudaContext::device_count().map_err(|e| Error::NoDevice { why: format!("the driver says {:?}", e.0) })?;
    let devices = (0..count as usize).map(Device::open).collect::<Result<Vec<_>, _>>()?;
    if devices.is_empty() {
        return Err(Error::NoDevice { why: "the driver shows none".into() });
    }
    Ok(devices)
}

impl Device {
    fn open(ordinal: usize) -> Result<Self, Error> {
        let unnamed = |e| failed(&format!("number {ordinal}"), e);
        let context = CudaContext::new(ordinal).map_err(unnamed)?;
        // SAFETY: everything on this device runs on its default stream, one after the other.
        unsafe { context.disable_event_tracking() };
        let uuid = uuid(&context.uuid().map_err(unnamed)?);
        let named = |e| failed(&uuid, e);
        let name = context.name().map_err(named)?;
        let capability = context.compute_capability().map_err(named)?;
        if capability < CAPABILITY {
            return Err(Error::TooOld { name, has: capability, needed: CAPABILITY });
        }
        let memory = context.total_mem().map_err(named)? as u64;
        let multiprocessors =
            context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).map_err(named)? as usize;
        let module = context.load_module(KERNELS.into()).map_err(named)?;
        let (best, above) =
            (module.load_function("best").map_err(named)?, module.load_function("above").map_err(named)?);
        let gpu = Gpu { uuid, name, memory };
        Ok(Self { gpu, multiprocessors, best, above, context })
    }

    /// An error of the driver's, with this device's name.
    pub(crate) fn failed(&self, error: DriverError) -> Error {
        failed(&self.gpu.uuid, error)
    }

    pub(crate) fn stream(&self) -> Arc<CudaStream> {
        self.context.default_stream()
    }

    /// Rows of `dim` values, each filled up with zeros to [`padded`].
    pub(crate) fn upload(&self, rows: Rows<'_>, range: Range<usize>) -> Result<CudaSlice<f16>, Error> {
        let (dim, wide) = (rows.dim(), padded(rows.dim()));
        let data = &rows.data()[range.start * dim..range.end * dim];
        let sent = if wide == dim {
            self.stream().clone_htod(data)
        } else {
            let mut filled = vec![f16::ZERO; range.len() * wide];
            filled
                .chunks_exact_mut(wide)
                .zip(data.chunks_exact(dim))
                .for_each(|(to, from)| to[..dim].copy_from_slice(from));
            self.stream().clone_htod(&filled)
        };
        sent.map_err(|e| self.failed(e))
    }
}

fn failed(device: &str, error: DriverError) -> Error {
    Error::Device { device: device.to_owned(), fault: fault(error.0), what: format!("{:?}", error.0) }
}

fn fault(result: CUresult) -> Fault {
    use CUresult::*;
    match result {
        // What the driver says of a device that is gone or must be reset before anything runs on it again.
        CUDA_ERROR_NO_DEVICE
        | CUDA_ERROR_INVALID_DEVICE
        | CUDA_ERROR_DEVICE_UNAVAILABLE
        | CUDA_ERROR_ECC_UNCORRECTABLE
        | CUDA_ERROR_NVLINK_UNCORRECTABLE
        | CUDA_ERROR_CONTAINED
        | CUDA_ERROR_SYSTEM_NOT_READY
        | CUDA_ERROR_UNKNOWN => Fault::Lost,
        // What a kernel does to its own context: XID 13, 31 and their like, which the GPU agent calls the application's.
        CUDA_ERROR_CONTEXT_IS_DESTROYED
        | CUDA_ERROR_ILLEGAL_ADDRESS
        | CUDA_ERROR_LAUNCH_TIMEOUT
        | CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUDA_ERROR_MISALIGNED_ADDRESS
        | CUDA_ERROR_INVALID_ADDRESS_SPACE
        | CUDA_ERROR_INVALID_PC
        | CUDA_ERROR_LAUNCH_FAILED => Fault::Context,
        _ => Fault::Passing,
    }
}

fn uuid(uuid: &sys::CUuuid) -> String {
    let hex: String = uuid.bytes.iter().map(|byte| format!("{:02x}", *byte as u8)).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Values of a row on a device.
pub(crate) fn padded(dim: usize) -> usize {
    dim.next_multiple_of(DEPTH)
}

/// How many rows and queries are on a device at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) queries: usize,
}

impl Sizes {
    /// What fits `free` bytes, of which a tenth stays free: `fixed` bytes whatever the pieces, `query` for each query, `row` for
    /// each row. A quarter of the rest goes to queries, what that leaves to rows, both in whole tiles; none where not even a
    /// tile of either fits.
    pub(crate) fn fit(free: u64, fixed: u64, query: u64, row: u64) -> Option<Self> {
        let tile = TILE as u64;
        let rest = (free / 10 * 9).checked_sub(fixed)?;
        let queries = (rest / 4 / query / tile * tile).clamp(tile, MAX_QUERIES as u64);
        let rows = (rest.checked_sub(queries * query)? / row / tile * tile).min(MAX_ROWS as u64);
        (rows > 0).then_some(Self { rows: rows as usize, queries: queries as usize })
    }
}

/// A piece of the rows, and queries that meet it.
pub(crate) struct Piece {
    pub(crate) rows: Range<usize>,
    pub(crate) queries: Range<usize>,
}

/// What one piece is done with.
pub(crate) struct Session<'a> {
    pub(crate) device: &'a Device,
    /// The piece of the rows that is there, kept while queries meet it.
    loaded: Option<(Range<usize>, CudaSlice<f16>)>,
    margins: Option<Arc<CudaSlice<f32>>>,
}

impl Session<'_> {
    /// Both sides of a piece on the device.
    pub(crate) fn load(
        &mut self,
        piece: &Piece,
        queries: Rows<'_>,
        rows: Rows<'_>,
    ) -> Result<(CudaSlice<f16>, &CudaSlice<f16>), Error> {
        if self.loaded.as_ref().is_none_or(|(range, _)| *range != piece.rows) {
            // First what goes, then what comes: both may not fit.
            self.loaded = None;
            self.loaded = Some((piece.rows.clone(), self.device.upload(rows, piece.rows.clone())?));
        }
        let queries = self.device.upload(queries, piece.queries.clone())?;
        let (_, rows) = self.loaded.as_ref().expect("loaded above");
        Ok((queries, rows))
    }

    /// `margins` on the device, sent once: they are the same for all pieces.
    pub(crate) fn margins(&mut self, margins: &[f32]) -> Result<Arc<CudaSlice<f32>>, Error> {
        if self.margins.is_none() {
            let sent = self.device.stream().clone_htod(margins).map_err(|e| self.device.failed(e))?;
            self.margins = Some(Arc::new(sent));
        }
        Ok(self.margins.clone().expect("sent above"))
    }
}

/// Runs `work` for every piece of `rows` times `queries`, on all devices; `sizes` says what fits one with so many bytes free.
/// `wanted` may leave pieces out.
///
/// The devices are this call's alone until it ends. So `work` must not wait for a thread pool, whose threads may all be waiting
/// for the devices.
pub(crate) fn deal(
    queries: usize,
    rows: usize,
    sizes: impl Fn(&Device, u64) -> Option<Sizes>,
    wanted: impl Fn(&Piece) -> bool,
    work: impl Fn(&mut Session<'_>, &Piece) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let devices = opened()?;
    // One search at a time, so that each knows what memory it has.
    static BUSY: Mutex<()> = Mutex::new(());
    let _one = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |device: &Device| {
        let (free, _) = device.context.mem_get_info().map_err(|e| device.failed(e))?;
        sizes(device, free as u64).ok_or_else(|| Error::Device {
            device: device.gpu.uuid.clone(),
            fault: Fault::Passing,
            what: format!("{free} bytes of memory are free, and not a tile of rows fits; others use it"),
        })
    };
    // The same pieces for all: what fits the one with least.
    let sizes = devices.iter().map(fits).collect::<Result<Vec<_>, _>>()?;
    let rows_at_once = sizes.iter().map(|s| s.rows).min().unwrap_or(TILE);
    // Enough pieces that each device has some.
    let share = queries.div_ceil(devices.len()).next_multiple_of(TILE);
    let queries_at_once = sizes.iter().map(|s| s.queries).min().unwrap_or(TILE).min(share.max(TILE));
    let all: Vec<Piece> = pieces(rows, rows_at_once)
        .flat_map(|rows| pieces(queries, queries_at_once).map(move |queries| Piece { rows: rows.clone(), queries }))
        .filter(wanted)
        .collect();
    let next = AtomicUsize::new(0);
    let run = |device| {
        let mut session = Session { device, loaded: None, margins: None };
        while let Some(piece) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(&mut session, piece).inspect_err(|_| next.store(all.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = devices.iter().map(|device| scope.spawn(|| run(device))).collect();
        let ended: Vec<Result<(), Error>> = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        ended.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_memory() {
        // 80 GB, width 1,024: a quarter for queries would be 8.9 million of them, so they are capped and rows take the rest.
        let sizes = Sizes::fit(80_000_000_000, 0, 2_048 + 80, 2_048).unwrap();
        assert_eq!(sizes, Sizes { rows: 35_020_032, queries: MAX_QUERIES });
        assert!(sizes.rows as u64 * 2_048 + MAX_QUERIES as u64 * 2_128 <= 72_000_000_000);
        // One tile of each: 128 * 100 + 128 * 50 bytes are nine tenths of 21,334.
        assert_eq!(Sizes::fit(21_340, 0, 100, 50), Some(Sizes { rows: TILE, queries: TILE }));
        assert_eq!(Sizes::fit(21_320, 0, 100, 50), None);
        assert_eq!(Sizes::fit(30_000, 27_001, 1, 1), None);
        // A card of ten terabytes: rows are still numbered by an int.
        assert_eq!(Sizes::fit(10 << 40, 0, 100, 50).unwrap().rows, MAX_ROWS);
    }

    #[test]
    fn a_broken_context_is_no_lost_device() {
        use CUresult::*;
        for (result, left) in [
            (CUDA_ERROR_ECC_UNCORRECTABLE, Fault::Lost),
            (CUDA_ERROR_NO_DEVICE, Fault::Lost),
            (CUDA_ERROR_ILLEGAL_ADDRESS, Fault::Context),
            (CUDA_ERROR_MISALIGNED_ADDRESS, Fault::Context),
            (CUDA_ERROR_LAUNCH_TIMEOUT, Fault::Context),
            (CUDA_ERROR_LAUNCH_FAILED, Fault::Context),
            (CUDA_ERROR_OUT_OF_MEMORY, Fault::Passing),
        ] {
            assert_eq!(fault(result), left, "{result:?}");
        }
    }

    #[test]
    fn uuids_are_written_as_the_driver_does() {
        let bytes: [u8; 16] = std::array::from_fn(|i| 17 * i as u8);
        let given = sys::CUuuid { bytes: bytes.map(|byte| byte as _) };
        assert_eq!(uuid(&given), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
