//! A look at everything that the runtime holds.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::Instant;

use super::Manager;
use super::health::HEALTH_EVERY;
use crate::edged::node::RuntimeHealth;
use crate::edged::runtime::{Container, ContainerState, PodUid, RuntimeError, Sandbox};

impl Manager {
    /// Looks at everything that the runtime holds and nudges the workers of pods that changed.
    pub(super) async fn look(&mut self) {
        let looked = async {
            let sandboxes = self.ctx.runtime.sandboxes(None).await?;
            let containers = self.ctx.runtime.containers(None).await?;
            Ok::<_, RuntimeError>((sandboxes, containers))
        };
        let (sandboxes, containers) = match looked.await {
            Ok(found) => found,
            Err(error) => {
                self.tell_health(RuntimeHealth::Broken { reason: error.to_string() });
                self.answers = false;
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
