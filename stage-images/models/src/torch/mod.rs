//! State dictionaries in PyTorch's old file format (before 1.6), read without executing them.
//!
//! The file is five pickles (magic number, protocol version, system, dictionary, names of the storages) and then each
//! storage's elements: a count (i64) and the values, all little-endian.

mod pickle;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use tempfile::NamedTempFile;

use crate::ModelError;
use crate::folder::read_pinned;
use crate::weights::{RawTensor, Weights};
use pickle::{Global, Value};

/// 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// A published file and what becomes of it.
pub(crate) struct Pinned<'a> {
    /// Its name in a model's folder.
    pub(crate) name: &'a str,
    /// Its SHA-256.
    pub(crate) sha256: &'a str,
    /// The SHA-256 of its tensors as safetensors.
    pub(crate) converted: &'a str,
}

/// The f32 tensors of a pinned file in `folder`. The first load reads the pickle and keeps the tensors in `scratch` as
/// safetensors, which later loads read instead. What is kept is believed by its hash alone, so half a file or another's is
/// made anew; where it cannot be kept, every load reads the pickle.
///
/// The file is compared with its hash at every load: one that is missing or damaged is refused whatever is kept.
pub(crate) fn load(folder: &Path, pinned: &Pinned<'_>, scratch: &Path) -> Result<Weights, ModelError> {
    let path = folder.join(pinned.name);
    let published = read_pinned(&path, pinned.sha256)?;
    let kept = scratch.join(format!("realsyn-{}.safetensors", pinned.sha256));
    let bytes = match read_pinned(&kept, pinned.converted) {
        Ok(bytes) => bytes,
        Err(_) => {
            let bytes = convert(&published).map_err(|reason| ModelError::format(&path, reason))?;
            _ = keep(&bytes, scratch, &kept);
            bytes
        }
    };
    Weights::parse(&path, &bytes)
}

/// Written under a name of its own and renamed, so that whoever reads it meanwhile finds all of it or nothing.
fn keep(bytes: &[u8], scratch: &Path, kept: &Path) -> std::io::Result<()> {
    let mut file = NamedTempFile::with_prefix_in("realsyn-", scratch)?;
    file.write_all(bytes)?;
    file.persist(kept)?;
    Ok(())
}

/// A state dictionary as safetensors: f32 tensors in row-major order, names kept, integer tensors (batch counters) left
/// out. The same input gives the same bytes.
///
/// Nothing in the file is executed; one that needs more than the instructions of a state dictionary is an error.
fn convert(published: &[u8]) -> Result<Vec<u8>, String> {
    let tensors = parse(published)?;
    let bytes: HashMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, tensor)| (name, tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::new();
    for (name, tensor) in &tensors {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), &bytes[name]);
        views.push((name, view.map_err(|error| format!("tensor `{name}`: {error}"))?));
    }
    views.sort_by_key(|(name, _)| *name);
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

fn parse(mut bytes: &[u8]) -> Result<HashMap<String, RawTensor>, String> {
    let input = &mut bytes;
    if pickle::read(input)? != Value::Big(MAGIC.into()) || pickle::read(input)? != Value::Int(PROTOCOL) {
        return Err("not a state dictionary in PyTorch's old format".into());
    }
    let Value::Dict(system, _) = pickle::read(input)? else {
        return Err("the system's description is no dictionary".into());
    };
    if !system.contains(&(Value::Str("little_endian".into()), Value::Bool(true))) {
        return Err("the file is not little-endian".into());
    }
    let Value::Dict(state, _) = pickle::read(input)? else { return Err("the state is no dictionary".into()) };
    let Value::List(keys, _) = pickle::read(input)? else { return Err("the storages' names are no list".into()) };

    let mut tensors = Vec::new();
    let mut kinds: HashMap<String, (Global, usize)> = HashMap::new();
    for (name, value) in state {
        let (Value::Str(name), Value::Tensor(arguments, _)) = (name, value) else {
            return Err("the state holds something that is no named tensor".into());
        };
        let tensor = Layout::new(&arguments).ok_or_else(|| format!("tensor `{name}` is not described as expected"))?;
        let kind = (tensor.kind, tensor.stored);
        if *kinds.entry(tensor.storage.clone()).or_insert(kind) != kind {
            return Err(format!("tensor `{name}` contradicts another about their storage"));
        }
        tensors.push((name, tensor));
    }
    let storages = storages(input, &keys, &kinds)?;
    let mut out = HashMap::new();
    for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.kind == Global::FloatStorage) {
        let storage =
            storages.get(&tensor.storage).ok_or_else(|| format!("the storage of tensor `{name}` is missing"))?;
        let tensor = tensor.gather(storage).ok_or_else(|| format!("tensor `{name}` reaches beyond its storage"))?;
        out.insert(name.to_string(), tensor);
    }
    Ok(out)
}

