//! Whether the pod may begin here, and whether it has to go for the good of the node.

use super::super::plan::{self, Goal};
use super::super::status::{self, QosClass};
use super::Worker;
use crate::edged::admission::{self, Rejection};
use crate::edged::events::Severity;
use crate::edged::housekeeping::{Eviction, is_critical};

impl Worker {
    /// Goes when told to. That it has to is told with the first status that says so: by an agent before this one, if that was written down.
    pub(super) fn heed_eviction(&mut self) {
        if self.memory.evicted.is_some() || self.goal() != Goal::Run {
            return;
        }
        let grace = self.ctx.settings.housekeeping.soft_grace;
        if let Some(message) = status::sent_away(self.prior.as_ref()) {
            self.memory.evicted = Some(Eviction::resumed(message, grace));
        } else if let Some(eviction) = self.ctx.evictions.of(&self.identity().2) {
            let events = &self.ctx.events;
            self.untold = events.pod_once(&self.pod, Severity::Warning, "Evicted", &eviction.message);
            self.memory.evicted = Some(eviction);
        }
    }

    /// Once, before the pod begins: may it? Who has begun goes on.
    pub(super) fn ask_for_admission(&mut self) {
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
            self.untold = self.ctx.events.pod_once(&self.pod, Severity::Warning, &refused.reason, &words);
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
