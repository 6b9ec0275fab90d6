//! What becomes of the node when its driver does what drivers do; the driver is the stand-in.

mod support;

use std::collections::BTreeSet;

use realsyn_crds::GpuNodeStatus;
use realsyn_gpu_agent::metrics::Metrics;
use realsyn_gpu_agent::node::{Node, Rules, change};
use realsyn_gpu_agent::reader::Order;
use realsyn_nvml::{Scenario, Xid, inventory};
use support::{Rig, reason};

fn healthy(status: &GpuNodeStatus) -> String {
    status.summary.as_ref().map(|summary| summary.healthy.clone()).unwrap_or_default()
}

async fn first(scenario: Scenario) -> GpuNodeStatus {
    Rig::new(scenario).look().await
}

#[tokio::test]
async fn inventories_are_told_as_one_knows_them() {
    for (scenario, product, gpus, memory, mig, nvlink, compute) in [
        (inventory::dgx_a100_40(), "A100-SXM4-40GB", 8, "40.0Gi", None, Some("8"), "8.0"),
        (inventory::dgx_a100_80(), "A100-SXM4-80GB", 8, "80.0Gi", None, Some("8"), "8.0"),
        (inventory::hgx_h100(), "H100-SXM5-80GB", 8, "79.6Gi", None, Some("8"), "9.0"),
        (inventory::l4(), "L4-24GB", 4, "22.5Gi", None, None, "8.9"),
        (
            inventory::mixed_mig(),
            "A100-PCIE-40GB,A100-SXM4-80GB",
            3,
            "40.0Gi",
            Some("1g.10gb x1, 2g.20gb x1, 3g.40gb x1"),
            Some("2"),
            "8.0",
        ),
    ] {
        let numa: Vec<_> = scenario.devices.iter().map(|device| device.numa.map(|node| node as u32)).collect();
        let status = first(scenario).await;
        let summary = status.summary.clone().unwrap();
        assert_eq!((summary.product.as_str(), summary.gpus, summary.memory.as_str()), (product, gpus, memory));
        assert_eq!((summary.mig.as_deref(), summary.nvlink.as_deref()), (mig, nvlink), "{product}");
        assert_eq!(summary.healthy, format!("{gpus}/{gpus}"));
        assert_eq!(status.devices[0].compute, compute);
        assert_eq!(status.devices.iter().map(|device| device.numa).collect::<Vec<_>>(), numa);
        assert_eq!(status.message, None);
    }
}

#[tokio::test]
async fn a_driver_that_is_not_there_is_looked_for() {
    let mut rig = Rig::new(inventory::no_driver());
    let status = rig.look().await;
    assert_eq!(status.message.as_deref(), Some("the NVIDIA driver is not loaded"));
    assert_eq!((status.driver, status.devices.len()), (None, 0));
    rig.events().await;
    rig.pass(15);
    rig.scenario = inventory::dgx_a100_80();
    let status = rig.look().await;
    assert_eq!((status.driver_since.as_deref(), healthy(&status)), (Some("2026-03-01T10:00:15Z"), "8/8".to_owned()));
}

#[tokio::test]
async fn a_library_that_is_not_there_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let mut rig = Rig::new(inventory::l4());
    rig.reader = realsyn_gpu_agent::reader::Reader::start(realsyn_gpu_agent::reader::Options {
        library: library.clone(),
        sysfs: folder.path().to_owned(),
    })
    .unwrap();
    assert!(rig.look().await.message.unwrap().contains("there is no NVIDIA driver here"));
    // Any other library is no NVML either.
    std::fs::copy(realsyn_gpu_agent_program(), &library).unwrap();
    assert!(rig.look().await.message.is_some());
}

fn realsyn_gpu_agent_program() -> &'static str {
    env!("CARGO_BIN_EXE_realsyn-gpu-agent")
}

