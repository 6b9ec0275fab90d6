//! The manifests that pods read: what was written, with the API server's defaults, and nothing that changes by itself.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::API_VERSION;
use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::names;

/// The content of a ConfigMap of manifests: texts by file name.
pub type Manifests = BTreeMap<String, String>;

/// The file of the build whose sentences a build takes.
pub const SENTENCES: &str = "sentences.yaml";

/// The file of a kind's manifest.
pub fn file(kind: Kind) -> &'static str {
    match kind {
        Kind::Build => "build.yaml",
        Kind::Release => "release.yaml",
    }
}

/// An object's manifest.
pub fn manifest(object: &DynamicObject, kind: Kind) -> String {
    let mut metadata = json!({ "name": object.name_any(), "namespace": object.namespace() });
    if let Some(uid) = object.uid() {
        // What it uses of a store is written down under it: another object of this name is another user.
        metadata["uid"] = json!(uid);
    }
    let mut spec = object.data["spec"].clone();
    // Suspending and going on again changes nothing that a pod does, so it must not change what it reads.
    _ = spec.as_object_mut().map(|spec| spec.remove("suspend"));
    let value: Value = json!({ "apiVersion": API_VERSION, "kind": kind.name(), "metadata": metadata, "spec": spec });
    value.to_string()
}

/// The ConfigMap in which an object's pods find these manifests.
pub fn config_map(object: &DynamicObject, kind: Kind, manifests: &Manifests) -> String {
    let parts: Vec<(&str, &str)> = manifests.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    names::config_map_name(&object.name_any(), &object.uid().unwrap_or_default(), kind.name(), &parts)
}
