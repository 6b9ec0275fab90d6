//! Injuries to a cluster while a build runs, in a seeded order; each hits something that is at work, and the build must get
//! further before the next.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use realsyn_cluster::{NODE_NAME, Node, Process, until};
use realsyn_e2e::S3Server;
use serde_json::Value;

use super::support::NAMESPACE;
use super::support::story::{OPERATOR, Story};
use super::{Build, LATER};

/// How long a build may take to get a commit further, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// A process that works on a shard, as `pgrep -f` finds it; a shell with this in its own command line is none.
const WORKER: &str = "[r]ealsyn stage ";
/// The process of the controller's pod; its whole command line begins so.
const CONTROLLER: &str = "^/usr/local/bin/realsyn-controller ";

/// What happens to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Injury {
    WorkersKilled,
    ShimsKilled,
    Killed(Process),
    ControllerKilled,
    StoreKilled,
    ScratchFilled,
    JobDeleted,
    NodeDrained,
    SuspendedAndResumed,
    ChangedTwiceInASecond,
    CommitsLate,
    OperatorUpgraded,
}

const ALL: &[Injury] = &[
    Injury::WorkersKilled,
    Injury::ShimsKilled,
    Injury::Killed(Process::ApiServer),
    Injury::Killed(Process::Etcd),
    Injury::Killed(Process::Kubelet),
    Injury::Killed(Process::Containerd),
    Injury::ControllerKilled,
    Injury::StoreKilled,
    Injury::ScratchFilled,
    Injury::JobDeleted,
    Injury::NodeDrained,
    Injury::SuspendedAndResumed,
    Injury::ChangedTwiceInASecond,
    Injury::CommitsLate,
    Injury::OperatorUpgraded,
];

/// So many injuries: all of them in a random order, and again.
fn schedule(seed: u64, count: usize) -> VecDeque<Injury> {
    // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    let draw = |n: u64| {
        let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let rounds = (0..).flat_map(|round: u64| {
        let mut order: Vec<(u64, Injury)> = (0..).map(|n| draw(round << 32 | n)).zip(ALL.iter().copied()).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, injury)| injury)
    });
    rounds.take(count).collect()
}

/// A cluster, and what it needs.
pub struct Patient<'a> {
    pub story: &'a Story,
    pub s3: &'a mut S3Server,
    /// The tag of the workers' image in the operator's settings.
    pub tag: &'static str,
    /// The build that runs now.
    pub build: Build,
    /// Those that are still to come.
    pub injuries: VecDeque<Injury>,
}

/// All injuries in a random order; `REALSYN_SEED` and `REALSYN_INJURIES` choose another, and more or fewer.
pub fn injuries() -> VecDeque<Injury> {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |n| n.parse().unwrap());
    let (seed, count) = (number("REALSYN_SEED", 1), number("REALSYN_INJURIES", ALL.len() as u64));
    eprintln!("seed {seed}, {count} injuries");
    schedule(seed, count as usize)
}

