//! Which devices NVLink joins.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::FarEnd;

/// The peers of each device, by PCI address: those at the far ends of its links, and all that hang on a switch if it does.
pub fn peers(links: &BTreeMap<String, Vec<FarEnd>>) -> BTreeMap<String, Vec<String>> {
    let is_switch = |end: &FarEnd| match end {
        FarEnd::Switch => true,
        FarEnd::At(pci) => !links.contains_key(pci),
    };
    let switched: BTreeSet<&String> =
        links.iter().filter(|(_, ends)| ends.iter().any(is_switch)).map(|(pci, _)| pci).collect();
    let mut peers: BTreeMap<String, BTreeSet<String>> =
        links.keys().map(|pci| (pci.clone(), BTreeSet::new())).collect();
    for (pci, ends) in links {
        if switched.contains(pci) {
            let others = switched.iter().copied().filter(|other| *other != pci).cloned();
            peers.entry(pci.clone()).or_default().extend(others);
        }
        for end in ends {
            // A link joins two devices, also if one of them did not say so.
            if let FarEnd::At(far) = end
                && links.contains_key(far)
                && far != pci
            {
                peers.entry(pci.clone()).or_default().insert(far.clone());
                peers.entry(far.clone()).or_default().insert(pci.clone());
            }
        }
    }
    peers.into_iter().map(|(pci, peers)| (pci, peers.into_iter().collect())).collect()
}

/// The islands by size, the largest first: `8`, `4+4`; none without links.
pub fn islands<'a>(devices: impl Iterator<Item = (&'a str, &'a [String])>) -> Option<String> {
    let peers: BTreeMap<&str, &[String]> = devices.collect();
    let mut seen = BTreeSet::new();
    let mut sizes = Vec::new();
    for &start in peers.keys() {
        let (mut size, mut next) = (0, vec![start]);
        while let Some(device) = next.pop() {
            if seen.insert(device) {
                size += 1;
                next.extend(peers.get(device).copied().unwrap_or_default().iter().map(String::as_str));
            }
        }
        sizes.push(size);
    }
    sizes.retain(|&size| size > 1);
    sizes.sort_unstable_by(|a: &u32, b| b.cmp(a));
    let text = sizes.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pci: &str) -> FarEnd {
        FarEnd::At(pci.to_owned())
    }

    fn links(all: &[(&str, &[FarEnd])]) -> BTreeMap<String, Vec<FarEnd>> {
        all.iter().map(|(pci, ends)| ((*pci).to_owned(), ends.to_vec())).collect()
    }

    fn shown(peers: &BTreeMap<String, Vec<String>>) -> Option<String> {
        islands(peers.iter().map(|(pci, peers)| (pci.as_str(), peers.as_slice())))
    }

    #[test]
    fn a_switch_joins_all_that_hang_on_it() {
        let peers =
            peers(&links(&[("a", &[at("s1"), at("s2")]), ("b", &[FarEnd::Switch]), ("c", &[at("s2")]), ("d", &[])]));
        assert_eq!(peers["a"], ["b", "c"]);
        assert_eq!(peers["c"], ["a", "b"]);
        assert!(peers["d"].is_empty());
        assert_eq!(shown(&peers).as_deref(), Some("3"));
    }

    #[test]
    fn a_link_joins_both_ends() {
        let peers = peers(&links(&[("a", &[at("b")]), ("b", &[]), ("c", &[at("d"), at("c")]), ("d", &[at("c")])]));
        assert_eq!((&peers["a"], &peers["b"]), (&vec!["b".to_owned()], &vec!["a".to_owned()]));
        assert_eq!(peers["c"], ["d"]);
        assert_eq!(shown(&peers).as_deref(), Some("2+2"));
    }

    #[test]
    fn without_links_there_are_no_islands() {
        assert_eq!(shown(&peers(&links(&[("a", &[]), ("b", &[])]))), None);
    }
}
