//! How long to wait before a failed pod is replaced: 10 s, doubled with each failure in a row, at most 10 minutes.
//!
//! Told from the pods themselves, so a restart forgets nothing. Source: Kubernetes v1.36 `pkg/controller/job/backoff_utils.go`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::policy::ended;
use super::view::View;
use crate::pods::{condition, phase};

const FIRST: i64 = 10;
const LONGEST: i64 = 600;

/// What is left of the pause after the newest of `pods`, which are a job's or one index's; nothing if none failed last.
pub(super) fn remaining<'p>(
    job: &View<'_>,
    pods: impl Iterator<Item = &'p Arc<Pod>>,
    now: Timestamp,
) -> Option<Duration> {
    let ended = pods.filter(|pod| phase(pod) == "Succeeded" || job.has_failed(pod));
    let mut ended: Vec<_> = ended.map(|pod| (finished(pod), phase(pod) != "Succeeded")).collect();
    ended.sort_unstable();
    let failures = ended.iter().rev().take_while(|(_, failed)| *failed).count();
    let (last, _) = *ended.last().filter(|_| failures > 0)?;
    let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(10);
    let pause = (FIRST << doublings).min(LONGEST);
    let left = last.as_second() + pause - now.as_second();
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
}

/// When a pod ended, as far as can be told.
fn finished(pod: &Pod) -> Timestamp {
    let containers = ended(pod).filter_map(|(_, state)| state.finished_at.as_ref()).max();
    let not_ready = || condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    let meta = &pod.metadata;
    let known = containers
        .or(meta.deletion_timestamp.as_ref())
        .or_else(not_ready)
        .or(meta.creation_timestamp.as_ref());
    known.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}
