use std::time::Duration;

use proto::config::HostPort;
use serde::Deserialize;
use tokio::time::Instant;

use super::{bootstrap, configure::Plan};
use crate::{
    cloud::{Trusted, fetch_plain},
    layout::Layout,
    problem::{Exit, Failure, Problem},
    progress::Progress,
    service::{self, Services, Status},
};

/// Waits until edgecore says that it is connected and, if it runs pods, cloudcore says that it knows the node.
pub(super) async fn wait(
    layout: &Layout,
    plan: &Plan,
    limit: Duration,
    progress: &Progress,
) -> Result<(), Failure> {
    let failed = |problem: Problem| {
        problem.fail(format!("{} is installed but not connected", plan.node), Exit::NotReady)
    };
    progress.step(format!("waiting until {} is connected to {}", plan.node, plan.hub));
    let cloud = bootstrap::trusted(layout, &plan.https).map_err(failed)?;
    let services = Services::of(layout);
    let begun = Instant::now();
    let end = begun + limit;
    loop {
        let seen = look(&cloud, plan).await;
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
                "edgecore runs and keeps trying, but {} is still not connected after {} s",
                plan.node,
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

/// `Ok` when everything works, else what does not, in the words of whoever knows.
async fn look(cloud: &Trusted, plan: &Plan) -> Result<(), String> {
    let modules = &plan.config.modules;
    let kubelet = &modules.edged.tailored_kubelet_config;
    if kubelet.read_only_port != 0 {
        connected(&HostPort::new(kubelet.address.to_string(), kubelet.read_only_port)).await?;
    }
    // Only a node that runs pods registers itself.
    if modules.edged.enable {
        registered(cloud, plan.node.as_str()).await?;
    }
    Ok(())
}

/// What edgecore says of its link at `/cloud`.
#[derive(Deserialize)]
struct Link {
    connected: bool,
    trouble: Option<String>,
}

async fn connected(health: &HostPort) -> Result<(), String> {
    let answer = fetch_plain(health, "/cloud")
        .await
        .map_err(|error| format!("edgecore does not answer at http://{health}/cloud: {error}"))?;
    let link: Link = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("what answers at http://{health}/cloud is not edgecore: {error}"))?;
    match link {
        Link { connected: true, .. } => Ok(()),
        Link { trouble: Some(trouble), .. } => Err(trouble),
        Link { trouble: None, .. } => Err("edgecore is still connecting".to_owned()),
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
