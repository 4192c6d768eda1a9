//! How far a job is, as its object's status says it. The same shape for every kind of job.

use serde::{Deserialize, Serialize};

use super::ImageStatus;

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobPhase {
    /// Nobody has looked at it.
    #[default]
    #[serde(rename = "")]
    New,
    /// Its nodes are known.
    Init,
    /// Some node is not done.
    InProgress,
    /// All are done, and no more failed than may.
    Completed,
    /// Too many failed, or there is nothing to do.
    Failure,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodePhase {
    /// It has not been told.
    #[default]
    Pending,
    /// It has been told.
    InProgress,
    /// It is done.
    Successful,
    /// It could not do it.
    Failure,
    /// It said nothing in time. What it says later still counts.
    Unknown,
}

/// A job's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// How far it is.
    pub phase: JobPhase,
    /// Why, for people.
    pub reason: String,
    /// Nodes that are done, of all: `2/3`. Our addition, for `kubectl get`.
    pub progress: String,
    /// Node by node.
    pub node_status: Vec<NodeTaskStatus>,
}

/// One node's part of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeTaskStatus {
    /// The node.
    pub node_name: String,
    /// How far it is.
    pub phase: NodePhase,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the phase changed last, RFC 3339. A field of v1alpha1 that v1alpha2 kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// The steps that it has reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub action_flow: Vec<ActionStatus>,
    /// Of a pull, image by image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_status: Vec<ImageStatus>,
}

/// One step of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionStatus {
    /// The step.
    pub action: String,
    /// `True` or `False`.
    pub status: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it ended, RFC 3339.
    pub time: String,
}

// === impl NodePhase ===

impl NodePhase {
    /// Whether nothing more is expected of the node.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Successful | Self::Failure | Self::Unknown)
    }
}
