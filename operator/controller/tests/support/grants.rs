//! What the chart lets the controller do, as the API server knows it, and what requests make of it.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use anyhow::{Context, Result};
use realsyn_cluster::{Binaries, ControlPlane, Request};
use serde_json::Value;

/// Where the chart is installed.
pub const HOME: &str = "realsyn-system";
/// Where it puts the GPU agents.
pub const AGENTS: &str = "realsyn-gpu";
/// The controller's service account.
pub const ACCOUNT: &str = "realsyn-controller";

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub verb: String,
    pub group: String,
    /// With a slash before the subresource.
    pub resource: String,
    /// The only namespace; all without one.
    pub namespace: Option<String>,
    /// The only object.
    pub name: Option<String>,
}

impl Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)?;
        self.name.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

impl Grant {
    pub fn covers(&self, request: &Request) -> bool {
        self.verb == request.verb
            && self.group == request.group
            && self.resource == request.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
            && self.name.as_ref().is_none_or(|name| *name == request.name)
    }
}

/// Installs the account and the rights of the chart, and nothing else of it.
pub fn install(plane: &ControlPlane, values: &[&str]) -> Result<()> {
    for namespace in [HOME, AGENTS] {
        plane.kubectl(&["create", "namespace", namespace])?;
    }
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/realsyn-operator");
    let mut helm = std::process::Command::new(Binaries::default_folder().require_tool("helm")?);
    helm.args(["template", "realsyn-operator", chart, "--namespace", HOME]);
    for template in ["rbac", "serviceaccount"] {
        helm.arg("--show-only").arg(format!("templates/{template}.yaml"));
    }
    values.iter().for_each(|value| _ = helm.args(["--set", value]));
    let output = helm.output().context("starting helm")?;
    anyhow::ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr));
    plane.kubectl_with_input(&["apply", "-f", "-"], &String::from_utf8(output.stdout)?)?;
    Ok(())
}

/// Everything that is bound to the account by name.
pub fn granted(plane: &ControlPlane) -> Result<BTreeSet<Grant>> {
    let read = |arguments: &[&str]| -> Result<Value> {
        Ok(serde_json::from_str(&plane.kubectl(&[&["get", "-o", "json"], arguments].concat())?)?)
    };
    let mut grants = BTreeSet::new();
    let bindings = read(&["clusterrolebindings,rolebindings", "--all-namespaces"])?;
    for binding in entries(&bindings["items"]) {
        let is_ours = |s: &Value| s["name"] == ACCOUNT && s["namespace"] == HOME;
        if !entries(&binding["subjects"]).any(is_ours) {
            continue;
        }
        let namespace = binding["metadata"]["namespace"].as_str();
        let (kind, name) = (text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"]));
        let role = read(&[&kind, &name, "--namespace", namespace.unwrap_or("default")])?;
        for rule in entries(&role["rules"]) {
            let names: Vec<Option<String>> = match rule["resourceNames"].as_array() {
                Some(names) => names.iter().map(|name| Some(text(name))).collect(),
                None => vec![None],
            };
            for (group, resource) in
                entries(&rule["apiGroups"]).flat_map(|g| entries(&rule["resources"]).map(move |r| (g, r)))
            {
                for (verb, name) in entries(&rule["verbs"]).flat_map(|v| names.iter().map(move |n| (v, n))) {
                    grants.insert(Grant {
                        verb: text(verb),
                        group: text(group),
                        resource: text(resource),
                        namespace: namespace.map(str::to_owned),
                        name: name.clone(),
                    });
                }
            }
        }
    }
    Ok(grants)
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
