//! A Deployment from its creation to its end on a real node: two pods, one deleted, one too many, a stray one, none.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{eventually, pod};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::Measure;

const NAME: &str = "simple-http";
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let (_containerd, stack) = crate::pod::node().await?;
    let client = stack.client();
    let (deployments, sets): (Api<Deployment>, Api<ReplicaSet>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()));
    let (pods, events): (Api<Pod>, Api<Event>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client));
    let running = async |count: usize| -> Result<Vec<Pod>> {
        eventually(&format!("{count} pods are ready and no other is there"), LIMIT, || async {
            let all = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && pod::is_ready(pod);
            if all.len() == count && all.iter().all(stays) { Ok(all) } else { Err(format!("{}", all.len())) }
        })
        .await
    };
    let mut spec = serde_json::to_value(pod::sleeper(NAME, "")?.spec)?;
    spec.as_object_mut().context("a pod has a spec")?.remove("nodeName");
    let deployment = json!({
        "metadata": {"name": NAME},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": spec}},
    });
    let begin = Instant::now();
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let first = running(2).await?;
    let set = sets.list(&ListParams::default()).await?.items.pop().context("a ReplicaSet")?;

    pods.delete(&first[0].name_any(), &DeleteParams::default()).await?;
    let second = running(2).await?;
    ensure!(second.iter().all(|pod| pod.uid() != first[0].uid()), "the deleted pod is still there");

    let one = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments.patch_scale(NAME, &PatchParams::default(), &one).await?;
    let last = running(1).await?;

    let mut stray = pod::sleeper(&format!("{NAME}-c"), "")?;
    stray.metadata.labels = last[0].metadata.labels.clone();
    if let Some(spec) = &mut stray.spec {
        spec.node_name = None;
        spec.scheduler_name = Some("nobody".to_owned());
    }
    pods.create(&PostParams::default(), &stray).await?;
    let wanted = [
        format!("Scaled up replica set {} from 0 to 2", set.name_any()),
        format!("Created pod: {}", first[0].name_any()),
        format!("Scaled down replica set {} from 2 to 1", set.name_any()),
        format!("Deleted pod: {NAME}-c"),
    ];
    eventually("every step was told", LIMIT, || async {
        let told = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let missing =
            wanted.iter().find(|one| !told.iter().any(|event| event.message.as_ref() == Some(*one)));
        missing.map_or(Ok(()), |one| Err(one.clone()))
    })
    .await?;
    let left = running(1).await?;
    ensure!(left[0].uid() == last[0].uid(), "the stray pod stayed and the other went");

    deployments.delete(NAME, &DeleteParams::background()).await?;
    running(0).await?;
    eventually("the ReplicaSet is gone", LIMIT, || async {
        let sets = sets.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if sets.items.is_empty() { Ok(()) } else { Err(sets.items.len().to_string()) }
    })
    .await?;
    let method = "Deployment of 2 on containerd: created, a pod deleted, scaled to 1, a stray pod adopted and deleted, all deleted; pods end at once on SIGTERM";
    Ok(vec![Measure::seconds("deployment.acid", begin.elapsed(), method)])
}
