//! A node whose driver is the stand-in, with a clock that only moves when told.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{GpuDevice, GpuNodeStatus};
use realsyn_gpu_agent::facts::Facts;
use realsyn_gpu_agent::node::{Node, Rules};
use realsyn_gpu_agent::reader::{Answer, Options, Order, Reader};
use realsyn_nvml::{Scenario, StandIn};
use tempfile::TempDir;

pub struct Rig {
    pub scenario: Scenario,
    pub node: Node,
    pub reader: Reader,
    pub now: Timestamp,
    /// The calls that failed so far.
    pub failed: BTreeSet<&'static str>,
    stand_in: StandIn,
    _folder: TempDir,
}

impl Rig {
    pub fn new(scenario: Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stand_in = StandIn::install(folder.path(), &scenario).unwrap();
        let reader = Reader::start(Options { library: stand_in.library(), sysfs: stand_in.sysfs() }).unwrap();
        let now = "2026-03-01T10:00:00Z".parse().unwrap();
        Self {
            scenario,
            node: Node::new(Rules::default(), None, None),
            reader,
            now,
            failed: BTreeSet::new(),
            stand_in,
            _folder: folder,
        }
    }

    /// The driver shows what the scenario says by now.
    pub fn play(&self) {
        self.stand_in.play(&self.scenario).unwrap();
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Plays the scenario and looks at it.
    pub async fn look(&mut self) -> GpuNodeStatus {
        self.play();
        self.reader.order(Order::Look);
        let facts = self.facts().await;
        self.node.look(&facts, self.now);
        self.node.status()
    }

    pub async fn facts(&mut self) -> Facts {
        match self.reader.answer().await {
            Some(Answer::Looked(facts)) => {
                self.failed.extend(facts.failures.iter().map(|failure| failure.call));
                *facts
            }
            other => panic!("a look was ordered, not {other:?}"),
        }
    }

    /// Plays the scenario and takes the XIDs.
    pub async fn events(&mut self) -> GpuNodeStatus {
        self.play();
        self.reader.order(Order::Events);
        match self.reader.answer().await {
            Some(Answer::Xids(xids)) => xids.iter().for_each(|&(index, number)| self.node.xid(index, number, self.now)),
            other => panic!("events were ordered, not {other:?}"),
        }
        self.node.status()
    }
}

pub fn reason(device: &GpuDevice) -> &str {
    assert_eq!(device.healthy, device.reason.is_none(), "{device:?}");
    device.reason.as_deref().unwrap_or("healthy")
}
