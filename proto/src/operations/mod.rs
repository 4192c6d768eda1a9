//! Jobs on nodes: the custom resources of `operations.kubeedge.io/v1alpha2`, the steps that a node takes for one, and what it
//! says about each step.
//!
//! Owns: these types and the names in them. What differs between kinds of jobs is data ([`Flow`], the spec), so that one
//! runner at the edge and one controller in the cloud serve them all. Called by cloudcore's and edgecore's taskmanager.

mod flow;
mod prepull;
mod report;
mod status;

pub use flow::{Action, Flow, JobType, Next};
pub use prepull::{ImagePrePullSpec, ImagePrePullTemplate, SecretName};
pub use report::{ActionReport, ImageStatus};
pub use status::{ActionStatus, JobPhase, JobStatus, NodePhase, NodeTaskStatus};

/// The API group.
pub const GROUP: &str = "operations.kubeedge.io";

/// The API version that is stored; v1alpha1 is served beside it.
pub const VERSION: &str = "v1alpha2";
