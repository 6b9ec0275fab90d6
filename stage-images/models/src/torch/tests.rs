use std::path::PathBuf;

use tempfile::TempDir;

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

/// A folder with `a.pth`, a 2 × 2 matrix `w`, beside a folder for what is kept of it.
struct Site {
    model: TempDir,
    scratch: TempDir,
    sha256: String,
    converted: String,
}

impl Site {
    fn new() -> Self {
        let (model, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let published = pth(&[2, 2], &[1, 2], 0, &[1.0, 2.0, 3.0, 4.0]);
        std::fs::write(model.path().join("a.pth"), &published).unwrap();
        let converted = sha256(&convert(&published).unwrap());
        Self { model, scratch, sha256: sha256(&published), converted }
    }

    fn load(&self) -> Result<Vec<f32>, ModelError> {
        let pinned = Pinned { name: "a.pth", sha256: &self.sha256, converted: &self.converted };
        load(self.model.path(), &pinned, self.scratch.path())?.take("w", &[2, 2])
    }

    fn kept(&self) -> PathBuf {
        self.scratch.path().join(format!("realsyn-{}.safetensors", self.sha256))
    }

    /// The files in the scratch folder.
    fn files(&self) -> Vec<PathBuf> {
        self.scratch.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file_sha256(file.path()).unwrap()
}

#[test]
fn a_file_is_converted_once() {
    let mut site = Site::new();
    assert_eq!(site.load().unwrap(), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(site.files(), [site.kept()]);
    assert_eq!(file_sha256(&site.kept()).unwrap(), site.converted);

    // Were the pickle read again, these would not come.
    let others = convert(&pth(&[2, 2], &[2, 1], 0, &[5.0, 6.0, 7.0, 8.0])).unwrap();
    std::fs::write(site.kept(), &others).unwrap();
    site.converted = sha256(&others);
    assert_eq!(site.load().unwrap(), [5.0, 6.0, 7.0, 8.0]);
}

#[test]
fn a_damaged_file_is_refused_whatever_is_kept() {
    let site = Site::new();
    let path = site.model.path().join("a.pth");
    for kept in [false, true] {
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[1..]).unwrap();
        let error = site.load().unwrap_err();
        assert!(matches!(&error, ModelError::Digest { path: of, .. } if *of == path), "{kept}: {error}");
        assert_eq!(site.kept().exists(), kept);
        std::fs::write(&path, &whole).unwrap();
        site.load().unwrap();
    }
}

#[test]
fn what_is_kept_and_not_whole_is_made_anew() {
    let site = Site::new();
    site.load().unwrap();
    let whole = std::fs::read(site.kept()).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", &[&whole[..whole.len() - 4], &[0; 4]].concat()] {
        std::fs::write(site.kept(), damaged).unwrap();
        assert_eq!(site.load().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(std::fs::read(site.kept()).unwrap(), whole);
    }
}

#[test]
fn a_file_loads_where_nothing_can_be_kept() {
    let site = Site::new();
    std::fs::create_dir(site.kept()).unwrap();
    assert_eq!(site.load().unwrap(), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(site.files(), [site.kept()], "nothing is left of what could not be renamed");
    std::fs::remove_dir_all(site.scratch.path()).unwrap();
    assert_eq!(site.load().unwrap(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn several_load_at_once() {
    let site = Site::new();
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        let load = || {
            barrier.wait();
            site.load().unwrap()
        };
        let loads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        loads.into_iter().for_each(|load| assert_eq!(load.join().unwrap(), [1.0, 3.0, 2.0, 4.0]));
    });
    assert_eq!(site.files(), [site.kept()]);
    assert_eq!(file_sha256(&site.kept()).unwrap(), site.converted);
}
