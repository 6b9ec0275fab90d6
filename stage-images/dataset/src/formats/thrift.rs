//! A look at Parquet's own structures before the decoder sees them.
//!
//! The decoder takes field types on trust, recurses as deep as a schema says and sets aside whatever size a page claims.
//! This walks over the same bytes (Thrift's compact protocol), allocates nothing, and insists on the type of every field
//! that the decoder reads, so that the two cannot understand the same bytes differently.

use super::error::FormatError;

/// Deeper than any structure of the Parquet format.
const MAX_DEPTH: usize = 24;
/// Nesting of columns: a group of groups. The decoder recurses this deep.
const MAX_SCHEMA_DEPTH: usize = 32;

/// The type that a field has in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Bool,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Wire {
    fn new(code: u8) -> Option<Self> {
        Some(match code {
            1 | 2 => Self::Bool,
            3 => Self::Byte,
            4 => Self::I16,
            5 => Self::I32,
            6 => Self::I64,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            _ => return None,
        })
    }
}

/// What a walk meets, with the field ids that lead to it. Elements of a list have the list's path.
enum Seen {
    List { element: Wire, count: u64 },
    Struct,
    Int(i64),
}

struct Walk<'a, V> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<i16>,
    what: &'static str,
    expected: fn(&[i16]) -> Option<Wire>,
    visit: V,
}

