//! The real binary as a user of a real API server; pods are played by the test.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use realsyn_cluster::{ControlPlane, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command printed, and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A namespace and who looks at it.
pub struct User<'a> {
    pub plane: &'a ControlPlane,
    pub namespace: String,
    kubeconfig: PathBuf,
}

impl<'a> User<'a> {
    /// The administrator in a new namespace under the restricted standard.
    pub fn admin(plane: &'a ControlPlane, namespace: &str) -> Self {
        plane.kubectl(&["create", "namespace", namespace]).unwrap();
        plane.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
        until(PATIENCE, "the namespace's account", || {
            Ok(plane.kubectl(&["-n", namespace, "get", "serviceaccount", "default"]).is_ok())
        })
        .unwrap();
        Self { plane, namespace: namespace.to_owned(), kubeconfig: plane.kubeconfig().to_owned() }
    }

    /// Somebody else in the same namespace, with these rights: `verbs` on `resources`.
    pub fn other(&self, name: &str, rights: &[(&str, &str)]) -> Self {
        for (n, (verbs, resources)) in rights.iter().enumerate() {
            let role = format!("{name}-{n}");
            self.kubectl(&["create", "role", &role, &format!("--verb={verbs}"), &format!("--resource={resources}")]);
            self.kubectl(&["create", "rolebinding", &role, &format!("--role={role}"), &format!("--user={name}")]);
        }
        let kubeconfig = self.plane.kubeconfig_for_user(name, None).unwrap();
        Self { plane: self.plane, namespace: self.namespace.clone(), kubeconfig }
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(&[&["-n", self.namespace.as_str()], args].concat()).unwrap()
    }

    pub fn apply(&self, object: &Value) {
        let input = object.to_string();
        self.plane.kubectl_with_input(&["-n", &self.namespace, "apply", "-f", "-"], &input).unwrap();
    }

    pub fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", what, "-o", "json"])).unwrap()
    }

    /// What a controller would write.
    pub fn set_status(&self, what: &str, status: &Value) {
        let patch = json!({ "status": status }).to_string();
        self.kubectl(&["patch", what, "--subresource=status", "--type=merge", "-p", &patch]);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-realsyn"));
        command.args(args).args(["-n", &self.namespace]).env("KUBECONFIG", &self.kubeconfig).env_remove("NO_COLOR");
        command
    }

    /// Runs a command to its end.
    pub fn realsyn(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// Begins a command that will wait for something.
    pub fn begin(&self, args: &[&str]) -> Running {
        let child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child: Some(child) }
    }

    /// Begins a command that runs a pod; returns it with the pod, once that is there. There is no other pod of a command.
    pub fn begin_pod(&self, args: &[&str]) -> (Running, Value) {
        let running = self.begin(args);
        let mut pod = Value::Null;
        until(PATIENCE, "the pod of the command", || {
            let all = self.get("pods");
            let made = all["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|p| p["metadata"]["labels"]["realsyn.dev/command"].is_string());
            pod = made.cloned().unwrap_or_default();
            Ok(!pod.is_null())
        })
        .unwrap();
        (running, pod)
    }

    /// What a kubelet would write of a pod's container.
    pub fn play(&self, pod: &Value, phase: &str, state: Value) {
        let spec = &pod["spec"]["containers"][0];
        let status = json!({
            "phase": phase,
            "containerStatuses": [{
                "name": spec["name"], "image": spec["image"], "imageID": "", "ready": false, "restartCount": 0, "state": state,
            }],
        });
        self.set_status(&format!("pod/{}", pod["metadata"]["name"].as_str().unwrap()), &status);
    }

    pub fn end(&self, pod: &Value, code: i32, message: &str) {
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        self.play(pod, phase, json!({ "terminated": { "exitCode": code, "message": message, "reason": "Ended" } }));
    }

    /// Gives the pod a node that is not there: then its log cannot be read, as without a kubelet.
    pub fn bind(&self, pod: &Value) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
            "target": { "apiVersion": "v1", "kind": "Node", "name": "nowhere" },
        });
        let path = format!("/api/v1/namespaces/{}/pods/{name}/binding", self.namespace);
        self.plane.kubectl_with_input(&["create", "--raw", &path, "-f", "-"], &binding.to_string()).unwrap();
    }

    /// Pods that nobody has deleted.
    pub fn pods(&self) -> usize {
        let all = self.get("pods");
        all["items"].as_array().unwrap().iter().filter(|p| p["metadata"]["deletionTimestamp"].is_null()).count()
    }
}

/// A command that runs; killed if the test ends before it.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Waits for its end.
    pub fn said(mut self) -> Said {
        self.child.take().unwrap().wait_with_output().unwrap().into()
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }

    /// Waits for a first line, so that what follows is seen by it.
    pub fn first_line(&mut self) -> String {
        let out = self.child.as_mut().unwrap().stdout.as_mut().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// A file of the workspace.
pub fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
