//! Which GPUs of a node NVLink joins.

use realsyn_crds::GpuDevice;

/// The NVLink island of each device: those that healthy devices join, directly or through others.
pub(super) fn islands(devices: &[GpuDevice]) -> Vec<u16> {
    let mut at: Vec<(&str, usize)> = devices.iter().enumerate().map(|(i, d)| (d.pci.as_str(), i)).collect();
    at.sort_unstable();
    let can_join = |i: usize| devices[i].healthy && !devices[i].mig;
    // A forest: each device points to one of its island with a lower index, or to itself.
    let mut up: Vec<usize> = (0..devices.len()).collect();
    let mut apart = (0..devices.len()).filter(|i| can_join(*i)).count();
    for (i, device) in devices.iter().enumerate().filter(|(i, _)| can_join(*i)) {
        // Behind a switch each device names all others, and the first has said it all.
        if apart == 1 {
            break;
        }
        for pci in &device.nvlink {
            let Ok(found) = at.binary_search_by_key(&pci.as_str(), |(pci, _)| pci) else { continue };
            let peer = at[found].1;
            if can_join(peer) {
                let (a, b) = (root(&up, i), root(&up, peer));
                up[a.max(b)] = a.min(b);
                apart -= usize::from(a != b);
            }
        }
    }
    let island: Vec<usize> = (0..devices.len()).map(|i| root(&up, i)).collect();
    let roots = (0..devices.len()).filter(|i| island[*i] == *i);
    let mut number = vec![0; devices.len()];
    roots.zip(0..).for_each(|(root, n)| number[root] = n);
    island.iter().map(|root| number[*root]).collect()
}

/// Leaves of each device's links the one to the first device of its island, which says the same of devices that are as well as
/// these: behind a switch each names all others, and a large cluster has hundreds of thousands of such names.
pub fn thin_links(devices: &mut [GpuDevice]) {
    let islands = islands(devices);
    for i in 0..devices.len() {
        let first = islands.iter().position(|island| *island == islands[i]).expect("its own is among them");
        devices[i].nvlink = if first == i { Vec::new() } else { vec![devices[first].pci.clone()] };
    }
}

fn root(up: &[usize], mut i: usize) -> usize {
    while up[i] != i {
        i = up[i];
    }
    i
}
