//! Shuffled objects: a file for each partition, one behind the other in partition order, and behind them an index.
//!
//! The index has an [entry](Extent::encode) of 64 bytes for each partition up to the last one that has rows. A reader asks for
//! the entries of its own partitions alone, so what it reads does not grow with the number of partitions; and appending
//! partitions to a corpus changes no object that has nothing in them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Digest;
use crate::records::{Object, PartitionTotal};

/// Bytes of an index entry.
pub const ENTRY: usize = 64;

/// Where a partition's file lies in an object: a complete file of its own at this byte range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// BLAKE3 of these bytes.
    pub hash: Digest,
}

/// An index that holds other bytes than were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index of partitions is damaged")]
pub struct Damaged;

impl Extent {
    /// The entry of partition `number`: offset, bytes and rows as little-endian `u64`, the hash, and a check by which the reader
    /// knows that it is this entry: the first eight bytes of the BLAKE3 of the number (`u32`) and all before. A partition
    /// without rows has zeros before its check.
    pub fn encode(number: u32, extent: Option<&Self>) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        if let Some(Self { offset, bytes, rows, hash }) = extent {
            for (to, value) in entry.chunks_exact_mut(8).zip([offset, bytes, rows]) {
                to.copy_from_slice(&value.to_le_bytes());
            }
            entry[24..56].copy_from_slice(&hash.0);
        }
        let check = check(number, &entry[..56]);
        entry[56..].copy_from_slice(&check);
        entry
    }

    /// Reads the entry of partition `number`; `None` where it has no rows.
    ///
    /// # Errors
    /// [`Damaged`] if it is not the entry of this partition.
    pub fn decode(number: u32, entry: &[u8]) -> Result<Option<Self>, Damaged> {
        let entry: &[u8; ENTRY] = entry.try_into().map_err(|_| Damaged)?;
        if entry[56..] != check(number, &entry[..56]) {
            return Err(Damaged);
        }
        let value = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
        let extent = Self {
            offset: value(0),
            bytes: value(8),
            rows: value(16),
            hash: Digest(entry[24..56].try_into().expect("thirty-two bytes")),
        };
        Ok((extent.rows > 0).then_some(extent))
    }
}

/// The numbers together are one block of BLAKE3: an advance reads hundreds of millions of entries of a large corpus.
fn check(number: u32, entry: &[u8]) -> [u8; 8] {
    let hash = Digest::of_bytes(&[&number.to_le_bytes(), entry].concat());
    hash.0[..8].try_into().expect("eight bytes")
}

/// An index, of the extents of the partitions that have rows.
pub fn index(extents: &BTreeMap<u32, Extent>) -> Vec<u8> {
    let end = extents.last_key_value().map_or(0, |(last, _)| last + 1);
    (0..end).flat_map(|number| Extent::encode(number, extents.get(&number))).collect()
}

impl Object {
    /// Where the entries of some partitions lie in a shuffled object. Partitions behind the last that has rows have none, so
    /// that there may be fewer entries than were asked for.
    ///
    /// # Errors
    /// [`Damaged`] if the object is too short for its index, or has none.
    pub fn entries(&self, partitions: Range<u32>) -> Result<Range<u64>, Damaged> {
        let count = u64::from(self.partitions.ok_or(Damaged)?);
        let index = self.bytes.checked_sub(count * ENTRY as u64).ok_or(Damaged)?;
        let at = |partition: u32| index + u64::from(partition).min(count) * ENTRY as u64;
        Ok(at(partitions.start)..at(partitions.end.max(partitions.start)))
    }
}

/// For each shuffled role, its partitions over all shards of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionTotals(pub BTreeMap<String, Vec<PartitionTotal>>);

impl PartitionTotals {
    /// Nothing in any of so many partitions of each role.
    pub fn new(partitions: &BTreeMap<String, u32>) -> Self {
        let nothing = PartitionTotal { hash: Digest::builder("partition").finish(), bytes: 0, rows: 0 };
        Self(partitions.iter().map(|(role, n)| (role.clone(), vec![nothing.clone(); *n as usize])).collect())
    }

