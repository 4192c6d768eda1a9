use std::time::Duration;

use tokio::time::Instant;

use super::configure::Plan;
use crate::{
    cloud::fetch_untrusted,
    cluster,
    join::Token,
    layout::Layout,
    problem::{Exit, Failure, Problem},
    progress::Progress,
    service::{self, Services, Status},
};

/// A cloudcore that works.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) token: String,
    pub(super) valid_until: String,
}

/// Waits until the API answers, edges can fetch certificates and the join token exists; says what it waits for.
pub(super) async fn wait(
    layout: &Layout,
    plan: &Plan,
    limit: Duration,
    progress: &Progress,
) -> Result<Ready, Failure> {
    let services = Services::of(layout);
    let end = Instant::now() + limit;
    let mut told = String::new();
    loop {
        let missing = match probe(plan).await {
            Ok(ready) => {
                progress.step("cloudcore is ready");
                return Ok(ready);
            }
            Err(missing) => missing,
        };
        if missing.doing != told {
            progress.step(format!("waiting for {}", missing.doing));
            told.clone_from(&missing.doing);
        }
        let status = services.status("cloudcore").await;
        let gone = match &status {
            Status::Running { .. } => None,
            // One restart may be bad luck, for example a port that is just being freed.
            Status::Restarting { .. } if Instant::now() + limit < end + Duration::from_secs(5) => None,
            Status::Restarting { reason } => Some(format!("cloudcore {reason}")),
            Status::Stopped => Some("cloudcore ended at once".to_owned()),
        };
        if gone.is_none() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let log = services.tail("cloudcore", 60).await;
        let what = gone.unwrap_or_else(|| {
            format!("cloudcore runs, but {} is still missing after {} s", missing.doing, limit.as_secs())
        });
        let cause = match service::decisive(&log) {
            text if text.is_empty() => missing.why,
            text => format!("{}\nits log says:\n{text}", missing.why),
        };
        return Err(Problem::new(what)
            .cause(cause)
            .next(format!("{}; to begin anew: keadm reset cloud", services.log_hint("cloudcore")))
            .fail("cloudcore was installed but is not ready", Exit::NotReady));
    }
}

/// What is not there yet, and in whose words.
struct Missing {
    doing: String,
    why: String,
}

async fn probe(plan: &Plan) -> Result<Ready, Missing> {
    let missing = |doing: &str, why: String| Missing { doing: doing.to_owned(), why };
    let api = "the Kubernetes API";
    let client =
        cluster::connect(&plan.kubeconfig()).await.map_err(|problem| missing(api, problem.to_string()))?;
    client.apiserver_version().await.map_err(|error| missing(api, error.to_string()))?;
    let https = plan.https_local();
    let (answer, _) = fetch_untrusted(&https, "/ca.crt")
        .await
        .map_err(|error| missing("the certificate endpoint", format!("{https}: {error}")))?;
    if answer.status != 200 {
        return Err(missing("the certificate endpoint", format!("{https}/ca.crt answers {}", answer.status)));
    }
    let token = cluster::secret(&client, "tokensecret", "tokendata")
        .await
        .map_err(|problem| missing("the join token", problem.to_string()))?;
    let token = String::from_utf8_lossy(&token).trim().to_owned();
    let parsed = token.parse::<Token>().map_err(|error| missing("the join token", error.to_string()))?;
    Ok(Ready { token, valid_until: parsed.valid_until() })
}
