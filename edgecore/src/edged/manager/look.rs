//! A look at everything that the runtime holds.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::Manager;
use super::health::HEALTH_EVERY;
use crate::edged::events::Severity;
use crate::edged::node::RuntimeHealth;
use crate::edged::runtime::{Container, ContainerState, PodUid, RuntimeError, Sandbox};

/// How often it is said that what is dead cannot be looked for (the kubelet: `ContainerGCPeriod`).
const COLLECT_EVERY: Duration = Duration::from_secs(60);

impl Manager {
    /// Looks at everything that the runtime holds and nudges the workers of pods that changed.
    pub(super) async fn look(&mut self) {
        let looked = async {
            let sandboxes = self.ctx.runtime.sandboxes(None).await?;
            let containers = self.ctx.runtime.containers(None).await?;
            Ok::<_, RuntimeError>((sandboxes, containers))
        };
        let looked = looked.await;
        let is_time = self.collected.is_none_or(|collected| collected.elapsed() >= COLLECT_EVERY);
        if is_time {
            self.collected = Some(Instant::now());
        }
        let (sandboxes, containers) = match looked {
            Ok(found) => found,
            Err(error) => {
                self.tell_health(RuntimeHealth::Broken { reason: error.to_string() });
                self.answers = false;
                if is_time {
                    let words = error.to_string();
                    self.ctx.events.node(Severity::Warning, "ContainerGCFailed", &words).await;
                }
                return;
            }
        };
        if !self.answers {
            self.answers = true;
            for entry in self.workers.values() {
                entry.nudge.notify_one();
            }
        }
        if self.asked.is_none_or(|asked| asked.elapsed() >= HEALTH_EVERY) {
            self.asked = Some(Instant::now());
            let health = self.ask_health().await;
            self.tell_health(health);
        }
        let prints = fingerprints(&sandboxes, &containers);
        for (uid, print) in &prints {
            if self.prints.get(uid) != Some(print)
                && let Some(entry) = self.workers.get(&uid.0)
            {
                entry.nudge.notify_one();
            }
        }
        for uid in self.prints.keys().filter(|uid| !prints.contains_key(*uid)) {
            if let Some(entry) = self.workers.get(&uid.0) {
                entry.nudge.notify_one();
            }
        }
        self.remove_unknown(&prints, &sandboxes, &containers);
        self.clean_up(&prints);
        self.prints = prints;
    }
}

/// A number per pod that changes when one of its sandboxes or containers changes state.
fn fingerprints(sandboxes: &[Sandbox], containers: &[Container]) -> HashMap<PodUid, u64> {
    let mut facts: HashMap<PodUid, Vec<(&str, u8)>> = HashMap::new();
    for sandbox in sandboxes {
        facts.entry(sandbox.uid.clone()).or_default().push((&sandbox.id.0, u8::from(sandbox.ready)));
    }
    for container in containers {
        let state = match container.state {
            ContainerState::Created => 2,
            ContainerState::Running { .. } => 3,
            ContainerState::Exited(_) => 4,
            ContainerState::Unknown => 5,
        };
        facts.entry(container.uid.clone()).or_default().push((&container.id.0, state));
    }
    let print = |mut list: Vec<(&str, u8)>| {
        list.sort_unstable();
        let mut hasher = DefaultHasher::new();
        list.hash(&mut hasher);
        hasher.finish()
    };
    facts.into_iter().map(|(uid, list)| (uid, print(list))).collect()
}