    /// Adds what the next shard, in the order of their numbers, has of a role. Roles that are not shuffled are passed over.
    ///
    /// # Errors
    /// [`Damaged`] if `index` is not an index of at most as many partitions.
    pub fn add(&mut self, role: &str, index: &[u8]) -> Result<(), Damaged> {
        let Some(totals) = self.0.get_mut(role) else { return Ok(()) };
        let entries = index.chunks(ENTRY);
        if entries.len() > totals.len() {
            return Err(Damaged);
        }
        for ((number, entry), total) in (0..).zip(entries).zip(totals) {
            let Some(extent) = Extent::decode(number, entry)? else { continue };
            total.hash = Digest::of_bytes(&[total.hash.0, extent.hash.0].concat());
            total.bytes += extent.bytes;
            total.rows += extent.rows;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(n: u64) -> Extent {
        Extent { offset: 10 * n, bytes: 10, rows: n + 1, hash: Digest([n as u8; 32]) }
    }

    fn object(bytes: u64, partitions: u32) -> Object {
        let (role, name) = ("rows".into(), "n".into());
        Object { role, name, bytes, hash: Digest([0; 32]), rows: 1, partitions: Some(partitions) }
    }

    #[test]
    fn entries_are_read_back_and_no_other_passes_for_one() {
        let index = index(&BTreeMap::from([(1, extent(1)), (4, extent(4))]));
        assert_eq!(index.len(), 5 * ENTRY, "it ends with the last partition that has rows");
        let read = |number: u32| Extent::decode(number, &index[number as usize * ENTRY..][..ENTRY]);
        assert_eq!([0, 1, 2, 3].map(read), [Ok(None), Ok(Some(extent(1))), Ok(None), Ok(None)]);
        assert_eq!(read(4), Ok(Some(extent(4))));
        for at in 0..ENTRY {
            let mut entry = Extent::encode(1, Some(&extent(1)));
            entry[at] ^= 1;
            assert_eq!(Extent::decode(1, &entry), Err(Damaged), "byte {at}");
        }
        assert_eq!(Extent::decode(2, &Extent::encode(3, None)), Err(Damaged), "another partition's entry");
        assert_eq!(Extent::decode(2, &[0; ENTRY]), Err(Damaged), "zeros");
        assert_eq!(Extent::decode(2, &Extent::encode(2, None)[..63]), Err(Damaged));
    }

    #[test]
    fn a_reader_finds_its_entries_and_none_behind_the_last() {
        let object = object(1_000 + 3 * 64, 3);
        assert_eq!(object.entries(0..1), Ok(1_000..1_064));
        assert_eq!(object.entries(1..3), Ok(1_064..1_192));
        assert_eq!(object.entries(2..9), Ok(1_128..1_192));
        assert_eq!(object.entries(7..9), Ok(1_192..1_192));
        assert_eq!(self::object(100, 3).entries(0..1), Err(Damaged));
    }

    #[test]
    fn totals_follow_the_rows_and_the_order_of_the_shards() {
        let cut = BTreeMap::from([("rows".to_owned(), 3)]);
        let of = |indices: &[&BTreeMap<u32, Extent>]| {
            let mut totals = PartitionTotals::new(&cut);
            indices.iter().for_each(|extents| totals.add("rows", &index(extents)).unwrap());
            totals.0.remove("rows").unwrap()
        };
        let (a, b, none) =
            (BTreeMap::from([(0, extent(1)), (2, extent(2))]), BTreeMap::from([(0, extent(3))]), BTreeMap::new());
        let both = of(&[&a, &b]);
        assert_eq!(both.iter().map(|t| (t.bytes, t.rows)).collect::<Vec<_>>(), [(20, 6), (0, 0), (10, 3)]);
        assert_eq!(of(&[&a, &none, &b]), both, "a shard without rows changes nothing");
        let turned = of(&[&b, &a]);
        assert_ne!(turned[0].hash, both[0].hash);
        assert_eq!(turned[1..], both[1..]);
        let mut totals = PartitionTotals::new(&cut);
        assert_eq!(totals.add("rows", &index(&BTreeMap::from([(3, extent(3))]))), Err(Damaged), "a fourth partition");
        assert_eq!(totals.add("rows", &index(&a)[1..]), Err(Damaged));
        assert_eq!(totals.add("other", b"anything"), Ok(()));
    }
}
