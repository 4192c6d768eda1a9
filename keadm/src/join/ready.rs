use std::time::Duration;

use tokio::time::Instant;

use super::{bootstrap, configure::Plan};
use crate::{
    cloud::Trusted,
    layout::Layout,
    problem::{Exit, Failure, Problem},
    progress::Progress,
    service::{self, Services, Status},
};

/// Waits until cloudcore knows the node: it is registered over the websocket, so the whole way works.
pub(super) async fn wait(
    layout: &Layout,
    plan: &Plan,
    limit: Duration,
    progress: &Progress,
) -> Result<(), Failure> {
    let failed = |problem: Problem| {
        problem.fail(format!("{} is installed but not connected", plan.node), Exit::NotReady)
    };
    progress.step(format!("waiting until {} is registered at {}", plan.node, plan.hub));
    let cloud = bootstrap::trusted(layout, &plan.https).map_err(failed)?;
    let services = Services::of(layout);
    let begun = Instant::now();
    let end = begun + limit;
    loop {
        let seen = registered(&cloud, plan.node.as_str()).await;
        if seen.is_ok() {
            return Ok(());
        }
        let gone = match services.status("edgecore").await {
            Status::Running { .. } => None,
            // One restart may be bad luck.
            Status::Restarting { .. } if begun.elapsed() < Duration::from_secs(5) => None,
            Status::Restarting { reason } => Some(format!("edgecore {reason}")),
            Status::Stopped => Some("edgecore ended at once".to_owned()),
        };
        if gone.is_none() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let log = services.tail("edgecore", 80).await;
        let what = gone.unwrap_or_else(|| {
            format!(
                "edgecore runs and keeps trying, but after {} s cloudcore still does not know the node",
                limit.as_secs()
            )
        });
        let said = service::decisive(&log);
        let mut cause = seen.err().unwrap_or_default();
        if !said.is_empty() {
            cause = format!("{cause}\nits log says:\n{said}");
        }
        return Err(failed(
            Problem::new(what)
                .cause(cause)
                .next(format!("{}; to begin anew: keadm reset edge", services.log_hint("edgecore"))),
        ));
    }
}

async fn registered(cloud: &Trusted, node: &str) -> Result<(), String> {
    match cloud.get(&format!("/node/{node}"), Vec::new(), Vec::new()).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) if answer.status == 404 => Err("edgecore has not registered the node yet".to_owned()),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
            Err(format!("cloudcore answers {}: {text}", answer.status))
        }
        Err(error) => Err(format!("cloudcore cannot be asked: {error}")),
    }
}
