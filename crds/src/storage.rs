//! Where a build keeps its work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a build keeps its work. Builds that share it share work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The root: `s3://bucket/prefix`, `file:///path` or a relative path.
    #[schemars(length(min = 1, max = 2048))]
    pub uri: String,
    /// The S3 server's address, where it is not AWS: `https://minio.data:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// The S3 region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// Who asks the store; without it the pod's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// What becomes of the work when the object is deleted.
    #[serde(default)]
    pub retain: Retain,
    /// How many finished pools are kept.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 16))]
    pub history: u32,
}

/// Who asks the store: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "has(self.secretName) != has(self.serviceAccountName)", "message": "give secretName or serviceAccountName, one of the two"}]))]
pub struct Credentials {
    /// A Secret of its namespace with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// A service account of its namespace that the cloud trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
}

/// What becomes of the data when the object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retain {
    /// It stays.
    #[default]
    Keep,
    /// What no other build or release needs goes.
    Delete,
}

fn two() -> u32 {
    2
}