#[tokio::test]
async fn a_fatal_xid_counts_until_it_has_been_quiet_and_an_applications_does_not() {
    let mut rig = Rig::new(inventory::dgx_a100_80());
    rig.look().await;
    rig.scenario.xids = vec![Xid { device: 3, code: 31 }, Xid { device: 3, code: 94 }, Xid { device: 5, code: 48 }];
    let status = rig.events().await;
    assert_eq!((healthy(&status).as_str(), reason(&status.devices[5])), ("7/8", "Xid48"));
    assert_eq!(status.devices[5].message.as_deref(), Some("XID 48: a double-bit ECC error"));
    assert_eq!(status.devices[5].since.as_deref(), Some("2026-03-01T10:00:00Z"));
    assert_eq!(rig.events().await, status, "an XID is told once");
    rig.pass(599);
    assert_eq!(healthy(&rig.look().await), "7/8");
    rig.pass(1);
    assert_eq!(healthy(&rig.look().await), "8/8");
}

#[tokio::test]
async fn a_lost_device_stays_in_the_list_and_may_come_back() {
    let mut rig = Rig::new(inventory::dgx_a100_80());
    let before = rig.look().await;
    rig.scenario.xids.push(Xid { device: 2, code: 79 });
    rig.scenario.devices[2].lost = true;
    rig.events().await;
    let status = rig.look().await;
    assert_eq!((healthy(&status).as_str(), reason(&status.devices[2])), ("7/8", "Lost"));
    assert_eq!(status.devices[2].uuid, before.devices[2].uuid);
    assert_eq!((&status.devices[2].product, status.devices[2].memory), (&before.devices[2].product, 80 << 30));
    // It is not even counted any more, and the indexes of those behind it have moved.
    let gone = rig.scenario.devices.remove(2);
    rig.pass(3600);
    let status = rig.look().await;
    assert_eq!((status.devices.len(), reason(&status.devices[2])), (8, "Lost"));
    rig.scenario.xids.push(Xid { device: 2, code: 95 });
    let status = rig.events().await;
    assert_eq!(reason(&status.devices[3]), "Xid95", "the third device is the one that was the fourth");
    rig.scenario.devices.insert(2, realsyn_nvml::Device { lost: false, ..gone });
    rig.pass(15);
    assert_eq!(reason(&rig.look().await.devices[2]), "Lost", "it is back, but not for long enough");
    rig.pass(600);
    assert_eq!(rig.look().await.devices, before.devices);
}

#[tokio::test]
async fn a_driver_that_is_loaded_anew_wipes_the_slate() {
    let mut rig = Rig::new(inventory::hgx_h100());
    let before = rig.look().await;
    rig.scenario.xids.push(Xid { device: 0, code: 119 });
    assert_eq!(healthy(&rig.events().await), "7/8");
    rig.scenario.driver.load += 1;
    rig.scenario.driver.version = "575.57.08".to_owned();
    rig.pass(60);
    // One order is enough: the library is dropped and loaded again in between.
    let status = rig.look().await;
    assert_eq!((healthy(&status).as_str(), status.driver.as_deref()), ("8/8", Some("575.57.08")));
    assert_ne!(status.driver_since, before.driver_since);
    // XIDs of the new driver arrive.
    rig.scenario.xids.push(Xid { device: 0, code: 62 });
    assert_eq!(healthy(&rig.events().await), "7/8");
}

#[tokio::test]
async fn memory_that_goes_bad_is_told() {
    let mut rig = Rig::new(inventory::dgx_a100_40());
    rig.scenario.devices[0].ecc_uncorrected = Some(7);
    assert_eq!(healthy(&rig.look().await), "8/8", "errors from before are old news");
    rig.scenario.devices[0].ecc_uncorrected = Some(8);
    rig.scenario.devices[1].remapped_rows = Some((1, true, false));
    rig.scenario.devices[2].remapped_rows = Some((8, false, true));
    rig.scenario.devices[3].remapped_rows = None;
    rig.scenario.devices[3].pages_pending = Some(true);
    rig.scenario.devices[4].recovery_action = Some(1);
    rig.scenario.devices[5].recovery_action = Some(3);
    rig.scenario.devices[6].throttle = 0x40;
    rig.look().await;
    rig.pass(60);
    let status = rig.look().await;
    let reasons: Vec<&str> = status.devices.iter().map(reason).collect();
    let expected = ["EccUncorrected", "RowRemapPending", "RowRemapFailed", "RowRemapPending", "ResetRequired"];
    assert_eq!(reasons[..5], expected);
    assert_eq!(reasons[5..], ["healthy", "Thermal", "healthy"]);
}

