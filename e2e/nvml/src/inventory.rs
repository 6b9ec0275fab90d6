//! Nodes as one buys them. Addresses and sizes are those that such machines show.

use crate::scenario::{Device, Driver, Instance, Link, Scenario};

/// NVIDIA's PCI vendor number.
pub const NVIDIA: u16 = 0x10de;
const MIB: u64 = 1 << 20;

/// An inventory by the name that `nvml-scenario` takes.
pub fn named(name: &str) -> Option<Scenario> {
    Some(match name {
        "dgx-a100-40" => dgx_a100_40(),
        "dgx-a100-80" => dgx_a100_80(),
        "hgx-h100" => hgx_h100(),
        "l4" => l4(),
        "mixed-mig" => mixed_mig(),
        "no-driver" => no_driver(),
        _ => return None,
    })
}

/// Every name that `named` knows.
pub const NAMES: &[&str] = &["dgx-a100-40", "dgx-a100-80", "hgx-h100", "l4", "mixed-mig", "no-driver"];

/// Eight A100 of 40 GB behind six NVSwitches.
pub fn dgx_a100_40() -> Scenario {
    a100(40_960, "NVIDIA A100-SXM4-40GB")
}

/// Eight A100 of 80 GB behind six NVSwitches.
pub fn dgx_a100_80() -> Scenario {
    a100(81_920, "NVIDIA A100-SXM4-80GB")
}

fn a100(mib: u64, name: &str) -> Scenario {
    let buses = [0x07, 0x0f, 0x47, 0x4e, 0x87, 0x90, 0xb7, 0xbd];
    let numa = [3, 3, 1, 1, 7, 7, 5, 5];
    let switches: Vec<String> = (0xc4..=0xc9).map(|bus| format!("00000000:{bus:02x}:00.0")).collect();
    let devices = buses.iter().zip(numa).map(|(&bus, numa)| {
        let mut device = device(bus, name, mib, (8, 0), numa);
        device.links = (0..12).map(|link| Link { remote: switches[link / 2].clone(), vendor: NVIDIA }).collect();
        device
    });
    Scenario { devices: devices.collect(), ..Scenario::default() }
}

/// Eight H100 of 80 GB behind four NVSwitches.
pub fn hgx_h100() -> Scenario {
    let buses = [0x18, 0x2a, 0x3a, 0x5d, 0x9a, 0xab, 0xba, 0xdb];
    let devices = buses.iter().enumerate().map(|(index, &bus)| {
        let numa = i32::from(index >= 4);
        let mut device = device(bus, "NVIDIA H100 80GB HBM3", 81_559, (9, 0), numa);
        device.links = (0..18)
            .map(|link| Link { remote: format!("00000000:{:02x}:00.0", 5 + link % 4), vendor: NVIDIA })
            .collect();
        device.recovery_action = Some(0);
        device
    });
    let driver = Driver { version: "570.133.20".to_owned(), cuda: 12_080, ..Driver::default() };
    Scenario { driver, devices: devices.collect(), ..Scenario::default() }
}

/// Four L4, without NVLink and MIG.
pub fn l4() -> Scenario {
    let devices = [0x31, 0x35, 0xca, 0xce].iter().enumerate().map(|(index, &bus)| {
        let mut device = device(bus, "NVIDIA L4", 23_034, (8, 9), (index / 2) as i32);
        device.mig = None;
        device.power = Some(16_500);
        device
    });
    Scenario { devices: devices.collect(), ..Scenario::default() }
}

/// Two A100 of 80 GB joined by NVLink, the first of them cut in three instances, and one A100 of PCIe beside them.
pub fn mixed_mig() -> Scenario {
    let mut devices = vec![
        device(0x07, "NVIDIA A100-SXM4-80GB", 81_920, (8, 0), 0),
        device(0x0f, "NVIDIA A100-SXM4-80GB", 81_920, (8, 0), 0),
        device(0x47, "NVIDIA A100-PCIE-40GB", 40_960, (8, 0), 1),
    ];
    let far: Vec<String> = devices.iter().map(|device| device.pci.clone()).collect();
    devices[0].links = (0..4).map(|_| Link { remote: far[1].clone(), vendor: NVIDIA }).collect();
    devices[1].links = (0..4).map(|_| Link { remote: far[0].clone(), vendor: NVIDIA }).collect();
    devices[0].mig = Some(true);
    // Of a device in MIG mode the driver gives no utilisation.
    devices[0].utilization = None;
    devices[0].instances = [("3g.40gb", 40_192, 3), ("2g.20gb", 19_968, 2), ("1g.10gb", 9_728, 1)]
        .iter()
        .enumerate()
        .map(|(index, &(profile, mib, slices))| Instance {
            uuid: format!("MIG-{:08x}-0000-5000-8000-000000000007", index + 1),
            profile: profile.to_owned(),
            memory: mib * MIB,
            slices,
        })
        .collect();
    Scenario { devices, ..Scenario::default() }
}

/// The library is there, the kernel's module is not.
pub fn no_driver() -> Scenario {
    Scenario { driver: Driver { absent: true, ..Driver::default() }, ..Scenario::default() }
}

fn device(bus: u8, name: &str, mib: u64, compute: (i32, i32), numa: i32) -> Device {
    Device {
        uuid: format!("GPU-{bus:08x}-0000-4000-8000-0000000000{bus:02x}"),
        pci: format!("00000000:{bus:02X}:00.0"),
        name: name.to_owned(),
        memory: mib * MIB,
        used: 512 * MIB,
        compute,
        numa: Some(numa),
        mig: Some(false),
        ecc_uncorrected: Some(0),
        remapped_rows: Some((0, false, false)),
        power: Some(61_000),
        temperature: Some(34),
        utilization: Some(0),
        ..Device::default()
    }
}
