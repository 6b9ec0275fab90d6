//! Files that tell a client where the API server is and who asks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::authority::Identity;

/// How a client says who it is.
pub(crate) enum Credential<'a> {
    Certificate(&'a Identity),
    Token(&'a str),
}

/// Writes a kubeconfig with one context. JSON is YAML, too.
pub(crate) fn write(path: &Path, server: &str, authority: &Path, who: &Credential<'_>) -> Result<()> {
    let user: Value = match who {
        Credential::Certificate(identity) => {
            json!({ "client-certificate": identity.certificate, "client-key": identity.key })
        }
        Credential::Token(token) => json!({ "token": token }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    let text = serde_json::to_string_pretty(&config)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
