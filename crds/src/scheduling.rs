//! What the scheduler and the node are told of a build's pods, beside what its stages ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the pods of a build bring to the cluster's scheduler. No field here changes a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Scheduling {
    /// A PriorityClass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// RuntimeClass of pods with GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Another scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Tolerated taints.
    ///
    /// Beside `nvidia.com/gpu`, which pods with GPUs tolerate anyway, and the quarantine's, which the others do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
}

/// A taint that pods tolerate, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// A taint's key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// `Equal` by default.
    #[serde(default, skip_serializing_if = "is_equal")]
    pub operator: TolerationOperator,
    /// For `Equal`.
    ///
    /// The taint's value; the empty one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Any without it.
    ///
    /// The taint's effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// Whether a toleration is of one value of a taint, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// The value is the taint's; an empty one without it.
    #[default]
    Equal,
    /// Whatever the value.
    Exists,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// None comes.
    NoSchedule,
    /// None comes if another node will do.
    PreferNoSchedule,
    /// None comes and none stays.
    NoExecute,
}

impl TaintEffect {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

fn is_equal(operator: &TolerationOperator) -> bool {
    *operator == TolerationOperator::Equal
}
