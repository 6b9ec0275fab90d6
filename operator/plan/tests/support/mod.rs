//! What several tests start from: a complete build, and inventories.
#![allow(dead_code, reason = "each test binary compiles its own copy and uses a part of it")]

use realsyn_crds::BuildSpec;
use realsyn_plan::layout::{Inventory, SourceFile, SourceShard};
use serde_json::Value;

/// A build with every field given, as JSON.
pub fn full_spec() -> Value {
    serde_json::from_str(include_str!("build.json")).expect("tests/support/build.json is JSON")
}

/// A spec from its JSON, with the profile's defaults filled in.
pub fn effective(spec: &Value) -> BuildSpec {
    serde_json::from_value::<BuildSpec>(spec.clone()).expect("the spec can be read").effective()
}

/// An inventory of one file per shard; shard `i` has version `versions[i]` and `bytes` bytes.
pub fn inventory<S: AsRef<str>>(versions: &[S], bytes: u64) -> Inventory {
    let file = |(i, version): (usize, &S)| SourceFile {
        name: format!("part-{i:03}"),
        bytes,
        version: version.as_ref().to_owned(),
    };
    let shards = versions.iter().enumerate().map(|v| SourceShard::whole(vec![file(v)])).collect();
    Inventory::new(shards)
}

/// SplitMix64: a small generator that is the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; the bias is below 2^-32 for the small `n` of these tests.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True in `parts` of 1,000 cases.
    pub fn chance(&mut self, parts: u64) -> bool {
        self.next() % 1000 < parts
    }
}
