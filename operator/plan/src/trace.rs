//! One trace for each generation of a build or release. Its id follows from what it is about, so that the controller,
//! every pod and a controller that was started anew agree on it without telling each other.

use crate::Digest;

/// The `traceparent` under which everything about a generation of an object happens, as W3C Trace Context writes it:
/// version, trace, span, and that it is sampled.
pub fn traceparent(uid: &str, generation: i64) -> String {
    let id = Digest::builder("trace").part(uid).part(generation.to_le_bytes()).finish().to_string();
    format!("00-{}-{}-01", &id[..32], &id[32..48])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_follows_from_object_and_generation() {
        let uid = "0a6ba0ee-8a3d-4b07-bb8c-6e7f1f2f7b11";
        let first = traceparent(uid, 1);
        let parts: Vec<&str> = first.split('-').collect();
        assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert_eq!((parts[0], parts[3]), ("00", "01"));
        let hex = |p: &&str| p.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        assert!(parts.iter().all(hex), "{first}");
        assert_eq!(first, traceparent(uid, 1));
        for other in [traceparent(uid, 2), traceparent(uid, 256), traceparent("another", 1)] {
            assert!(other[3..35] != first[3..35] && other[36..52] != first[36..52], "{other}");
        }
    }
}
