//! Hashes of model files and folders, by which a build pins its models.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::ModelError;

/// SHA-256 of a file, lower-case hex.
pub fn file_sha256(path: &Path) -> Result<String, ModelError> {
    let mut file = File::open(path).map_err(ModelError::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(ModelError::io(path))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// SHA-256 of a model folder, lower-case hex: of the sorted lines `sha256  path` of its files, each ended by a newline,
/// with paths relative to the folder and `/` between their parts. Symbolic links are followed, so a mounted volume
/// hashes like a copy.
///
/// A name that is not Unicode is a [`ModelError::Format`].
pub fn folder_sha256(path: &Path) -> Result<String, ModelError> {
    let mut lines = Vec::new();
    collect(path, "", &mut lines)?;
    lines.sort_unstable();
    Ok(hex(&Sha256::digest(lines.concat())))
}

fn collect(folder: &Path, prefix: &str, lines: &mut Vec<String>) -> Result<(), ModelError> {
    for entry in folder.read_dir().map_err(ModelError::io(folder))? {
        let path = entry.map_err(ModelError::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| ModelError::format(&path, "the file's name is not Unicode"))?;
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{relative}/"), lines)?;
        } else {
            lines.push(format!("{}  {relative}\n", file_sha256(&path)?));
        }
    }
    Ok(())
}

/// Reads a whole file and refuses it unless its SHA-256 is `expected`: the bytes that were hashed are the bytes that
/// are used.
pub(crate) fn read_pinned(path: &Path, expected: &str) -> Result<Vec<u8>, ModelError> {
    let bytes = std::fs::read(path).map_err(ModelError::io(path))?;
    let found = hex(&Sha256::digest(&bytes));
    if found != expected {
        return Err(ModelError::Digest { path: path.to_owned(), expected: expected.to_owned(), found });
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_hash_covers_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("b.txt"), b"").unwrap();
        std::fs::write(dir.path().join("sub/a.txt"), b"abc").unwrap();
        // SHA-256 of the empty string and of "abc" (FIPS 180-4 examples); the line of "abc" sorts first.
        let lines = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  sub/a.txt\n\
                     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b.txt\n";
        let first = folder_sha256(dir.path()).unwrap();
        assert_eq!(first, hex(&Sha256::digest(lines)));
        std::fs::rename(dir.path().join("b.txt"), dir.path().join("c.txt")).unwrap();
        assert_ne!(folder_sha256(dir.path()).unwrap(), first);
    }

    #[test]
    fn a_missing_folder_names_its_path() {
        let error = folder_sha256(Path::new("/nonexistent/model")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/model"), "{error}");
    }
}
