//! Requests for certificates go when nobody will look for them any more.
//!
//! Source: Kubernetes v1.36 `pkg/controller/certificates/cleaner`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{all, place};
use crate::apiserver::{Api, Deletion};
use crate::schema::Json;

const EVERY: Duration = Duration::from_secs(600);
/// What was answered is kept as long.
const ANSWERED_SECONDS: i64 = 3600;
/// What nobody answered.
const PENDING_SECONDS: i64 = 24 * 3600;

pub(super) async fn expire(api: Arc<Api>, token: CancellationToken) -> Result<(), Infallible> {
    loop {
        sweep(&api, Timestamp::now().as_second()).await;
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn sweep(api: &Api, now: i64) {
    let Some(requests) = place(api, "certificates.k8s.io", "v1", "certificatesigningrequests", "", "") else {
        return;
    };
    for (key, request) in all(api, &requests, None) {
        if !is_over(&request, now) {
            continue;
        }
        let same = Deletion { uid: Some(request.text("/metadata/uid").to_owned()), ..Deletion::default() };
        if let Err(status) = api.remove(&requests.named(&key.name), &same).await {
            tracing::debug!(
                request = &*key.name,
                "an old request for a certificate could not go yet: {status}"
            );
        }
    }
}

fn is_over(request: &Value, now: i64) -> bool {
    let old = |time: &str, seconds: i64| {
        time.parse::<Timestamp>().is_ok_and(|time| time.as_second() + seconds < now)
    };
    let conditions = request.list("/status/conditions");
    if conditions.is_empty() {
        return old(request.text("/metadata/creationTimestamp"), PENDING_SECONDS);
    }
    let issued = !request.text("/status/certificate").is_empty();
    conditions.iter().any(|one| {
        let is_answer = match one.text("/type") {
            "Approved" => issued,
            "Denied" | "Failed" => true,
            _ => false,
        };
        is_answer && one.text("/status") == "True" && old(one.text("/lastUpdateTime"), ANSWERED_SECONDS)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_answered_goes_after_an_hour_and_what_nobody_answered_after_a_day() {
        let now = "2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap().as_second();
        let request = |kind: Option<&str>, time: &str, certificate: &str| {
            let condition = kind.map(|kind| json!({"type": kind, "status": "True", "lastUpdateTime": time}));
            json!({"metadata": {"creationTimestamp": time},
                "status": {"conditions": Vec::from_iter(condition), "certificate": certificate}})
        };
        let (minutes, hours, days) = ("2026-11-22T11:30:00Z", "2026-11-22T10:00:00Z", "2026-11-21T10:00:00Z");
        for (kind, time, certificate, over) in [
            (None, hours, "", false),
            (None, days, "", true),
            (Some("Approved"), minutes, "x", false),
            (Some("Approved"), hours, "x", true),
            (Some("Approved"), days, "", false),
            (Some("Denied"), minutes, "", false),
            (Some("Denied"), hours, "", true),
            (Some("Failed"), hours, "", true),
            (Some("Odd"), days, "", false),
        ] {
            assert_eq!(is_over(&request(kind, time, certificate), now), over, "{kind:?} {time}");
        }
    }
}
