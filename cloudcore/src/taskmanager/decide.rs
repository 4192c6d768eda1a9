//! What follows for a job from what its nodes report, who is connected, and the time. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proto::operations::{
    ActionReport, ActionStatus, Flow, JobPhase, JobStatus, Next, NodePhase, NodeTaskStatus,
};

use super::job::{Job, Plan};

/// What is known beside the job itself.
pub(super) struct Seen<'a> {
    /// Nodes with a session.
    pub connected: &'a BTreeSet<String>,
    /// Nodes that were told on the session that they have.
    pub told: &'a BTreeSet<String>,
    /// What nodes reported since the status was written, oldest first.
    pub reports: &'a [(String, ActionReport)],
    pub now: Timestamp,
}

/// What is to be done, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decision {
    /// Write this; nothing else may be done before it is written.
    pub status: Option<JobStatus>,
    /// Tell these nodes.
    pub tell: Vec<String>,
}

/// Decides. The status that is written is the one decided upon, so this may be repeated after any failure.
pub(super) fn decide(job: &Job, seen: &Seen<'_>) -> Decision {
    let Ok(plan) = &job.plan else { return Decision::default() };
    if job.status.node_status.is_empty() {
        // It failed for want of nodes.
        return Decision::default();
    }
    let mut status = job.status.clone();
    for (node, report) in seen.reports {
        if let Some(node) = status.node_status.iter_mut().find(|status| status.node_name == *node) {
            record(node, report, job.kind.flow(), seen.now);
        }
    }
    time_out(&mut status, job.created, plan, seen);
    let tell = dispatch(&mut status, plan, seen);
    sum_up(&mut status, plan);
    Decision { status: (status != job.status).then_some(status), tell }
}

/// A step that the node took. A repetition changes nothing.
fn record(node: &mut NodeTaskStatus, report: &ActionReport, flow: &Flow, now: Timestamp) {
    let action = ActionStatus {
        action: report.action.as_str().to_owned(),
        status: if report.succ { "True" } else { "False" }.to_owned(),
        reason: report.reason.clone(),
        time: report.finish_time.clone(),
    };
    let known = node.action_flow.iter_mut().find(|known| known.action == action.action);
    match known {
        Some(known) if *known == action => return,
        Some(known) => *known = action,
        None => node.action_flow.push(action),
    }
    let place = |status: &ActionStatus| {
        let action = serde_json::from_value(status.action.clone().into()).ok();
        action.map_or(usize::MAX, |action| flow.place(action))
    };
    node.action_flow.sort_by_key(place);
    let images = report.images();
    if !images.is_empty() {
        node.image_status = images;
    }
    let (phase, reason) = match flow.after(report.action, report.succ) {
        Next::End { succeeded: true } => (NodePhase::Successful, String::new()),
        Next::End { succeeded: false } => (NodePhase::Failure, report.reason.clone()),
        // A report that comes late does not take back the end.
        Next::Then(_) if matches!(node.phase, NodePhase::Successful | NodePhase::Failure) => return,
        Next::Then(_) => (NodePhase::InProgress, String::new()),
    };
    (node.phase, node.reason, node.time) = (phase, reason, now.to_string());
}

/// Nodes that said nothing for too long.
fn time_out(status: &mut JobStatus, created: Timestamp, plan: &Plan, seen: &Seen<'_>) {
    let limit = SignedDuration::from_secs(plan.timeout_seconds);
    let since = |node: &NodeTaskStatus| node.time.parse::<Timestamp>().unwrap_or(created);
    // Who waits for its turn has not been silent: its time runs from the last thing that happened to the job.
    let last = status.node_status.iter().map(since).max().unwrap_or(created).max(created);
    for node in &mut status.node_status {
        let (from, reason) = match node.phase {
            NodePhase::InProgress => (since(node), "The node task has timed out".to_owned()),
            NodePhase::Pending if !seen.connected.contains(&node.node_name) => {
                let reason = format!(
                    "The node task has timed out: the node was not connected for {} s",
                    limit.as_secs()
                );
                (last, reason)
            }
            _ => continue,
        };
        let due = from.saturating_add(limit).unwrap_or(Timestamp::MAX);
        if due <= seen.now {
            (node.phase, node.reason, node.time) = (NodePhase::Unknown, reason, seen.now.to_string());
        }
    }
}

/// Who is told: nodes whose turn it is, and those that came back before they were done.
fn dispatch(status: &mut JobStatus, plan: &Plan, seen: &Seen<'_>) -> Vec<String> {
    let busy = status.node_status.iter().filter(|node| node.phase == NodePhase::InProgress).count();
    let mut room = plan.concurrency.saturating_sub(busy);
    let mut tell = Vec::new();
    for node in &mut status.node_status {
        let name = &node.node_name;
        let connected = seen.connected.contains(name);
        match node.phase {
            NodePhase::InProgress if connected && !seen.told.contains(name) => tell.push(name.clone()),
            NodePhase::Pending if !connected => {
                node.reason = format!("node {name} is not connected: it is told when it is");
            }
            NodePhase::Pending if room > 0 => {
                room -= 1;
                tell.push(name.clone());
                (node.phase, node.time) = (NodePhase::InProgress, seen.now.to_string());
                node.reason.clear();
            }
            NodePhase::Pending => node.reason.clear(),
            _ => {}
        }
    }
    tell
}

fn sum_up(status: &mut JobStatus, plan: &Plan) {
    let count =
        |phase: fn(&NodePhase) -> bool| status.node_status.iter().filter(|node| phase(&node.phase)).count();
    let total = status.node_status.len();
    let done = count(|phase| phase.is_final());
    let failed = count(|phase| matches!(phase, NodePhase::Failure | NodePhase::Unknown));
    status.progress = format!("{done}/{total}");
    let first_failed = || {
        let failed = status.node_status.iter().find(|node| {
            matches!(node.phase, NodePhase::Failure | NodePhase::Unknown) && !node.reason.is_empty()
        });
        failed.map(|node| format!("; {}: {}", node.node_name, node.reason)).unwrap_or_default()
    };
    let words = format!("{failed} of {total} nodes failed");
    (status.phase, status.reason) = if done < total {
        let waiting = status
            .node_status
            .iter()
            .filter(|node| node.phase == NodePhase::Pending && !node.reason.is_empty());
        let reason = match waiting.count() {
            0 => String::new(),
            count => format!("{count} of {total} nodes are not connected"),
        };
        (JobPhase::InProgress, reason)
    } else if part(failed, total) > plan.tolerate {
        (JobPhase::Failure, format!("{words}{}", first_failed()))
    } else if failed > 0 {
        (JobPhase::Completed, format!("{words}, which is tolerated{}", first_failed()))
    } else {
        (JobPhase::Completed, String::new())
    };
}

/// With two decimals, as KubeEdge compares it.
fn part(failed: usize, total: usize) -> f64 {
    (failed as f64 / total.max(1) as f64 * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests;