impl Patient<'_> {
    /// Injures until no injury is left or the release is published.
    pub fn suffer(&mut self) {
        let began = Instant::now();
        while !self.injuries.is_empty() {
            if !self.at_work() {
                eprintln!("{} is published, and {} injuries are left", self.build.release, self.injuries.len());
                return;
            }
            let injury = self.injuries.pop_front().expect("it was not empty");
            let before = self.commits();
            let hit = self.injure(injury).unwrap_or_else(|error| panic!("{injury:?}: {error:#}"));
            eprintln!("{:5.0} s: {injury:?}: {hit}", began.elapsed().as_secs_f64());
            let further = || Ok(self.commits() > before || self.is_published());
            let waited = until(PATIENCE, "the next commit", further);
            waited.unwrap_or_else(|error| panic!("after {injury:?}: {error:#}\n{}", self.state()));
        }
    }

    fn injure(&mut self, injury: Injury) -> Result<String> {
        match injury {
            Injury::WorkersKilled => {
                self.on_a_worker(&["pkill", "-KILL", "-e", "-f", WORKER]).map(|said| one_line(&said))
            }
            Injury::ShimsKilled => {
                self.node().exec(&["pkill", "-KILL", "-e", "-f", "containerd-shim-runc-v2"]).map(|said| one_line(&said))
            }
            Injury::Killed(process) => self.node().restart(process).map(|()| "started again".to_owned()),
            Injury::ControllerKilled => self.kill_controller(),
            Injury::StoreKilled => self.s3.restart().map(|()| "started again".to_owned()),
            Injury::ScratchFilled => self.fill_scratch(),
            Injury::JobDeleted => {
                self.kubectl(&["delete", "jobs", "-l", "realsyn.dev/step", "--wait=false"]).map(|said| one_line(&said))
            }
            Injury::NodeDrained => {
                let drain =
                    ["drain", NODE_NAME, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"];
                let said = self.node().kubectl(&drain)?;
                self.node().kubectl(&["uncordon", NODE_NAME])?;
                // It went with everything else.
                anyhow::ensure!(said.contains("realsyn-controller"), "{said}");
                Ok(one_line(&said))
            }
            Injury::SuspendedAndResumed => {
                self.suspend(true)?;
                until(PATIENCE, "all pods to be gone", || {
                    Ok(self.kubectl(&["get", "pods", "-o", "name"])?.trim().is_empty())
                })?;
                self.suspend(false)?;
                Ok("no pod was left in between".to_owned())
            }
            Injury::ChangedTwiceInASecond => {
                let began = Instant::now();
                for file in [&self.build.changed, &self.build.file] {
                    self.kubectl(&["apply", "--server-side", "-f", file.to_str().expect("UTF-8")])?;
                }
                Ok(format!("there and back within {:.1} s", began.elapsed().as_secs_f64()))
            }
            Injury::CommitsLate => self.commit_late(),
            Injury::OperatorUpgraded => self.upgrade(),
        }
    }

    /// Not a byte is left where pods have their scratch volumes and kubelet writes their settings, until a pod that came
    /// meanwhile has suffered from it.
    fn fill_scratch(&self) -> Result<String> {
        let file = super::pods_folder(self.node()).join("full");
        // Those of the last time would be taken for this one's.
        self.kubectl(&["delete", "events", "--all"])?;
        let fill = "exec 2>/dev/null; head -c 100G /dev/zero >$0; df --output=avail $0 | tail -1";
        let left = self.node().exec(&["bash", "-c", fill, &file.display().to_string()])?;
        anyhow::ensure!(left.trim() == "0", "{left} KiB are left");
        let suffered = until(PATIENCE, "a pod to suffer", || {
            let events =
                self.kubectl(&["get", "events", "-o", "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}"])?;
            Ok(events.contains("no space left on device") || self.is_published())
        });
        self.node().exec(&["rm", &file.display().to_string()])?;
        suffered?;
        Ok("a pod could not be set up".to_owned())
    }

    /// The process in the controller's pod dies at once; kubelet starts another in the same pod.
    fn kill_controller(&self) -> Result<String> {
        let starts = || {
            let counts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
            self.node().kubectl(&["get", "pods", "-n", OPERATOR, "-o", counts])
        };
        let mut said = None;
        let mut before = String::new();
        // It may be on its way to another pod.
        until(PATIENCE, "a controller to kill", || {
            before = starts()?;
            said = self.node().exec(&["pkill", "-KILL", "-e", "-f", CONTROLLER]).ok();
            Ok(said.is_some())
        })?;
        until(PATIENCE, "the controller to be started again", || Ok(starts()? != before))?;
        Ok(one_line(&said.unwrap_or_default()))
    }

    /// A worker stops in the middle of its task: its process, and the name of its host.
    fn freeze(&self) -> Result<[String; 2]> {
        let freeze = format!(
            "set -e; pid=$(pgrep -o -f '{WORKER}'); kill -STOP $pid; \
             echo $pid $(tr '\\0' '\\n' </proc/$pid/environ | sed -n 's/^HOSTNAME=//p')"
        );
        let said = self.on_a_worker(&["bash", "-c", &freeze])?;
        let words: Vec<String> = said.split_whitespace().map(str::to_owned).collect();
        words.try_into().map_err(|words| anyhow::anyhow!("froze {words:?}"))
    }

    fn thaw(&self, pid: &str) -> Result<String> {
        self.node().exec(&["kill", "-CONT", pid])
    }

    /// A worker stops in the middle of its task, its pod is taken for dead, another does the work; then it goes on.
    fn commit_late(&self) -> Result<String> {
        let [pid, host] = self.freeze()?;
        // The shim that would kill it must not be told to, or its late commit would never come.
        let freeze_shim = format!("shim=$(ps -o ppid= -p {pid} | tr -d ' '); kill -STOP $shim && echo $shim");
        let shim = self.node().exec(&["bash", "-c", &freeze_shim])?;
        let done = self.replaced(&host);
        self.thaw(&pid)?;
        let gone = until(PATIENCE, "the late worker to end", || {
            let state = self.node().exec(&["bash", "-c", &format!("ps -o stat= -p {pid} || true")])?;
            // Its shim, which would reap it, is still frozen.
            Ok(state.trim().is_empty() || state.trim().starts_with('Z'))
        });
        self.thaw(shim.trim())?;
        done?;
        gone?;
        Ok(format!("{host} went on after another had done its task"))
    }

    /// The operator is upgraded by Helm while a worker is in the middle of its task: its Job goes on, and what it works for
    /// keeps the image of workers that it began with.
    fn upgrade(&mut self) -> Result<String> {
        let [pid, host] = self.freeze()?;
        let done = self.upgraded_beside(&host);
        self.thaw(&pid)?;
        done
    }

    fn upgraded_beside(&mut self, host: &str) -> Result<String> {
        let (job, _) = host.rsplit_once('-').context("the host name of an indexed pod")?;
        let get = |what: &str, fields: &str| self.kubectl(&["get", what, "-o", &format!("jsonpath={fields}")]);
        let job = format!("job/{job}");
        let owner = get(&job, "{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}")?;
        let state = || {
            let at_work = get(&job, "{.metadata.uid} {..containers[0].image}")?;
            anyhow::Ok((at_work, get(&owner, "{.status.workerImage}")?))
        };
        let (before, led) = (state()?, self.story.leader());
        let tag = if self.tag == LATER { "test" } else { LATER };
        self.story.upgrade(&format!("worker.image.tag={tag}"));
        until(PATIENCE, "another controller to lead", || {
            let leader = self.story.leader();
            Ok(!leader.is_empty() && leader != led)
        })?;
        // Asked to try again what has failed, it writes down that it was asked: it has looked at everything then.
        let token = format!("upgraded-{}", self.injuries.len());
        self.kubectl(&["annotate", "--overwrite", &owner, &format!("realsyn.dev/retry={token}")])?;
        until(PATIENCE, "it to look", || Ok(get(&owner, "{.status.retried}")? == token))?;
        let after = state()?;
        anyhow::ensure!(after == before, "{before:?} became {after:?}");
        self.tag = tag;
        Ok(format!("{job} of {owner} goes on with {}, and others begin with the tag {tag}", before.1))
    }

    /// Treats the pod with this host name as the cluster treats those of a dead node, and waits until another has done its
    /// task. Its Job replaces it only once it is said to have failed, which on a dead node the pod garbage collector does.
    fn replaced(&self, host: &str) -> Result<()> {
        let (job, index) = host.rsplit_once('-').context("the host name of an indexed pod")?;
        let of_task = format!("batch.kubernetes.io/job-name={job},batch.kubernetes.io/job-completion-index={index}");
        let of_task = |fields: &str| self.kubectl(&["get", "pods", "-l", &of_task, "-o", fields]);
        let pods = of_task("jsonpath={.items[*].metadata.name}")?;
        let failed = r#"{"status":{"phase":"Failed","conditions":[{"type":"DisruptionTarget","status":"True","reason":"DeletionByPodGC"}]}}"#;
        for pod in pods.split_whitespace() {
            self.kubectl(&["patch", "pod", pod, "--subresource=status", "--type=strategic", "-p", failed])?;
            self.kubectl(&["delete", "pod", pod, "--force", "--grace-period=0", "--wait=false"])?;
        }
        until(PATIENCE, "another pod to do the task", || {
            let left = self.kubectl(&["get", "job", job, "--ignore-not-found", "-o", "name"])?;
            Ok(left.trim().is_empty() || of_task("jsonpath={.items[*].status.phase}")?.contains("Succeeded"))
        })
    }

    /// Does something to a worker, which fails where there is none: the one that was seen may have ended meanwhile.
    fn on_a_worker(&self, command: &[&str]) -> Result<String> {
        let mut said = None;
        until(PATIENCE, "a worker to injure", || {
            said = self.node().exec(command).ok();
            Ok(said.is_some() || self.is_published())
        })?;
        said.context("the last worker ended before it could be injured: another seed injures earlier")
    }

    fn suspend(&self, whether: bool) -> Result<()> {
        let patch = format!(r#"{{"spec":{{"suspend":{whether}}}}}"#);
        self.kubectl(&["patch", "rsb", &self.build.name, "--type=merge", "-p", &patch]).map(drop)
    }

    /// Waits until a worker is at work; false if there is nothing left to do.
    fn at_work(&self) -> bool {
        let works = || self.node().exec(&["pgrep", "-f", WORKER]).is_ok();
        let waited = until(PATIENCE, "a worker", || Ok(works() || self.is_published()));
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.state()));
        !self.is_published()
    }

    fn is_published(&self) -> bool {
        self.kubectl(&["get", "rsr", &self.build.release, "-o", "jsonpath={.status.digest}"])
            .is_ok_and(|digest| !digest.is_empty())
    }

    fn commits(&self) -> usize {
        names_below(&self.build.objects).iter().filter(|name| name.contains(".commit.json")).count()
    }

    fn state(&self) -> String {
        self.kubectl(&["get", "rsb,rsr,jobs,pods", "-o", "wide"]).unwrap_or_default()
    }

    fn node(&self) -> &Node {
        &self.story.node
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.node().kubectl(&[&["-n", NAMESPACE], arguments].concat())
    }
}

