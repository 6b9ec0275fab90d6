//! How a stage is carried out: nothing here but the engine changes what it computes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the tasks of a stage run. No field here changes a digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Execution {
    /// Tasks at once.
    ///
    /// At most; by default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub parallelism: Option<u32>,
    /// Pod requests.
    ///
    /// `cpu`, `memory`, `ephemeral-storage`, as in Kubernetes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, Quantity>,
    /// Task retries.
    pub retry: u32,
    /// Share that may fail.
    ///
    /// Shards; those that their data makes impossible; one always may.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_rejected_share: f64,
}

impl Default for Execution {
    fn default() -> Self {
        Self { parallelism: None, resources: BTreeMap::new(), retry: 3, max_rejected_share: 0.001 }
    }
}

/// What a stage computes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Device {
    /// What computes.
    ///
    /// Results of different engines are different results.
    pub engine: Engine,
    /// GPUs of a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
}

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An endpoint that speaks OpenAI's protocol; `generate` only.
    Openai,
}

/// Which GPUs will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Gpu {
    /// Any of these.
    ///
    /// Products; none means any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<String>,
    /// Memory of each.
    ///
    /// At least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_memory: Option<Quantity>,
    /// GPUs per pod.
    #[schemars(range(min = 1, max = 16))]
    pub count: u32,
    /// Joined by NVLink.
    pub nvlink: bool,
    /// MIG profile.
    ///
    /// Such as `1g.10gb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<String>,
    /// Alone or not.
    pub sharing: Sharing,
    /// Wait for new nodes.
    ///
    /// Without it, a stage that fits no node stalls at once.
    pub allow_scale_up: bool,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            products: Vec::new(),
            min_memory: None,
            count: 1,
            nvlink: false,
            mig: None,
            sharing: Sharing::Exclusive,
            allow_scale_up: true,
        }
    }
}

/// Whether a pod has its GPUs for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// No other pod computes on them.
    #[default]
    Exclusive,
    /// A part of a GPU's time will do.
    Shared,
}

/// A Kubernetes quantity, as written: `16Gi`, `500m`, `4`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity(String);

impl Quantity {
    /// A quantity with this text, whatever it says: [`value`](Self::value) tells whether it is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number it stands for; `None` if it is not a quantity.
    pub fn value(&self) -> Option<f64> {
        let end = self.0.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.0.len());
        let (number, suffix) = self.0.split_at(end);
        let scale = match suffix {
            "" => 1.0,
            "m" => 1e-3,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "P" => 1e15,
            "Ki" => 1024.0,
            "Mi" => 1024f64.powi(2),
            "Gi" => 1024f64.powi(3),
            "Ti" => 1024f64.powi(4),
            "Pi" => 1024f64.powi(5),
            _ => return None,
        };
        number.parse::<f64>().ok().map(|n| n * scale)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(n) => Self(n.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "x-kubernetes-int-or-string": true })
    }

    fn inline_schema() -> bool {
        true
    }
}
