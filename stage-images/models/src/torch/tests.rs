use super::*;
use crate::file_sha256;

/// A file in the old format with one float tensor, given sizes, strides, offset and storage.
pub(crate) fn pth(size: &[u8], stride: &[u8], offset: u8, storage: &[f32]) -> Vec<u8> {
    let text = |s: &str| [b"X".as_slice(), &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
    let tuple = |items: &[u8]| [b"(".to_vec(), items.iter().flat_map(|&n| [b'K', n]).collect(), b"t".to_vec()].concat();
    let stored = [b'K', storage.len() as u8];
    [
        [b"\x80\x02\x8a\x0a".as_slice(), &MAGIC, b"."].concat(),
        b"\x80\x02M\xe9\x03.".to_vec(),
        [b"\x80\x02}(".to_vec(), text("little_endian"), b"\x88u.".to_vec()].concat(),
        [
            b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec(),
            text("w"),
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        ]
        .concat(),
        [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("7"), text("cpu"), stored.to_vec(), b"NtQ".to_vec()]
            .concat(),
        [vec![b'K', offset], tuple(size), tuple(stride), b"\x89ccollections\nOrderedDict\n)RtRu.".to_vec()].concat(),
        [b"\x80\x02](".to_vec(), text("7"), b"e.".to_vec()].concat(),
        (storage.len() as u64).to_le_bytes().to_vec(),
        storage.iter().flat_map(|x| x.to_le_bytes()).collect(),
    ]
    .concat()
}

#[test]
fn strides_are_undone() {
    // A 2 × 3 matrix stored column by column behind one foreign element.
    let tensors = parse(&pth(&[2, 3], &[1, 2], 1, &[9.0, 1.0, 4.0, 2.0, 5.0, 3.0, 6.0])).unwrap();
    assert_eq!(tensors["w"], RawTensor { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] });
}

#[test]
fn layouts_outside_the_storage_are_refused() {
    let storage = [1.0, 2.0, 3.0, 4.0];
    assert!(parse(&pth(&[2, 2], &[2, 1], 0, &storage)).is_ok());
    for (size, stride, offset) in [([2, 2], [2, 1], 1), ([2, 2], [3, 1], 0), ([200, 200], [0, 0], 0)] {
        let error = parse(&pth(&size, &stride, offset, &storage)).unwrap_err();
        assert_eq!(error, "tensor `w` reaches beyond its storage");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let whole = pth(&[2, 2], &[2, 1], 0, &[1.0, 2.0, 3.0, 4.0]);
    for end in 0..whole.len() {
        assert!(parse(&whole[..end]).is_err(), "{end}");
    }
}

#[test]
fn conversion_needs_the_pinned_file_and_gives_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("a.pth"), dir.path().join("a.safetensors"));
    std::fs::write(&source, pth(&[2, 2], &[1, 2], 0, &[1.0, 2.0, 3.0, 4.0])).unwrap();
    let error = convert_pth(&source, "00", &target).unwrap_err();
    assert!(matches!(&error, ModelError::Digest { path, .. } if *path == source), "{error}");
    assert!(!target.exists());

    convert_pth(&source, &file_sha256(&source).unwrap(), &target).unwrap();
    let mut weights = Weights::safetensors(&target).unwrap();
    assert_eq!(weights.take("w", &[2, 2]).unwrap(), [1.0, 3.0, 2.0, 4.0]);
}
