//! WebDataset tars: ustar archives of plain files, written with pinned headers and read as a stream.

use std::io::{ErrorKind, Read, Write};
use std::ops::Range;

use ::tar::{EntryType, Header, PaxExtensions};

use super::error::FormatError;

const BLOCK: usize = 512;
const WHAT: &str = "the tar";
/// Longest name that an extended header may give.
const MAX_EXTENSION: u64 = 64 << 10;
/// Most files of an archive that is indexed, and most bytes of their names. img2dataset writes 30,000 files into one.
const MAX_FILES: u64 = 1_000_000;
const MAX_NAMES: u64 = 128 << 20;

/// Writes an archive whose bytes depend on names and contents alone: modification time 0, user and group 0 without
/// names, mode 0644.
pub struct TarWriter<W: Write> {
    out: W,
    position: u64,
}

impl<W: Write> TarWriter<W> {
    /// Starts an archive on `out`.
    pub fn new(out: W) -> Self {
        Self { out, position: 0 }
    }

    /// Adds a file and returns where in the archive its content lies. Fails if ustar has no room for the name (100
    /// bytes, or 155 more for its folders).
    pub fn append(&mut self, name: &str, content: &[u8]) -> Result<Range<u64>, FormatError> {
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(|e| FormatError::unwritable(WHAT, e))?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(content)?;
        self.out.write_all(&[0; BLOCK][..padding(content.len() as u64)])?;
        let start = self.position + BLOCK as u64;
        let end = start + content.len() as u64;
        self.position = end + padding(end) as u64;
        Ok(start..end)
    }

    /// Bytes written so far, without the two empty blocks of the end.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes the end of the archive and hands `out` back.
    pub fn finish(mut self) -> Result<W, FormatError> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }
}

fn padding(len: u64) -> usize {
    (len.next_multiple_of(BLOCK as u64) - len) as usize
}

/// Where a file lies inside an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The file's name.
    pub name: String,
    /// Offset of its first byte in the archive.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The files of an archive in their order, each with its content. Folders and links are passed over; after an error
/// there is nothing more.
pub struct TarReader<R> {
    input: R,
    position: u64,
    max_member: u64,
    done: bool,
}

impl<R: Read> TarReader<R> {
    /// Reads from `input`. A file above `max_member` bytes is an error, before memory is set aside for it.
    pub fn new(input: R, max_member: u64) -> Self {
        Self { input, position: 0, max_member, done: false }
    }

    fn read_exactly(&mut self, len: u64) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(len).read_to_end(&mut bytes)?;
        self.advance(len, bytes.len() as u64)?;
        Ok(bytes)
    }

    fn pass_over(&mut self, len: u64) -> Result<(), FormatError> {
        let skipped = std::io::copy(&mut self.input.by_ref().take(len), &mut std::io::sink())?;
        self.advance(len, skipped)
    }

    fn advance(&mut self, needed: u64, found: u64) -> Result<(), FormatError> {
        if found < needed {
            return Err(FormatError::Truncated {
                what: WHAT,
                needed: self.position + needed,
                found: self.position + found,
            });
        }
        self.position += needed;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, FormatError> {
        let mut block = [0; BLOCK];
        if let Err(error) = self.input.read_exact(&mut block) {
            return Err(match error.kind() {
                ErrorKind::UnexpectedEof => {
                    FormatError::Truncated { what: WHAT, needed: self.position + BLOCK as u64, found: self.position }
                }
                _ => error.into(),
            });
        }
        self.position += BLOCK as u64;
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The sum is over the header with its own field read as blanks.
        let summed = |(i, b): (usize, &u8)| u32::from(if (148..156).contains(&i) { b' ' } else { *b });
        let sum: u32 = block.iter().enumerate().map(summed).sum();
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(FormatError::corrupt(
                WHAT,
                format!("the header that ends at byte {} fails its checksum", self.position),
            )),
        }
    }

    /// Name and length of the next file; its content follows.
    fn next_file(&mut self) -> Result<Option<(Vec<u8>, u64)>, FormatError> {
        let mut long_name: Option<Vec<u8>> = None;
        while let Some(header) = self.header()? {
            let len = header.entry_size().map_err(|e| FormatError::corrupt(WHAT, e))?;
            if len > u64::MAX - self.position - BLOCK as u64 {
                return Err(FormatError::TooLarge { what: "a file in the tar", found: len, limit: self.max_member });
            }
            match header.entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let name = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
                    return Ok(Some((name, len)));
                }
                kind @ (EntryType::GNULongName | EntryType::XHeader) => {
                    FormatError::check("an extended header of the tar", len, MAX_EXTENSION)?;
                    let content = self.read_exactly(len)?;
                    self.pass_over(padding(len) as u64)?;
                    if kind == EntryType::GNULongName {
                        long_name = Some(content.into_iter().take_while(|b| *b != 0).collect());
                    } else if let Some(name) = pax_path(&content)? {
                        long_name = Some(name);
                    }
                }
                EntryType::GNUSparse => {
                    return Err(FormatError::Unsupported { what: WHAT, detail: "sparse files".to_owned() });
                }
                _ => {
                    self.pass_over(len + padding(len) as u64)?;
                    long_name = None;
                }
            }
        }
        Ok(None)
    }

    fn next_member(&mut self) -> Result<Option<(String, Vec<u8>)>, FormatError> {
        let Some((name, len)) = self.next_file()? else {
            return Ok(None);
        };
        FormatError::check("a file in the tar", len, self.max_member)?;
        let content = self.read_exactly(len)?;
        self.pass_over(padding(len) as u64)?;
        let name = String::from_utf8(name)
            .map_err(|e| FormatError::corrupt(WHAT, format!("a file's name is not UTF-8: {e}")))?;
        Ok(Some((name, content)))
    }
}

impl<R: Read> Iterator for TarReader<R> {
    type Item = Result<(String, Vec<u8>), FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let member = self.next_member().transpose();
        self.done = !matches!(member, Some(Ok(_)));
        member
    }
}

/// The name that a POSIX extended header gives, if it gives one.
fn pax_path(content: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
    let mut path = None;
    for extension in PaxExtensions::new(content) {
        let extension = extension.map_err(|e| FormatError::corrupt(WHAT, e))?;
        match extension.key_bytes() {
            b"path" => path = Some(extension.value_bytes().to_vec()),
            b"size" => {
                return Err(FormatError::Unsupported { what: WHAT, detail: "files above 8 GiB".to_owned() });
            }
            _ => {}
        }
    }
    Ok(path)
}

/// The files of an archive with their places, so that one of them can be read by its range. Contents are passed over; what
/// in a name is no UTF-8 becomes U+FFFD. More than a million files, or 128 MiB of names, are an error.
pub fn index(input: impl Read) -> Result<Vec<IndexEntry>, FormatError> {
    let mut reader = TarReader::new(input, u64::MAX);
    let (mut entries, mut names) = (Vec::new(), 0);
    while let Some((name, len)) = reader.next_file()? {
        names += name.len() as u64;
        FormatError::check("the length of all names in the tar", names, MAX_NAMES)?;
        FormatError::check("the number of files in the tar", entries.len() as u64 + 1, MAX_FILES)?;
        // `tar -cf x.tar .` writes names so.
        let name = String::from_utf8_lossy(name.strip_prefix(b"./").unwrap_or(&name)).into_owned();
        entries.push(IndexEntry { name, offset: reader.position, len });
        reader.pass_over(len)?;
        reader.pass_over(padding(len) as u64)?;
    }
    Ok(entries)
}