/// The storages' elements, 4 bytes each; those of integers are skipped.
fn storages<'a>(
    input: &mut &'a [u8],
    keys: &[Value],
    kinds: &HashMap<String, (Global, usize)>,
) -> Result<HashMap<String, &'a [[u8; 4]]>, String> {
    let mut take = |n: usize| {
        let (bytes, rest) = input.split_at_checked(n).ok_or("the file is truncated")?;
        *input = rest;
        Ok::<_, String>(bytes)
    };
    let mut out = HashMap::new();
    for key in keys {
        let Value::Str(key) = key else { return Err("a storage's name is no string".into()) };
        let &(kind, stored) = kinds.get(&**key).ok_or("a storage belongs to no tensor")?;
        if take(8)? != (stored as u64).to_le_bytes() {
            return Err(format!("storage {key} has another length than its tensors say"));
        }
        let width = if kind == Global::FloatStorage { 4 } else { 8 };
        let bytes = take(stored.checked_mul(width).ok_or("a storage's length overflows")?)?;
        if kind == Global::FloatStorage {
            out.insert(key.to_string(), bytes.as_chunks().0);
        }
    }
    Ok(out)
}

/// Where a tensor's elements lie in its storage.
struct Layout {
    kind: Global,
    storage: String,
    stored: usize,
    offset: usize,
    size: Vec<usize>,
    stride: Vec<usize>,
}

impl Layout {
    fn new(arguments: &[Value]) -> Option<Self> {
        let [Value::Persistent(id, _), offset, size, stride, ..] = arguments else { return None };
        let Value::Tuple(id, _) = &**id else { return None };
        let [Value::Str(tag), Value::Global(kind), Value::Str(storage), Value::Str(_), stored, Value::None] = &**id
        else {
            return None;
        };
        let whole = |tuple: &Value| match tuple {
            Value::Tuple(items, _) => items.iter().map(count).collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        let (size, stride) = (whole(size)?, whole(stride)?);
        let known = &**tag == "storage"
            && matches!(kind, Global::FloatStorage | Global::LongStorage)
            && size.len() == stride.len();
        let (storage, stored, offset) = (storage.to_string(), count(stored)?, count(offset)?);
        known.then_some(Self { kind: *kind, storage, stored, offset, size, stride })
    }

    /// The elements in row-major order of the sizes, whatever the strides. `None` when one lies outside the storage, or
    /// when there are more than are stored (a stride of 0 could ask for any number).
    fn gather(&self, storage: &[[u8; 4]]) -> Option<RawTensor> {
        let count = self.size.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        if count > storage.len() {
            return None;
        }
        let mut data = Vec::with_capacity(count);
        let mut index = vec![0usize; self.size.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&self.stride).map(|(i, stride)| i.checked_mul(*stride));
            let position = steps.into_iter().try_fold(self.offset, |sum, step| sum.checked_add(step?))?;
            data.push(f32::from_le_bytes(*storage.get(position)?));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.size[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Some(RawTensor { shape: self.size.clone(), data })
    }
}

fn count(value: &Value) -> Option<usize> {
    match value {
        Value::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}
