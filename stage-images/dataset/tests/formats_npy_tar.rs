//! `.npy` and tar: pinned bytes, and files that lie.

use half::f16;
use realsyn_dataset::formats::FormatError;
use realsyn_dataset::formats::npy::{read_npy, write_npy};
use realsyn_dataset::formats::tar::{IndexEntry, TarReader, TarWriter, index};

fn values(n: usize) -> Vec<f16> {
    (0..n).map(|i| f16::from_f32(i as f32 / 8.0 - 2.0)).collect()
}

#[test]
fn npy_has_the_bytes_that_numpy_writes() {
    let file = write_npy(3, &values(6)).unwrap();
    let mut expected = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }".to_vec();
    expected.resize(127, b' ');
    expected.push(b'\n');
    expected.extend(values(6).iter().flat_map(|v| v.to_le_bytes()));
    assert_eq!(file, expected);
}

#[test]
fn npy_comes_back() {
    for (rows, dim) in [(0, 4), (1, 1), (7, 384)] {
        let matrix = read_npy(&write_npy(dim, &values(rows * dim)).unwrap()).unwrap();
        assert_eq!((matrix.rows(), matrix.dim, &matrix.values), (rows, dim, &values(rows * dim)));
        if rows > 0 {
            assert_eq!(matrix.row(rows - 1), &values(rows * dim)[(rows - 1) * dim..]);
        }
    }
    assert!(write_npy(0, &[]).is_err());
    assert!(write_npy(4, &values(6)).is_err());
}

#[test]
fn npy_cut_off_anywhere_is_an_error() {
    let file = write_npy(16, &values(64)).unwrap();
    for len in 0..file.len() {
        assert!(matches!(read_npy(&file[..len]), Err(FormatError::Truncated { .. })), "cut at {len}");
    }
    assert!(matches!(read_npy(&[&file[..], b"x"].concat()), Err(FormatError::Corrupt { .. })));
}

#[test]
fn npy_with_a_hostile_header_is_refused() {
    let with = |header: &str| {
        let len = (header.len() as u16).to_le_bytes();
        read_npy(&[b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), &[0; 12]].concat())
    };
    assert!(with("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }\n").is_ok());
    assert!(with("{'shape':(2,3),'fortran_order':False,'descr':'<f2'}").is_ok());
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }",
        "{'descr': '>f2', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f2', 'fortran_order': True, 'shape': (2, 3), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (6,), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2, 3), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (-2, -3), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (1000000000000000, 0), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (99999999999999999999999, 1), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (9000000000000, 3), }",
        "{'descr': '<f2', 'fortran_order': False}",
        "{'descr': '<f2', 'descr': '<f2', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
        "__import__('os').system('true')",
        "",
    ] {
        assert!(with(header).is_err(), "{header}");
    }
    assert!(matches!(with(&" ".repeat(5_000)), Err(FormatError::TooLarge { .. })));
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (name, content) in files {
        tar.append(name, content).unwrap();
    }
    tar.finish().unwrap()
}

const FILES: [(&str, &[u8]); 4] =
    [("000000000.jpg", &[7; 700]), ("000000000.txt", b"A dog."), ("empty", b""), ("folder/full", &[1; 512])];

#[test]
fn a_tar_comes_back_with_its_places() {
    let mut tar = TarWriter::new(Vec::new());
    let places: Vec<_> = FILES.iter().map(|(name, content)| tar.append(name, content).unwrap()).collect();
    let bytes = tar.finish().unwrap();
    let read: Vec<_> = TarReader::new(&bytes[..], 1 << 20).map(Result::unwrap).collect();
    assert_eq!(read, FILES.map(|(name, content)| (name.to_owned(), content.to_vec())));
    let entry =
        |i: usize| IndexEntry { name: FILES[i].0.into(), offset: places[i].start, len: FILES[i].1.len() as u64 };
    assert_eq!(index(&bytes[..]).unwrap(), [entry(0), entry(1), entry(2), entry(3)]);
    for (place, (_, content)) in places.iter().zip(FILES) {
        assert_eq!(&bytes[place.start as usize..place.end as usize], content);
    }
}

#[test]
fn the_bytes_of_a_tar_never_change() {
    let bytes = archive(&FILES);
    assert_eq!(bytes.len(), 512 * (1 + 2 + 1 + 1 + 1 + 1 + 1 + 2));
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "c8c5f03f00ce43365cfc5fb82b4fa05679a70603468949b6228112561eb57be2"
    );
}

#[test]
fn a_tar_cut_off_anywhere_is_an_error() {
    let bytes = archive(&FILES);
    // The reader stops at the first of the two empty blocks of the end.
    for len in (0..bytes.len() - 1024).step_by(97) {
        assert!(TarReader::new(&bytes[..len], 1 << 20).any(|m| m.is_err()), "cut at {len}");
        assert!(index(&bytes[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn a_file_above_the_limit_and_a_forged_header_are_refused() {
    let bytes = archive(&FILES);
    assert!(matches!(TarReader::new(&bytes[..], 699).next(), Some(Err(FormatError::TooLarge { found: 700, .. }))));
    let mut forged = bytes.clone();
    forged[124..136].copy_from_slice(b"77777777777\0");
    assert!(matches!(TarReader::new(&forged[..], 1 << 20).next(), Some(Err(FormatError::Corrupt { .. }))));
    let mut reader = TarReader::new(&forged[..], 1 << 20);
    assert!(reader.next().is_some() && reader.next().is_none());
    let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
    header.set_size(u64::MAX);
    header.set_cksum();
    let huge = [header.as_bytes(), &bytes[512..]].concat();
    assert!(matches!(TarReader::new(&huge[..], 1 << 20).next(), Some(Err(FormatError::TooLarge { .. }))));
    assert!(index(&huge[..]).is_err());
    assert!(TarWriter::new(Vec::new()).append(&"n".repeat(300), b"").is_err());
}

#[test]
fn long_names_of_other_writers_are_understood_and_folders_passed_over() {
    let long = format!("{}/ü.jpg", "long".repeat(40));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    builder.append_data(&mut header.clone(), "folder/", &b""[..]).unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(2);
    builder.append_data(&mut header.clone(), &long, &b"hi"[..]).unwrap();
    builder.append_pax_extensions([("path", long.as_bytes())]).unwrap();
    builder.append_data(&mut header, "short", &b"yo"[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let read: Vec<_> = TarReader::new(&bytes[..], 1 << 20).map(Result::unwrap).collect();
    assert_eq!(read, [(long.clone(), b"hi".to_vec()), (long, b"yo".to_vec())]);
}

#[test]
fn an_archive_of_names_alone_is_not_indexed() {
    // A long name in GNU's way before each file: 64 KB of name for a file of nothing.
    let mut one = tar::Header::new_gnu();
    one.set_entry_type(tar::EntryType::GNULongName);
    one.set_size(65_000);
    one.set_cksum();
    let mut file = tar::Header::new_gnu();
    file.set_size(0);
    file.set_cksum();
    let name = [one.as_bytes().to_vec(), vec![b'a'; 65_024], file.as_bytes().to_vec()].concat();
    let mut endless = Endless { bytes: &name, read: 0 };
    assert!(matches!(index(&mut endless), Err(FormatError::TooLarge { .. })));
    assert!((128 << 20..136 << 20).contains(&endless.read), "{} bytes were read", endless.read);
}

/// The same bytes for ever.
struct Endless<'a> {
    bytes: &'a [u8],
    read: usize,
}

impl std::io::Read for Endless<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.bytes[self.read % self.bytes.len()..];
        let length = rest.len().min(to.len());
        to[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}
