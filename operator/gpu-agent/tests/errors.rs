//! Every error code of NVML on every call: the status is still there, and says nothing that nobody read.

mod support;

use realsyn_crds::GpuNodeStatus;
use realsyn_nvml::{CALLS, inventory};
use support::{Rig, reason};

/// All codes of `nvmlReturn_t`, one that no header knows, and none of success.
const CODES: std::ops::RangeInclusive<i32> = 1..=30;
const MORE: [i32; 2] = [999, 4711];
const GPU_IS_LOST: i32 = 15;
const RESET_REQUIRED: i32 = 16;

fn sensible(status: &GpuNodeStatus, known: &GpuNodeStatus, code: i32, what: &str) {
    if status.devices.is_empty() {
        assert!(status.message.as_ref().is_some_and(|message| !message.is_empty()), "{what}: nothing, and no reason");
        assert_eq!(status.summary, None, "{what}");
        return;
    }
    assert!(status.devices.len() == known.devices.len() || status.message.is_some(), "{what}: a device is missing");
    for device in &status.devices {
        let same = known.devices.iter().find(|known| known.uuid == device.uuid || known.pci == device.pci);
        let same = same.unwrap_or_else(|| panic!("{what}: {device:?} does not exist"));
        assert!(device.memory == same.memory || device.memory == 0, "{what}");
        assert!(device.product == same.product || device.product.is_empty(), "{what}");
        match reason(device) {
            "healthy" | "Unreadable" => {}
            "Lost" => assert!(matches!(code, GPU_IS_LOST | 0), "{what}: lost"),
            "ResetRequired" => assert_eq!(code, RESET_REQUIRED, "{what}"),
            other => panic!("{what}: {other}"),
        }
    }
}

#[tokio::test]
async fn every_code_on_every_call_is_survived() {
    let mut scenario = inventory::mixed_mig();
    // One that retires pages instead of remapping rows, so that it is asked about those as well.
    (scenario.devices[2].remapped_rows, scenario.devices[2].pages_pending) = (None, Some(false));
    let mut rig = Rig::new(scenario);
    let known = rig.look().await;
    let mut tried = 0;
    for call in CALLS {
        for code in CODES.chain(MORE) {
            let what = format!("{call} gives {code}");
            let failing = [((*call).to_owned(), code)];
            // It begins to fail.
            rig.scenario.errors.extend(failing.clone());
            let status = rig.events().await;
            sensible(&status, &known, code, &what);
            let status = rig.look().await;
            sensible(&status, &known, code, &what);
            if !status.devices.is_empty() {
                assert_eq!(status.devices.len(), known.devices.len(), "{what}: a known device is forgotten");
                let uuids = |status: &GpuNodeStatus| status.devices.iter().map(|d| d.uuid.clone()).collect::<Vec<_>>();
                assert_eq!(uuids(&status), uuids(&known), "{what}");
            }
            // It fails from the first look at another driver on.
            rig.scenario.driver.absent = true;
            assert!(rig.look().await.devices.is_empty(), "{what}");
            rig.scenario.driver.absent = false;
            for _ in 0..2 {
                sensible(&rig.look().await, &known, code, &what);
            }
            // It works again.
            rig.scenario.errors.clear();
            rig.look().await;
            rig.pass(600);
            let after = rig.look().await;
            assert_eq!(after.message, None, "{what}: afterwards");
            assert_eq!(after.driver, known.driver, "{what}: afterwards");
            let bare = |status: &GpuNodeStatus| status.devices.clone();
            // NVLinks are read every fourth look.
            if after.devices != known.devices {
                rig.look().await;
                rig.look().await;
                assert_eq!(bare(&rig.look().await), known.devices, "{what}: afterwards");
            }
            tried += 1;
        }
    }
    assert_eq!(tried, CALLS.len() * 32);
    // What the agent never calls cannot fail either.
    let silent = ["nvmlInit_v2", "nvmlShutdown", "nvmlEventSetWait_v2", "nvmlEventSetFree"];
    for call in CALLS.iter().filter(|call| !silent.contains(call)) {
        assert!(rig.failed.contains(call), "{call} was never made");
    }
}
