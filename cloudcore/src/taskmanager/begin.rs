//! A job's first status: which nodes it is for, and which of those cannot do it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use proto::operations::{JobPhase, JobStatus, NodePhase, NodeTaskStatus};

use super::job::{Job, Targets};

/// KubeEdge's own test for an edge node: this label, with an empty value.
const EDGE_LABEL: &str = "node-role.kubernetes.io/edge";

/// The status with which the job begins.
pub(super) fn begin(job: &Job, nodes: &[Node], now: Timestamp) -> JobStatus {
    let failed = |reason: String| JobStatus { phase: JobPhase::Failure, reason, ..JobStatus::default() };
    let plan = match &job.plan {
        Ok(plan) => plan,
        Err(reason) => return failed(reason.clone()),
    };
    let node_status = match &plan.targets {
        Targets::Named(names) => named(names, nodes, now),
        Targets::Selected(selector) => match selected(selector, nodes) {
            Ok(status) => status,
            Err(reason) => return failed(reason),
        },
    };
    if node_status.is_empty() {
        return failed("no edge node has the labels that labelSelector asks for".into());
    }
    JobStatus { phase: JobPhase::Init, node_status, ..JobStatus::default() }
}

fn named(names: &[String], nodes: &[Node], now: Timestamp) -> Vec<NodeTaskStatus> {
    let known: BTreeMap<&str, &Node> =
        nodes.iter().filter_map(|node| Some((node.metadata.name.as_deref()?, node))).collect();
    let names: BTreeSet<&String> = names.iter().collect();
    let status = |name: &String| {
        let why_not = match known.get(name.as_str()) {
            None => Some(format!("node {name:?} not found")),
            Some(node) if !is_edge(node) => {
                Some(format!("node {name:?} is no edge node: it has no label {EDGE_LABEL}=\"\""))
            }
            Some(_) => None,
        };
        match why_not {
            None => NodeTaskStatus { node_name: name.clone(), ..NodeTaskStatus::default() },
            Some(reason) => NodeTaskStatus {
                node_name: name.clone(),
                phase: NodePhase::Failure,
                reason,
                time: now.to_string(),
                ..NodeTaskStatus::default()
            },
        }
    };
    names.into_iter().map(status).collect()
}

fn selected(selector: &LabelSelector, nodes: &[Node]) -> Result<Vec<NodeTaskStatus>, String> {
    let selector = Selector::try_from(selector.clone())
        .map_err(|error| format!("spec.imagePrePullTemplate.labelSelector: {error}"))?;
    let none = BTreeMap::new();
    let fits =
        |node: &&Node| is_edge(node) && selector.matches(node.metadata.labels.as_ref().unwrap_or(&none));
    let names = nodes.iter().filter(fits).filter_map(|node| node.metadata.name.clone());
    let names: BTreeSet<String> = names.collect();
    Ok(names.into_iter().map(|node_name| NodeTaskStatus { node_name, ..NodeTaskStatus::default() }).collect())
}

fn is_edge(node: &Node) -> bool {
    node.metadata.labels.as_ref().and_then(|labels| labels.get(EDGE_LABEL)).is_some_and(String::is_empty)
}
