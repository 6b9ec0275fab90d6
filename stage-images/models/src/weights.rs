//! Named tensors read from a file, handed out with their names and shapes checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};

use crate::ModelError;

/// A tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// The tensors of one model file. A model takes what its architecture needs, each once; what it leaves is dropped.
#[derive(Debug)]
pub(crate) struct Weights {
    path: PathBuf,
    tensors: HashMap<String, RawTensor>,
}

impl Weights {
    /// Reads a safetensors file of little-endian f32; integer tensors (counters, position ids) are skipped.
    pub(crate) fn safetensors(path: &Path) -> Result<Self, ModelError> {
        Self::parse(path, &std::fs::read(path).map_err(ModelError::io(path))?)
    }

    /// As [`Self::safetensors`], of the file's bytes; `path` is where they come from.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| ModelError::format(path, format!("not a whole safetensors file ({error})")))?;
        let mut tensors = HashMap::new();
        for (name, view) in file.iter() {
            match view.dtype() {
                Dtype::F32 => {
                    let data =
                        view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                    tensors.insert(name.to_owned(), RawTensor { shape: view.shape().to_vec(), data });
                }
                Dtype::I64 | Dtype::I32 => {}
                other => return Err(ModelError::format(path, format!("tensor `{name}` is {other:?}, expected F32"))),
            }
        }
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// The tensor `name`, which must have `shape`.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Err(ModelError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
                similar: self.similar(name),
            });
        };
        if tensor.shape != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape);
            return Err(ModelError::Shape { path: self.path.clone(), name: name.to_owned(), expected, found });
        }
        Ok(tensor.data)
    }

    /// As [`Self::take`], as a tensor on the CPU.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let data = self.take(name, shape)?;
        Tensor::from_vec(data, shape, &Device::Cpu).map_err(ModelError::compute("weights"))
    }

    /// The left-over name that shares the longest prefix and suffix with `name`, if that is most of it: the usual
    /// misnaming adds or drops a prefix.
    fn similar(&self, name: &str) -> Option<String> {
        let common = |other: &str| {
            let suffix = name.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
            let prefix = name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
            (suffix + prefix).min(name.len())
        };
        let best = self.tensors.keys().max_by_key(|other| (common(other), std::cmp::Reverse(*other)))?;
        (common(best) * 4 >= name.len() * 3).then(|| best.clone())
    }
}

/// Stacks `[out_i, input]` matrices and transposes them to `[input, Σ out_i]`: one product instead of several, and a
/// layout that the matrix product reads without repacking when there are few rows.
pub(crate) fn stack_transposed(parts: &[Vec<f32>], input: usize) -> Result<Tensor, ModelError> {
    let total: usize = parts.iter().map(|part| part.len() / input).sum();
    let rows: Vec<&[f32]> = parts.iter().flat_map(|part| part.chunks_exact(input)).collect();
    let mut data = vec![0f32; total * input];
    // In blocks of one cache line a side, so that each line that is written stays in the cache until it is full.
    const BLOCK: usize = 16;
    for (block, rows) in rows.chunks(BLOCK).enumerate() {
        for k in 0..input {
            let target = &mut data[k * total + block * BLOCK..][..rows.len()];
            target.iter_mut().zip(rows).for_each(|(target, row)| *target = row[k]);
        }
    }
    Tensor::from_vec(data, (input, total), &Device::Cpu).map_err(ModelError::compute("weights"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, &[usize], Dtype)]) -> tempfile::NamedTempFile {
        let views = tensors.iter().map(|(name, shape, dtype)| {
            let width = if *dtype == Dtype::F32 { 4 } else { 8 };
            let bytes: &'static [u8] = vec![0; shape.iter().product::<usize>() * width].leak();
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), safetensors::serialize(views, None).unwrap()).unwrap();
        file
    }

    #[test]
    fn a_tensor_is_taken_once_with_its_shape() {
        let file = file(&[("layer.0.weight", &[2, 3], Dtype::F32), ("steps", &[1], Dtype::I64)]);
        let mut weights = Weights::safetensors(file.path()).unwrap();
        assert_eq!(weights.take("layer.0.weight", &[2, 3]).unwrap(), [0.0; 6]);
        let error = weights.take("layer.0.weight", &[2, 3]).unwrap_err();
        assert!(matches!(error, ModelError::MissingTensor { similar: None, .. }), "{error}");
    }

    #[test]
    fn a_wrong_shape_names_both() {
        let file = file(&[("layer.0.weight", &[2, 3], Dtype::F32)]);
        let error = Weights::safetensors(file.path()).unwrap().take("layer.0.weight", &[3, 2]).unwrap_err().to_string();
        assert!(error.contains("`layer.0.weight` has shape [2, 3], expected [3, 2]"), "{error}");
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_renamed_tensor_is_pointed_out() {
        let file = file(&[("bert.layer.0.weight", &[2], Dtype::F32), ("other", &[2], Dtype::F32)]);
        let error = Weights::safetensors(file.path()).unwrap().take("layer.0.weight", &[2]).unwrap_err().to_string();
        assert!(error.contains("`layer.0.weight` is missing (the file has `bert.layer.0.weight`)"), "{error}");
    }

    #[test]
    fn a_truncated_file_and_another_type_are_refused() {
        let whole = file(&[("w", &[8], Dtype::F32)]);
        let bytes = std::fs::read(whole.path()).unwrap();
        for end in [0, 7, 20, bytes.len() - 1] {
            std::fs::write(whole.path(), &bytes[..end]).unwrap();
            let error = Weights::safetensors(whole.path()).unwrap_err().to_string();
            assert!(error.contains("not a whole safetensors file"), "{error}");
        }
        let double = file(&[("w", &[8], Dtype::F64)]);
        assert!(Weights::safetensors(double.path()).unwrap_err().to_string().contains("`w` is F64, expected F32"));
    }

    #[test]
    fn matrices_are_stacked_and_transposed() {
        // 17 and 2 rows of 3: more than a block, and a rest.
        let matrix = |rows: usize, from: usize| (from..from + rows * 3).map(|i| i as f32).collect::<Vec<_>>();
        let stacked = stack_transposed(&[matrix(17, 0), matrix(2, 51)], 3).unwrap().to_vec2::<f32>().unwrap();
        for (k, row) in stacked.iter().enumerate() {
            assert_eq!(*row, (0..19).map(|column| (column * 3 + k) as f32).collect::<Vec<_>>());
        }
    }
}
