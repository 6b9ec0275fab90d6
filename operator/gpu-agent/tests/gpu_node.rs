//! The agent's process against a real API server.

#[path = "support/kubelet.rs"]
mod kubelet;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use kubelet::{framed, kubelet};
use realsyn_cluster::{ControlPlane, Options, Request, missing_for_control_plane, skip};
use realsyn_gpu_agent::kubelet::{ContainerDevices, ContainerResources, ListPodResourcesResponse, PodResources};
use realsyn_nvml::{Scenario, StandIn, Xid, inventory};
use serde_json::Value;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);
const NODE: &str = "gpu-1";
/// Kubelet's socket, beside the driver's library; nobody listens unless a test does.
const SOCKET: &str = "kubelet.sock";
/// Who the kubeconfig is for.
const ADMINISTRATOR: &str = "admin";

struct Agent {
    process: Child,
    port: u16,
}

impl Agent {
    fn start(plane: &ControlPlane, stand_in: &StandIn, log: &Path, more: &[&str]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = fs::File::options().create(true).append(true).open(log)?;
        let built = || env!("CARGO_BIN_EXE_realsyn-gpu-agent").into();
        let process = Command::new(env::var_os("REALSYN_GPU_AGENT").unwrap_or_else(built))
            .env("KUBECONFIG", plane.kubeconfig())
            .env("NODE_NAME", NODE)
            .env("POD_NAMESPACE", "default")
            .arg("--nvml")
            .arg(stand_in.library())
            .arg("--sysfs")
            .arg(stand_in.sysfs())
            .args(["--port", &port.to_string()])
            .arg("--podresources")
            .arg(stand_in.library().with_file_name(SOCKET))
            .args(more)
            .stderr(Stdio::from(log))
            .spawn()?;
        Ok(Self { process, port })
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("no {name}"))?.trim().parse().context("a number")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status()?;
        ensure!(sent.success(), "kill -{name}");
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let seen = look();
        match seen {
            Ok(Some(value)) => return Ok(value),
            _ if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(50)),
            Ok(None) => bail!("still waiting: {what}"),
            Err(error) => return Err(error).context(what.to_owned()),
        }
    }
}

fn read(plane: &ControlPlane, kind: &str, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&plane.kubectl(&["get", kind, name, "-o", "json"])?)?)
}

