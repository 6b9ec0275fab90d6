//! Who asked the API server for what, and what became of it: its audit log.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A request that the API server has answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Who asked; of someone who impersonates another, himself.
    pub user: String,
    /// What RBAC calls it: `get`, `list`, `watch`, `create`, …
    pub verb: String,
    /// The API group, empty for the core.
    pub group: String,
    /// The resource, with a slash before its subresource; empty for what is none (`/version`).
    pub resource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The object's name, or empty.
    pub name: String,
    /// The answer's status code.
    pub code: u64,
}

/// Where the log lies in the folder of a run.
pub(crate) fn log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

/// Writes the policy; returns the API server's flags.
pub(crate) fn flags(folder: &Path) -> Result<Vec<String>> {
    let policy = folder.join("audit-policy.json");
    let text = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // A request is told of once it is answered; a watch, once it begins and once it ends.
        "omitStages": ["RequestReceived"],
        "omitManagedFields": true,
        "rules": [{ "level": "Metadata" }],
    });
    fs::write(&policy, text.to_string()).with_context(|| format!("writing {}", policy.display()))?;
    Ok(vec![
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log(folder).display()),
        // An answer is given after its line is written.
        "--audit-log-mode=blocking-strict".to_owned(),
    ])
}

/// Reads the log.
pub(crate) fn read(folder: &Path) -> Result<Vec<Request>> {
    let path = log(folder);
    let text = fs::read_to_string(&path)
        .with_context(|| format!("reading {}; was the cluster started with `audit`?", path.display()))?;
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| Ok(request(&serde_json::from_str(line)?))).collect()
}

fn request(event: &Value) -> Request {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut resource = text("/objectRef/resource");
    if let Some(sub) = event.pointer("/objectRef/subresource").and_then(Value::as_str) {
        resource += &format!("/{sub}");
    }
    Request {
        user: text("/user/username"),
        verb: text("/verb"),
        group: text("/objectRef/apiGroup"),
        resource,
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
    }
}