impl<V: FnMut(&[i16], Seen) -> Result<(), String>> Walk<'_, V> {
    fn error(&self, detail: impl std::fmt::Display) -> FormatError {
        FormatError::corrupt(self.what, format!("{detail} (byte {} of it)", self.at))
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.error("it ends early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, len: u64) -> Result<(), FormatError> {
        if len > (self.bytes.len() - self.at) as u64 {
            return Err(self.error(format!("it ends before a field of {len} bytes")));
        }
        self.at += len as usize;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number has more than 64 bits"))
    }

    fn zigzag(&mut self) -> Result<i64, FormatError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn see(&mut self, seen: Seen) -> Result<(), FormatError> {
        (self.visit)(&self.path, seen).map_err(|detail| self.error(detail))
    }

    fn structure(&mut self, depth: usize) -> Result<(), FormatError> {
        if depth > MAX_DEPTH {
            return Err(self.error("it nests too deep"));
        }
        let mut last = 0i16;
        loop {
            let head = self.byte()?;
            if head & 0x0f == 0 {
                return Ok(());
            }
            let id = match head >> 4 {
                0 => i16::try_from(self.zigzag()?).ok(),
                delta => last.checked_add(i16::from(delta)),
            };
            last = id.ok_or_else(|| self.error("a field's number is out of range"))?;
            let wire = Wire::new(head & 0x0f).ok_or_else(|| self.error("a field has an unknown type"))?;
            self.path.push(last);
            if (self.expected)(&self.path).is_some_and(|expected| expected != wire) {
                return Err(self.error(format!("field {:?} has the wrong type", self.path)));
            }
            self.value(wire, depth, false)?;
            self.path.pop();
        }
    }

    fn value(&mut self, wire: Wire, depth: usize, in_list: bool) -> Result<(), FormatError> {
        match wire {
            // Outside of lists a Boolean's value is in its type.
            Wire::Bool if !in_list => Ok(()),
            Wire::Bool | Wire::Byte => self.skip(1),
            Wire::I16 | Wire::I32 | Wire::I64 => {
                let value = self.zigzag()?;
                self.see(Seen::Int(value))
            }
            Wire::Double => self.skip(8),
            Wire::Binary => {
                let len = self.varint()?;
                self.skip(len)
            }
            Wire::List => self.list(depth),
            Wire::Map => Err(self.error("it holds a map, which Parquet has none of")),
            Wire::Struct => {
                self.see(Seen::Struct)?;
                self.structure(depth + 1)
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<(), FormatError> {
        if depth > MAX_DEPTH {
            return Err(self.error("it nests too deep"));
        }
        let head = self.byte()?;
        if head == 0 {
            return Ok(());
        }
        let element = Wire::new(head & 0x0f).ok_or_else(|| self.error("a list has elements of an unknown type"))?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        self.see(Seen::List { element, count })?;
        // Every element takes a byte at least, so a forged count ends with the input.
        (0..count).try_for_each(|_| self.value(element, depth + 1, true))
    }
}

fn walk(
    what: &'static str,
    bytes: &[u8],
    expected: fn(&[i16]) -> Option<Wire>,
    visit: impl FnMut(&[i16], Seen) -> Result<(), String>,
) -> Result<usize, FormatError> {
    let mut walk = Walk { bytes, at: 0, path: Vec::with_capacity(MAX_DEPTH), what, expected, visit };
    walk.structure(0)?;
    Ok(walk.at)
}

/// What a page's header claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PageClaim {
    /// Bytes of the header itself.
    pub header: u64,
    /// Bytes of the page as it is stored.
    pub compressed: u64,
    /// Bytes of the page once it is decompressed.
    pub uncompressed: u64,
    /// Values in the page, nulls included.
    pub values: u64,
}

fn page_fields(path: &[i16]) -> Option<Wire> {
    Some(match path {
        [1..=4] => Wire::I32,
        [5..=8] => Wire::Struct,
        [5, 1..=4] | [7, 1..=2] | [8, 1..=6] => Wire::I32,
        [7, 3] | [8, 7] => Wire::Bool,
        _ => return None,
    })
}

/// The header of the page that `bytes` begin with.
pub fn page_header(bytes: &[u8]) -> Result<PageClaim, FormatError> {
    let (mut compressed, mut uncompressed, mut values) = (None, None, 0);
    let header = walk("a page header", bytes, page_fields, |path, seen| {
        let Seen::Int(value) = seen else {
            return Ok(());
        };
        let size = || u64::try_from(value).map_err(|_| format!("field {path:?} is negative: {value}"));
        match path {
            [2] if uncompressed.replace(size()?).is_some() => Err("two sizes are stated".to_owned()),
            [3] if compressed.replace(size()?).is_some() => Err("two sizes are stated".to_owned()),
            [5 | 7 | 8, 1] => {
                values = size()?.max(values);
                Ok(())
            }
            _ => Ok(()),
        }
    })?;
    match (compressed, uncompressed) {
        (Some(compressed), Some(uncompressed)) => {
            Ok(PageClaim { header: header as u64, compressed, uncompressed, values })
        }
        _ => Err(FormatError::corrupt("a page header", "it states no sizes")),
    }
}

fn schema_fields(path: &[i16]) -> Option<Wire> {
    Some(match path {
        [2] => Wire::List,
        [2, 1..=3 | 5..=9] => Wire::I32,
        [2, 4] => Wire::Binary,
        [2, 10] | [2, 10, _] => Wire::Struct,
        // Decimal, time and timestamp, integer, variant, and the two geographic types have parameters.
        [2, 10, 5, 1..=2] => Wire::I32,
        [2, 10, 7 | 8, 1] => Wire::Bool,
        [2, 10, 7 | 8, 2] | [2, 10, 7 | 8, 2, _] => Wire::Struct,
        [2, 10, 10, 1] => Wire::Byte,
        [2, 10, 10, 2] => Wire::Bool,
        [2, 10, 16, 1] => Wire::Byte,
        [2, 10, 17 | 18, 1] => Wire::Binary,
        [2, 10, 18, 2] => Wire::I32,
        _ => return None,
    })
}

/// Checks the schema in a footer: its nesting, and that it has at most `max_columns` columns and groups.
pub fn check_schema(footer: &[u8], max_columns: u64) -> Result<(), FormatError> {
    // Children that each open group still expects, and those of the element that is being read.
    let mut open: Vec<i64> = Vec::new();
    let (mut children, mut lists, mut elements) = (None, 0, 0);
    let close = |open: &mut Vec<i64>, children: &mut Option<i64>| {
        if let Some(children) = children.take() {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            open.push(children);
        }
        match open.len() > MAX_SCHEMA_DEPTH {
            true => Err(format!("columns nest deeper than {MAX_SCHEMA_DEPTH}")),
            false => Ok(()),
        }
    };
    walk("the footer", footer, schema_fields, |path, seen| match (path, seen) {
        ([2], Seen::List { element, count }) => {
            lists += 1;
            elements = count;
            match element == Wire::Struct && lists == 1 && count <= max_columns {
                true => Ok(()),
                false if count > max_columns => Err(format!("{count} columns, and the limit is {max_columns}")),
                false => Err("its schema is not one list of structures".to_owned()),
            }
        }
        ([2], Seen::Struct) => {
            close(&mut open, &mut children)?;
            children = Some(0);
            Ok(())
        }
        ([2, 5], Seen::Int(count)) if count < 0 => Err(format!("a group has {count} columns")),
        ([2, 5], Seen::Int(count)) => {
            children = Some(count);
            Ok(())
        }
        _ => Ok(()),
    })?;
    match elements {
        0 => Err(FormatError::corrupt("the footer", "it has no schema")),
        _ => Ok(()),
    }
}
