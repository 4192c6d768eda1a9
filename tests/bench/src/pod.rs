//! Pod create → Ready and delete → gone, seen by a client of the API.

use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, EdgeOptions, Stack, StackOptions, eventually, pod};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use tokio::time::Instant;

use crate::{Measure, quantile};

/// No pod may take longer than this for either way.
const LIMIT: Duration = Duration::from_secs(60);

/// An installation with one Ready node on a private containerd.
pub(crate) async fn node() -> Result<(Containerd, Stack)> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    stack.node_ready("edge1", LIMIT).await?;
    Ok((containerd, stack))
}

pub(crate) async fn run(pods: usize) -> Result<Vec<Measure>> {
    let (_containerd, stack) = node().await?;
    let api: Api<Pod> = Api::namespaced(stack.client(), "default");
    let (mut created, mut deleted) = (Vec::new(), Vec::new());
    for number in 0..=pods {
        let name = format!("bench-{number}");
        let start = Instant::now();
        api.create(&PostParams::default(), &pod::sleeper(&name, "edge1")?).await?;
        pod::ready(&stack.client(), &name, LIMIT).await?;
        let up = start.elapsed();

        let start = Instant::now();
        api.delete(&name, &DeleteParams::default().grace_period(1)).await?;
        eventually("the pod is gone", LIMIT, || async {
            match api.get_opt(&name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        // The first one also warms caches of the runtime.
        if number > 0 {
            created.push(up);
            deleted.push(start.elapsed());
        }
    }
    let method = |what: &str| format!("median of {pods}: {what}; image present");
    Ok(vec![
        Measure::seconds("pod.ready", quantile(&created, 0.5), method("create → Ready")),
        Measure::seconds(
            "pod.gone",
            quantile(&deleted, 0.5),
            method("delete with grace 1 s → gone from the API"),
        ),
    ])
}
