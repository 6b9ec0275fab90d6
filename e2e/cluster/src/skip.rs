//! Tests that need more than the machine has.

use crate::binaries::Binaries;
use crate::node;

/// Set by whoever wants a machine without a cluster to fail instead of skipping.
const REQUIRED: &str = "REALSYN_REQUIRE_CLUSTER";

/// Why a control plane cannot be started here, in one sentence.
pub fn missing_for_control_plane() -> Option<String> {
    Binaries::default_folder().require_control_plane().err().map(|error| error.to_string())
}

/// Why a node cannot be started here, in one sentence.
pub fn missing_for_node() -> Option<String> {
    node::require(&Binaries::default_folder()).err().map(|error| error.to_string())
}

/// Says that a test did not run, and returns true, when `missing` is a reason. With `REALSYN_REQUIRE_CLUSTER` set it panics
/// instead.
pub fn skip(test: &str, missing: Option<String>) -> bool {
    let Some(why) = missing else { return false };
    assert!(std::env::var_os(REQUIRED).is_none(), "{test} must run ({REQUIRED} is set), but {why}");
    realsyn_skip::skipped(test, why);
    true
}