fn healthy(plane: &ControlPlane, expected: &str) -> Result<Value> {
    until(&format!("{expected} devices are healthy"), || {
        let object = read(plane, "gpunode", NODE)?;
        Ok((object["status"]["summary"]["healthy"] == expected).then_some(object))
    })
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// What the agent has asked for since so many requests were answered. It asks in the name of whoever runs the test, who meanwhile asks
/// for nothing.
fn asked(plane: &ControlPlane, since: usize) -> Result<Vec<Request>> {
    Ok(plane.audit()?.split_off(since).into_iter().filter(|r| r.user == ADMINISTRATOR).collect())
}

fn renews(request: &Request) -> bool {
    (&*request.verb, &*request.resource, &*request.name) == ("patch", "leases", "realsyn-gpu-gpu-1")
}

/// A control plane that knows the node and its GpuNodes.
fn plane() -> Result<ControlPlane> {
    let plane = ControlPlane::start(&Options { audit: true, ..Options::default() })?;
    plane.define(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/generated/gpunodes.yaml")])?;
    let node = format!(r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{NODE}"}}}}"#);
    plane.kubectl_with_input(&["create", "-f", "-"], &node)?;
    Ok(plane)
}

/// What `make bench-agent` prints: the cost of an agent of eight devices, all of them held, at its default pace, over half a minute.
/// `REALSYN_GPU_AGENT` says which binary.
#[test]
#[ignore = "takes half a minute: make bench-agent"]
fn cost() -> Result<()> {
    if skip("cost", missing_for_control_plane()) {
        return Ok(());
    }
    let plane = plane()?;
    let folder = tempfile::tempdir()?;
    let scenario = inventory::hgx_h100();
    let stand_in = StandIn::install(folder.path(), &scenario)?;
    let device_ids = scenario.devices.iter().map(|device| device.uuid.clone()).collect();
    let devices = vec![ContainerDevices { resource_name: "nvidia.com/gpu".to_owned(), device_ids }];
    let pods = vec![PodResources { containers: vec![ContainerResources { devices }] }];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _inside = runtime.enter();
    kubelet(&folder.path().join(SOCKET), framed(&ListPodResourcesResponse { pods }), "0");
    let agent = Agent::start(&plane, &stand_in, &folder.path().join("log"), &["--every", "15", "--hold", "1"])?;
    until("all devices are held", || {
        let status = read(&plane, "gpunode", NODE)?["status"].take();
        Ok((status["summary"]["healthy"] == "8/8" && status["summary"]["free"] == 0).then_some(()))
    })?;
    until("ready", || Ok(agent.get("/readyz")?.contains(" 200 ").then_some(())))?;
    let proc = Path::new("/proc").join(agent.process.id().to_string());
    let (ticks, begun, at_rest) = (cpu_ticks(&proc)?, Instant::now(), plane.audit()?.len());
    // As Prometheus does.
    agent.get("/metrics")?;
    thread::sleep(Duration::from_secs(30));
    // The kernel counts in hundredths of a second.
    let percent = (cpu_ticks(&proc)? - ticks) as f64 / begun.elapsed().as_secs_f64();
    let status = fs::read_to_string(proc.join("status"))?;
    let kib = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        line.trim().trim_end_matches(" kB").parse().context("a number")
    };
    let mib = kib("VmRSS:")? as f64 / 1024.0;
    let (heap, files) = (kib("RssAnon:")?, kib("RssFile:")?);
    let sent = asked(&plane, at_rest)?;
    println!("resident {mib:.1} MiB ({heap} kB of its own, {files} kB of files), goal < 15 MiB");
    println!("{percent:.2} % of a core, goal < 0.5 %");
    println!("{} requests in 30 s, goal: renewals of the Lease alone", sent.len());
    ensure!(mib < 15.0, "{mib:.1} MiB are more than 15");
    ensure!(percent < 0.5, "{percent:.2} % are more than 0.5");
    ensure!(sent.iter().all(renews), "{sent:?}");
    Ok(())
}

fn cpu_ticks(proc: &Path) -> Result<u64> {
    let stat = fs::read_to_string(proc.join("stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("fields behind the name")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

#[test]
fn the_agent_keeps_its_gpu_node() -> Result<()> {
    if skip("the_agent_keeps_its_gpu_node", missing_for_control_plane()) {
        return Ok(());
    }
    let plane = plane()?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let mut scenario: Scenario = inventory::dgx_a100_80();
    let stand_in = StandIn::install(folder.path(), &scenario)?;
    let outcome = story(&plane, &stand_in, &mut scenario, &log);
    if outcome.is_err() {
        eprintln!("{}", fs::read_to_string(&log)?);
    }
    outcome
}

fn story(plane: &ControlPlane, stand_in: &StandIn, scenario: &mut Scenario, log: &Path) -> Result<()> {
    let mut agent = Agent::start(plane, stand_in, log, &["--every", "1", "--clean", "3"])?;

    // The object appears, and belongs to its node.
    let object = healthy(plane, "8/8")?;
    let owner = &object["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "Node" && owner["uid"] == read(plane, "node", NODE)?["metadata"]["uid"], "{owner}");
    let columns = plane.kubectl(&["get", "gn", NODE, "--no-headers"])?;
    ensure!(columns.contains("A100-SXM4-80GB") && columns.contains("8/8"), "{columns}");
    until("ready", || Ok(agent.get("/readyz")?.contains(" 200 ").then_some(())))?;
    ensure!(agent.get("/livez")?.contains(" 200 "));

    // While nothing changes nothing is written but the Lease, which is renewed every ten seconds.
    let lease = read(plane, "lease", "realsyn-gpu-gpu-1")?;
    ensure!(lease["metadata"]["ownerReferences"][0]["uid"] == object["metadata"]["uid"], "{lease}");
    let before = read(plane, "gpunode", NODE)?;
    scenario.devices[0].temperature = Some(71);
    let at_rest = plane.audit()?.len();
    stand_in.play(scenario)?;
    until("the Lease is renewed twice", || Ok((asked(plane, at_rest)?.len() >= 2).then_some(())))?;
    let sent = asked(plane, at_rest)?;
    ensure!(sent.iter().all(renews), "renewals are all that is sent: {sent:?}");
    ensure!(version(&read(plane, "gpunode", NODE)?) == version(&before), "the GpuNode was written without a change");
    ensure!(agent.metric("realsyn_gpu_status_writes_total")? == 1.0);
    ensure!(agent.metric("realsyn_gpu_looks_total")? > 5.0);
    let metrics = agent.get("/metrics")?;
    let hot = r#"realsyn_gpu_temperature_celsius{uuid="GPU-00000007-0000-4000-8000-000000000007",product="A100-SXM4-80GB"} 71"#;
    ensure!(metrics.contains(hot), "{metrics}");

    // A changed device changes it, once, and back.
    scenario.xids.push(Xid { device: 4, code: 79 });
    stand_in.play(scenario)?;
    let object = healthy(plane, "7/8")?;
    ensure!(object["status"]["devices"][4]["reason"] == "Xid79", "{object}");
    healthy(plane, "8/8")?;
    ensure!(agent.metric("realsyn_gpu_status_writes_total")? == 3.0);

    // Who deletes both objects gets both again with the next renewal.
    plane.kubectl(&["delete", "gpunode", NODE])?;
    plane.kubectl(&["delete", "lease", "realsyn-gpu-gpu-1", "--ignore-not-found"])?;
    healthy(plane, "8/8")?;

    // SIGTERM ends it well; what it wrote stays.
    agent.signal("TERM")?;
    ensure!(agent.process.wait()?.success(), "SIGTERM");
    drop(agent);
    let before = healthy(plane, "8/8")?;

    // The next one finds everything as it was, and writes nothing.
    let agent = Agent::start(plane, stand_in, log, &["--every", "1"])?;
    until("the second agent is ready", || Ok(agent.get("/readyz")?.contains(" 200 ").then_some(())))?;
    let after = read(plane, "gpunode", NODE)?;
    ensure!(version(&after) == version(&before), "an agent that starts writes what is there already");
    drop(agent);

    // A call that hangs is reported, and ends the process in the end.
    let deadlines = ["--every", "1", "--nvml-deadline", "1", "--nvml-give-up", "5"];
    let mut agent = Agent::start(plane, stand_in, log, &deadlines)?;
    until("the third agent is ready", || Ok(agent.get("/readyz")?.contains(" 200 ").then_some(())))?;
    scenario.hangs.push("nvmlDeviceGetTemperature".to_owned());
    stand_in.play(scenario)?;
    until("the status says so", || {
        let message = read(plane, "gpunode", NODE)?["status"]["message"].clone();
        let message = message.as_str().unwrap_or_default();
        Ok(message.starts_with("nvmlDeviceGetTemperature has not returned since").then_some(()))
    })?;
    let ended = until("the process ends", || Ok(agent.process.try_wait()?))?;
    ensure!(!ended.success(), "an agent that gives up must not look well");
    Ok(())
}