#[tokio::test]
async fn what_wears_out_and_what_slows_down_is_measured() {
    let mut rig = Rig::new(inventory::dgx_a100_40());
    let devices = &mut rig.scenario.devices;
    (devices[0].ecc_corrected, devices[0].ecc_uncorrected) = (12, Some(1));
    (devices[0].remapped_corrected, devices[0].remapped_rows) = (3, Some((2, false, false)));
    (devices[1].remapped_rows, devices[1].retired_pages, devices[1].ecc_uncorrected) = (None, Some((5, 4)), None);
    // Idle, at its power limit, and slowed down by heat.
    devices[1].throttle = 0x1 | 0x4 | 0x8 | 0x40;
    let uuids = [devices[0].uuid.clone(), devices[1].uuid.clone()];
    rig.play();
    rig.reader.order(Order::Look);
    let facts = rig.facts().await;
    rig.node.look(&facts, rig.now);
    let metrics = Metrics::default();
    metrics.looked(&facts, &rig.node.status());
    let text = metrics.text();
    let value = |name: &str, device: usize, label: &str| {
        let head = format!(r#"realsyn_gpu_{name}{{uuid="{}",product="A100-SXM4-40GB",{label}}} "#, uuids[device]);
        text.lines().find_map(|line| line.strip_prefix(&head)).map(|value| value.parse::<f64>().unwrap())
    };
    for (name, on_first, on_second) in [
        ("ecc_errors", [Some(12.0), Some(1.0)], [None, None]),
        ("remapped_rows", [Some(3.0), Some(2.0)], [None, None]),
        ("retired_pages", [None, None], [Some(5.0), Some(4.0)]),
    ] {
        let both = |device| [r#"kind="corrected""#, r#"kind="uncorrected""#].map(|kind| value(name, device, kind));
        assert_eq!((both(0), both(1)), (on_first, on_second), "{name}: {text}");
    }
    let slow = |device| {
        let reasons = ["power-cap", "hw-slowdown", "hw-thermal", "sw-thermal", "hw-power-brake", "sync-boost"];
        let reasons =
            reasons.into_iter().filter(|r| value("throttled", device, &format!(r#"reason="{r}""#)) == Some(1.0));
        reasons.collect::<Vec<_>>()
    };
    assert_eq!((slow(0), slow(1)), (vec![], vec!["power-cap", "hw-slowdown", "hw-thermal"]), "{text}");
    assert_eq!(text.matches("realsyn_gpu_throttled{").count(), 8 * 8, "each reason of each device, and no other");
}

#[tokio::test]
async fn a_call_that_hangs_is_named_and_returns_when_it_can() {
    let mut rig = Rig::new(inventory::l4());
    let before = rig.look().await;
    rig.scenario.hangs.push("nvmlDeviceGetPowerUsage@1".to_owned());
    rig.play();
    rig.reader.order(Order::Look);
    let call = loop {
        match rig.reader.progress() {
            Some((call, begun)) if begun.elapsed().as_millis() > 50 => break call,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(call, "nvmlDeviceGetPowerUsage");
    rig.node.stuck(call, rig.now, rig.now);
    let hung = rig.node.status();
    let why = "nvmlDeviceGetPowerUsage has not returned since 2026-03-01T10:00:00Z";
    assert_eq!(hung.message.as_deref(), Some(why));
    assert_eq!(healthy(&hung), format!("0/{}", before.devices.len()), "nothing is known of any device");
    assert_eq!((reason(&hung.devices[0]), hung.devices[0].message.as_deref()), ("DriverHung", Some(why)));

    // The next agent cannot even load the driver: what the one before saw stays, and is no better.
    let mut next = Node::new(Rules::default(), Some(hung.clone()), Some("2026-03-01T09:00:00Z".parse().unwrap()));
    next.stuck("nvmlInit_v2", rig.now, rig.now);
    let still = next.status();
    assert_eq!((still.devices, still.driver, still.driver_since), (hung.devices, hung.driver, hung.driver_since));
    assert!(still.message.unwrap().starts_with("nvmlInit_v2"));
    // Orders that come meanwhile are not queued.
    rig.reader.order(Order::Look);
    rig.scenario.hangs.clear();
    rig.play();
    // It returns after 200 s; ten quiet minutes begin then.
    rig.pass(200);
    let facts = rig.facts().await;
    rig.node.look(&facts, rig.now);
    assert_eq!((rig.node.status().message, healthy(&rig.node.status())), (None, format!("0/{}", before.devices.len())));
    rig.pass(599);
    assert_ne!(rig.look().await, before);
    rig.pass(1);
    assert_eq!(rig.look().await, before);
}

#[tokio::test]
async fn an_agent_that_starts_anew_goes_on_where_the_last_one_stopped() {
    let mut rig = Rig::new(inventory::dgx_a100_80());
    rig.look().await;
    rig.scenario.xids.push(Xid { device: 1, code: 120 });
    rig.events().await;
    rig.scenario.devices.remove(6);
    let before = rig.look().await;
    assert_eq!(healthy(&before), "6/8");

    let restart = |boot: &str| Node::new(Rules::default(), Some(before.clone()), Some(boot.parse().unwrap()));
    rig.pass(30);
    rig.node = restart("2026-03-01T09:00:00Z");
    assert_eq!(rig.look().await, before);
    assert_eq!(change(Some(&before), rig.node.status(), rig.now), None);
    rig.pass(600);
    assert_eq!(healthy(&rig.look().await), "7/8", "the XID is over, the lost device is not");

    // The machine has been started since, so another driver was loaded.
    rig.node = restart("2026-03-01T10:00:10Z");
    assert_eq!(healthy(&rig.look().await), "7/7");
    assert_ne!(rig.node.status().driver_since, before.driver_since);
}

#[tokio::test]
async fn allocation_is_told_of_devices_and_instances() {
    let mut rig = Rig::new(inventory::mixed_mig());
    let status = rig.look().await;
    assert!(status.allocation_unknown);
    let ids = [status.devices[1].uuid.clone(), status.devices[0].instances[0].uuid.clone(), "GPU-elsewhere".to_owned()];
    rig.node.allocated(Some(BTreeSet::from(ids)), rig.now);
    let status = rig.node.status();
    let held: Vec<bool> = status.devices.iter().map(|device| device.allocated).collect();
    assert_eq!((held, status.summary.unwrap().free), (vec![true, true, false], 3));
    let instances: Vec<bool> = status.devices[0].instances.iter().map(|instance| instance.allocated).collect();
    assert_eq!((instances, status.allocation_unknown), (vec![true, false, false], false));
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes() {
    let mut rig = Rig::new(inventory::dgx_a100_80());
    let first = change(None, rig.look().await, rig.now).unwrap();
    assert_eq!(first.changed_at.as_deref(), Some("2026-03-01T10:00:00Z"));
    for degrees in 35..60 {
        rig.pass(15);
        let device = &mut rig.scenario.devices[0];
        (device.temperature, device.power, device.utilization) = (Some(degrees), Some(degrees * 5000), Some(degrees));
        device.used += 1 << 30;
        assert_eq!(change(Some(&first), rig.look().await, rig.now), None);
    }
    rig.scenario.devices[0].mig = Some(true);
    let second = change(Some(&first), rig.look().await, rig.now).unwrap();
    assert_eq!(second.changed_at.as_deref(), Some("2026-03-01T10:06:15Z"));
}
