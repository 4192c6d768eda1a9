//! How long the pod's worker sleeps, and what is said meanwhile of what is waited for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::plan::{Plan, Trouble};
use super::super::{members, status};
use super::Worker;
use crate::edged::events::Severity;

/// How long a failure is shown before the back-off that follows it: `ErrImagePull` before `ImagePullBackOff`, `RunContainerError`
/// before `CrashLoopBackOff`.
const FLIP_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// Nothing waits longer than this for the next look.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

impl Worker {
    pub(super) fn sleep(&self, plan: &Plan, now: Timestamp) -> Duration {
        let flips = self.memory.containers.values();
        let flips = flips.filter(|trouble| trouble.reason == "ErrImagePull" || trouble.is_end());
        let flips = flips.map(|trouble| trouble.since.saturating_add(FLIP_AFTER).unwrap_or(now));
        let volumes = self.memory.mounting.as_ref().map(|trouble| trouble.until);
        let next = flips.chain(volumes).chain(plan.wake).chain(self.renew).min();
        let wait = next.map_or(LONGEST_SLEEP, |next| now.duration_until(next).try_into().unwrap_or_default());
        // Never zero: zero means that something was done.
        wait.max(Duration::from_millis(20))
    }

    /// Some time after a failure, the state says that it is being waited.
    pub(super) async fn flip(&mut self, now: Timestamp) {
        let shown = |trouble: &Trouble| now.duration_since(trouble.since) >= FLIP_AFTER;
        // What follows is what is said of any container that has ended.
        self.memory.containers.retain(|_, trouble| !(trouble.is_end() && shown(trouble)));
        let due = |trouble: &Trouble| trouble.reason == "ErrImagePull" && shown(trouble);
        let mut said = Vec::new();
        for (name, trouble) in self.memory.containers.iter_mut().filter(|(_, trouble)| due(trouble)) {
            let image = members::find(&self.pod, name).and_then(|(_, spec)| spec.image.clone());
            let image = image.unwrap_or_default();
            trouble.reason = "ImagePullBackOff".into();
            trouble.message = format!("Back-off pulling image {image:?}: ErrImagePull: {}", trouble.message);
            said.push((name.clone(), format!("Back-off pulling image {image:?}")));
        }
        for (name, message) in said {
            let events = &self.ctx.events;
            events.pod(&self.pod, Some(&name), Severity::Normal, "BackOff", &message).await;
            let failed = "Error: ImagePullBackOff";
            events.pod(&self.pod, Some(&name), Severity::Warning, "Failed", failed).await;
        }
    }

    /// One event for every time that a container has to wait for its next start.
    pub(super) async fn tell_back_off(&mut self) {
        let Some(status) = &self.prior else { return };
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let waiting: Vec<String> = lists
            .into_iter()
            .flatten()
            .flatten()
            .filter(|status| {
                let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
                waiting.and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff")
            })
            .map(|status| status.name.clone())
            .collect();
        for name in waiting {
            let Some(container) = self.seen.latest(&name) else { continue };
            if self.told.get(&name) == Some(&container.id) || container.exit().is_none() {
                continue;
            }
            self.told.insert(name.clone(), container.id.clone());
            let label = status::pod_label(&self.pod);
            let message = format!("Back-off restarting failed container {name} in pod {label}");
            self.ctx.events.pod(&self.pod, Some(&name), Severity::Warning, "BackOff", &message).await;
        }
    }
}