/// The files below a folder.
pub fn names_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let below = entries.flatten().flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => names_below(&entry.path()),
        _ => vec![entry.path().display().to_string()],
    });
    below.collect()
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

/// Every Job that was ever made: when, for which stage, and its name.
pub struct Recorder {
    lines: Arc<Mutex<BTreeMap<String, (String, String)>>>,
    watch: Arc<Mutex<Option<Child>>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Watches until it is dropped, however often the API server dies.
    pub fn start(node: &Node) -> Self {
        let lines: Arc<Mutex<BTreeMap<String, (String, String)>>> = Arc::default();
        let watch: Arc<Mutex<Option<Child>>> = Arc::new(Mutex::new(None));
        const FIELDS: &str =
            r#"jsonpath={.metadata.name} {.metadata.creationTimestamp} {.metadata.labels.realsyn\.dev/stage}{"\n"}"#;
        let mut command = node.control_plane().kubectl_command();
        command.args(["-n", NAMESPACE, "get", "jobs", "-w", "-o", FIELDS]).stdout(Stdio::piped()).stderr(Stdio::null());
        *watch.lock().unwrap() = Some(command.spawn().unwrap());
        let (told, child) = (lines.clone(), watch.clone());
        let thread = std::thread::spawn(move || {
            loop {
                let Some(output) = child.lock().unwrap().as_mut().and_then(|child| child.stdout.take()) else { return };
                for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(std::result::Result::ok)
                {
                    let mut words = line.split(' ').map(str::to_owned);
                    if let (Some(name), Some(at), Some(stage)) = (words.next(), words.next(), words.next()) {
                        told.lock().unwrap().insert(name, (at, stage));
                    }
                }
                let mut child = child.lock().unwrap();
                let Some(mut ended) = child.take() else { return };
                _ = ended.wait();
                *child = command.spawn().ok();
                drop(child);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { lines, watch, thread: Some(thread) }
    }

    /// The Jobs of a build and its release that were made for a stage after it was sealed, by the last word of their statuses.
    pub fn after_sealed(&self, build: &str, objects: &[Value]) -> Result<Vec<String>> {
        let mut sealed: BTreeMap<&str, &str> = BTreeMap::new();
        for stage in objects.iter().flat_map(|o| o["status"]["stages"].as_array().into_iter().flatten()) {
            sealed.insert(
                stage["name"].as_str().context("a name")?,
                stage["sealedAt"].as_str().context("a sealed stage")?,
            );
        }
        let lines = self.lines.lock().unwrap();
        let own: Vec<_> = lines.iter().filter(|(name, _)| name.starts_with(&format!("{build}-"))).collect();
        anyhow::ensure!(own.len() > 20, "only {} Jobs were seen", own.len());
        // RFC 3339 in one zone and to the second: the order of texts is that of times.
        let late = own
            .iter()
            .filter(|(_, (at, stage))| sealed.get(stage.as_str()).is_some_and(|sealed| at.as_str() > *sealed));
        Ok(late.map(|(name, (at, _))| format!("{name} at {at}")).collect())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(mut child) = self.watch.lock().unwrap().take() {
            _ = child.kill();
            _ = child.wait();
        }
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
