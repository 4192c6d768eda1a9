//! Whether the pod may begin here, and whether it has to go for the good of the node.

use super::super::plan::{self, Goal};
use super::super::status::{self, QosClass};
use super::Worker;
use crate::edged::admission::{self, Rejection};
use crate::edged::events::Severity;
use crate::edged::housekeeping::{Eviction, is_critical};

impl Worker {
    /// Goes when told to.
    pub(super) async fn heed_eviction(&mut self) {
        if self.memory.evicted.is_some() || self.goal() != Goal::Run {
            return;
        }
        let grace = self.ctx.settings.housekeeping.soft_grace;
        let before = status::sent_away(self.prior.as_ref()).map(|message| Eviction::resumed(message, grace));
        // One that has ended under an agent before this one was told of by it.
        self.eviction_told = before.is_some() && self.has_failed();
        self.memory.evicted = before.or_else(|| self.ctx.evictions.of(&self.identity().2));
    }

    /// Told when it is on disk; an agent that was killed before it had told it tells it again, and it is the same event.
    pub(super) async fn tell_eviction(&mut self) {
        let Some(eviction) = self.memory.evicted.as_ref().filter(|_| !self.eviction_told) else { return };
        self.ctx.events.pod_once(&self.pod, Severity::Warning, "Evicted", &eviction.message).await;
        self.eviction_told = true;
    }

    fn has_failed(&self) -> bool {
        self.prior.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed")
    }

    /// Once, before the pod begins: may it? Who has begun goes on.
    pub(super) async fn ask_for_admission(&mut self) {
        if self.admitted || self.goal() != Goal::Run || plan::has_ended(self.view(self.ctx.clock.now())) {
            return;
        }
        self.admitted = true;
        let begun = self.prior.is_some() || !self.seen.is_empty();
        if begun || is_critical(&self.pod) {
            self.ctx.admission.keep(&self.pod);
            return;
        }
        let admitted = self.unpressed().and_then(|()| self.ctx.admission.admit(&self.pod, self.ctx.capacity));
        if let Err(refused) = admitted {
            let words = refused.to_string();
            self.ctx.events.pod(&self.pod, None, Severity::Warning, &refused.reason, &words).await;
            self.memory.refused = Some(refused);
        }
    }

    /// A pod that has not begun does not begin on a node that is short of what it would need.
    fn unpressed(&self) -> Result<(), Rejection> {
        let pressure = *self.ctx.pressure.borrow();
        // Who asked for memory gets it: others are evicted first.
        let modest =
            QosClass::of(&self.pod) != QosClass::BestEffort || admission::bears_memory_pressure(&self.pod);
        if pressure.disk || pressure.pids || (pressure.memory && !modest) {
            let message = format!("The node had condition: {pressure}. ");
            return Err(Rejection { reason: "Evicted".to_owned(), message });
        }
        Ok(())
    }
}
