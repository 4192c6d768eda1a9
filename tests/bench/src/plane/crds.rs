//! New kinds: how soon they are served.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Stack;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::{JSON, fetch};
use crate::Measure;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// KubeEdge's own definitions, once more under another group: the first are there from the start.
pub(super) async fn run(stack: &Stack) -> Result<Measure> {
    let client = stack.client();
    let list: Value = serde_json::from_slice(&fetch(&client, "GET", CRDS, JSON, None).await?)?;
    let known = list["items"].as_array().context("a list has items")?;
    ensure!(!known.is_empty(), "KubeEdge's definitions are not there");
    let mut longest = Duration::ZERO;
    for crd in known {
        let text =
            |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let plural = text("/spec/names/plural");
        let group = format!("again.{}", text("/spec/group"));
        let mut spec = crd["spec"].clone();
        spec["group"] = json!(group);
        let crd = json!({"metadata": {"name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a measurement"}}, "spec": spec});
        let begin = Instant::now();
        fetch(&client, "POST", CRDS, JSON, Some(&crd)).await?;
        let path = format!("{CRDS}/{plural}.{group}");
        loop {
            let crd: Value = serde_json::from_slice(&fetch(&client, "GET", &path, JSON, None).await?)?;
            let conditions = crd["status"]["conditions"].as_array();
            if conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "Established" && one["status"] == "True")
            {
                break;
            }
            ensure!(begin.elapsed() < Duration::from_secs(10), "{plural}.{group} is not established: {crd}");
        }
        let version = spec["versions"].as_array().and_then(|all| all.last()).context("a version")?;
        let version = version["name"].as_str().context("a version has a name")?;
        fetch(&client, "GET", &format!("/apis/{group}/{version}/{plural}"), JSON, None).await?;
        longest = longest.max(begin.elapsed());
    }
    let method =
        format!("the slowest of KubeEdge's {} definitions is created → Established and listed", known.len());
    Ok(Measure::seconds("plane.crd", longest, method))
}
