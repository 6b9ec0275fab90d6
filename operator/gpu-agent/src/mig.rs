//! What a MIG instance is called.

const GIB: u64 = 1 << 30;

/// The profile from the instance's name, `NVIDIA A100-SXM4-80GB MIG 3g.40gb`.
pub fn profile_of_name(name: &str) -> Option<String> {
    let (_, profile) = name.rsplit_once("MIG ")?;
    let profile = profile.trim();
    let known = profile.contains("g.") && !profile.contains(char::is_whitespace);
    known.then(|| profile.to_owned())
}

/// The profile from what an instance has, for drivers that name every instance as its device: slices, and memory in eighths of
/// the device's, which is how NVIDIA rounds it.
pub fn profile_of_size(gpu_slices: u32, compute_slices: u32, memory: u64, device: u64) -> Option<String> {
    if gpu_slices == 0 || device == 0 {
        return None;
    }
    let eighths = (u128::from(memory) * 8).div_ceil(u128::from(device)) as u64;
    let gigabytes = (eighths * device.div_ceil(GIB) + 4) / 8;
    let part = if compute_slices == gpu_slices { String::new() } else { format!("{compute_slices}c.") };
    Some(format!("{part}{gpu_slices}g.{gigabytes}gb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_the_profile() {
        assert_eq!(profile_of_name("NVIDIA A100-SXM4-80GB MIG 3g.40gb").as_deref(), Some("3g.40gb"));
        assert_eq!(profile_of_name("NVIDIA H100 80GB HBM3 MIG 1c.2g.20gb").as_deref(), Some("1c.2g.20gb"));
        assert_eq!(profile_of_name("NVIDIA A100-SXM4-80GB"), None);
        assert_eq!(profile_of_name("NVIDIA A100-SXM4-80GB MIG something else"), None);
    }

    /// The sizes that the driver shows for the profiles of an A100.
    #[test]
    fn sizes_are_rounded_to_eighths() {
        let mib = 1 << 20;
        for (slices, memory, device, expected) in [
            (3, 40_192, 81_920, "3g.40gb"),
            (2, 19_968, 81_920, "2g.20gb"),
            (1, 9_728, 81_920, "1g.10gb"),
            (7, 81_050, 81_920, "7g.80gb"),
            (1, 4_864, 40_960, "1g.5gb"),
            (3, 19_968, 40_960, "3g.20gb"),
        ] {
            assert_eq!(profile_of_size(slices, slices, memory * mib, device * mib).as_deref(), Some(expected));
        }
        assert_eq!(profile_of_size(3, 1, 40_192 * mib, 81_920 * mib).as_deref(), Some("1c.3g.40gb"));
        assert_eq!(profile_of_size(0, 0, mib, mib), None);
    }
}
