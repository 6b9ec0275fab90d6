//! Builds and releases: their text, and the little of it that is looked at from outside.

use kube::api::{DynamicObject, TypeMeta};
use kube::runtime::reflector::Store;
use realsyn_crds::{API_VERSION, Kind, Stage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::excerpt::Excerpt;

/// A build or a release.
pub type Object = Excerpt<DynamicObject, Spec, Status>;

/// The cache of builds, or of releases.
pub type Objects = Store<Object>;

/// A spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Box<RawValue>")]
pub struct Spec {
    text: Box<RawValue>,
    /// Whether a build is to rest.
    pub suspend: bool,
    /// The build that a release is made from, or whose sentences a build takes; else empty.
    pub reads: String,
    uri: String,
    endpoint: String,
}

/// A status.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Box<RawValue>")]
pub struct Status {
    text: Box<RawValue>,
    /// Whether a person has to help, or has stopped it.
    pub halted: bool,
    /// Whether it asks for GPUs and is not done.
    pub waits_for_gpus: bool,
    /// The stages that are at work, with their digests.
    pub running: Vec<(Stage, String)>,
}

/// Where a build keeps its work: two with the same share it.
pub type Root<'a> = (&'a str, &'a str, &'a str);

/// The root at this address; a claim is one of its namespace.
pub fn root<'a>(uri: &'a str, endpoint: &'a str, namespace: &'a str) -> Root<'a> {
    let namespace = if uri.starts_with("pvc://") { namespace } else { "" };
    (uri.trim_end_matches('/'), endpoint.trim_end_matches('/'), namespace)
}

impl Object {
    /// All of it.
    pub fn read(&self, kind: Kind) -> DynamicObject {
        // What came as JSON is JSON.
        let read = |text: &RawValue| serde_json::from_str::<Value>(text.get()).unwrap_or_default();
        let mut data = json!({ "spec": self.spec.as_ref().map(|spec| read(&spec.text)) });
        if let Some(status) = &self.status {
            data["status"] = read(&status.text);
        }
        let types = TypeMeta { api_version: API_VERSION.to_owned(), kind: kind.name().to_owned() };
        DynamicObject { types: Some(types), metadata: self.metadata.clone(), data }
    }

    /// Where it keeps its work.
    pub fn root(&self) -> Option<Root<'_>> {
        let spec = self.spec.as_ref()?;
        Some(root(&spec.uri, &spec.endpoint, self.metadata.namespace.as_deref().unwrap_or_default()))
    }
}

impl From<Box<RawValue>> for Spec {
    fn from(text: Box<RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Read {
            suspend: bool,
            storage: Storage,
            build_ref: BuildRef,
            sentences_from: SentencesFrom,
        }
        #[derive(Default, Deserialize)]
        struct Storage {
            uri: Option<String>,
            endpoint: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct BuildRef {
            name: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct SentencesFrom {
            build: Option<String>,
        }
        // The schema of the CRD holds; what another one allows is refused where the whole is read.
        let read: Read = serde_json::from_str(text.get()).unwrap_or_default();
        Self {
            text,
            suspend: read.suspend,
            reads: read.build_ref.name.or(read.sentences_from.build).unwrap_or_default(),
            uri: read.storage.uri.unwrap_or_default(),
            endpoint: read.storage.endpoint.unwrap_or_default(),
        }
    }
}

impl From<Box<RawValue>> for Status {
    fn from(text: Box<RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Read {
            conditions: Vec<Condition>,
            stages: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Condition {
            #[serde(rename = "type")]
            kind: String,
            status: String,
        }
        #[derive(Deserialize)]
        struct Entry {
            name: String,
            state: Option<String>,
            digest: Option<String>,
        }
        let read: Read = serde_json::from_str(text.get()).unwrap_or_default();
        let is = |kind: &str| read.conditions.iter().any(|c| c.kind == kind && c.status == "True");
        let halted = is("Stalled") || is("Suspended");
        let waits_for_gpus = read.conditions.iter().any(|c| c.kind == "Placeable") && !is("Ready");
        let running = read.stages.into_iter().filter(|entry| entry.state.as_deref() == Some("Running"));
        let running = running.filter_map(|entry| Some((entry.name.parse().ok()?, entry.digest?))).collect();
        Self { text, halted, waits_for_gpus, running }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_it_came() {
        let written = json!({
            "apiVersion": API_VERSION,
            "kind": "RealSynBuild",
            "metadata": { "name": "b", "namespace": "n", "uid": "u", "generation": 3,
                          "managedFields": [{ "manager": "m", "fieldsV1": { "f:spec": {} } }] },
            "spec": { "storage": { "uri": "pvc://data/shared/", "retain": "Keep" }, "suspend": true },
            "status": {
                "conditions": [{ "type": "Stalled", "status": "True", "reason": "R" }, { "type": "Placeable", "status": "False" }],
                "stages": [{ "name": "fetch", "state": "Running", "digest": "d", "shards": 4 },
                           { "name": "filter", "state": "Sealed", "digest": "e" }],
            },
        });
        // From text, as the API server sends it: not by way of a value, which keeps no text.
        let object: Object = serde_json::from_str(&written.to_string()).unwrap();
        let read = object.read(Kind::Build);
        assert_eq!((&read.data["spec"], &read.data["status"]), (&written["spec"], &written["status"]));
        assert_eq!((read.metadata.generation, &read.metadata.managed_fields), (Some(3), &None));
        assert_eq!(object.root(), Some(("pvc://data/shared", "", "n")));
        assert!(object.spec.unwrap().suspend);
        let status = object.status.unwrap();
        assert!(status.halted && status.waits_for_gpus);
        assert_eq!(
            status.running.iter().map(|(stage, digest)| (stage.name(), &**digest)).collect::<Vec<_>>(),
            [("fetch", "d")]
        );
    }
}
