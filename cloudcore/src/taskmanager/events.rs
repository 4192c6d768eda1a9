//! What `kubectl describe` tells about a job.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use proto::operations::{JobPhase, JobStatus, NodePhase};

use super::job::{Job, resource};

/// Events written for one change of a job; a thousand nodes that fail at once are told of in its status.
const MOST: usize = 16;
/// Where the API keeps events about what lives in no namespace.
pub(super) const NAMESPACE: &str = "default";

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    warning: bool,
    reason: &'static str,
    message: String,
}

/// What happened between two statuses of a job. Pure.
pub(super) fn between(job: &Job, before: &JobStatus, after: &JobStatus) -> Vec<Note> {
    let mut notes = Vec::new();
    let subject = job.plan.as_ref().map_or("nothing", |plan| plan.subject.as_str());
    let known: BTreeMap<&str, NodePhase> =
        before.node_status.iter().map(|node| (node.node_name.as_str(), node.phase)).collect();
    if before.phase == JobPhase::New && after.phase == JobPhase::Init {
        let nodes = after.node_status.len();
        let message = format!("{subject} for {nodes} node{}", if nodes == 1 { "" } else { "s" });
        notes.push(Note { warning: false, reason: "Started", message });
    }
    for node in &after.node_status {
        if known.get(node.node_name.as_str()) == Some(&node.phase) || notes.len() >= MOST {
            continue;
        }
        let (warning, reason) = match node.phase {
            NodePhase::Failure => (true, "NodeFailed"),
            NodePhase::Unknown => (true, "NodeTimedOut"),
            NodePhase::Successful => (false, "NodeSucceeded"),
            NodePhase::Pending | NodePhase::InProgress => continue,
        };
        let message = match node.reason.as_str() {
            "" => format!("node {}", node.node_name),
            why => format!("node {}: {why}", node.node_name),
        };
        notes.push(Note { warning, reason, message });
    }
    if before.phase != after.phase {
        match after.phase {
            JobPhase::Completed => {
                notes.push(Note { warning: false, reason: "Completed", message: done(after) });
            }
            JobPhase::Failure => notes.push(Note { warning: true, reason: "Failed", message: done(after) }),
            JobPhase::New | JobPhase::Init | JobPhase::InProgress => {}
        }
    }
    notes
}

fn done(status: &JobStatus) -> String {
    let nodes = format!("{} nodes are done", status.progress);
    match (status.progress.as_str(), status.reason.as_str()) {
        ("", why) => why.to_owned(),
        (_, "") => nodes,
        (_, why) => format!("{nodes}: {why}"),
    }
}

// === impl Note ===

impl Note {
    /// The event about `job`.
    pub(super) fn event(self, job: &Job, now: Timestamp) -> Event {
        let api = resource();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{}", job.name, uuid::Uuid::new_v4().simple())),
                namespace: Some(NAMESPACE.into()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(api.api_version),
                kind: Some(api.kind),
                name: Some(job.name.clone()),
                uid: Some(job.uid.clone()),
                ..ObjectReference::default()
            },
            type_: Some(if self.warning { "Warning" } else { "Normal" }.into()),
            reason: Some(self.reason.into()),
            message: Some(self.message.chars().take(1024).collect()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource { component: Some("taskmanager".into()), ..EventSource::default() }),
            ..Event::default()
        }
    }
}
