//! Taking objects away: every deletion of every verb, subresource and housekeeper ends here. What becomes of an object is decided in
//! `deletion`; here it is carried out.

use super::deletion::{Deletion, Removed, Step, next_step, preconditions};
use super::objects::ATTEMPTS;
use super::show::{Shown, value};
use super::{Api, Target, admission, write_failure};
use crate::status::Status;
use crate::store::WriteError;

impl Api {
    /// Deletes an object, or begins to.
    pub(crate) async fn remove(&self, target: &Target, how: &Deletion) -> Result<Removed, Status> {
        let resource = &target.resource;
        let mut queued = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 && queued.is_none() {
                queued = self.queue_for(target).await;
            }
            let current = self.store.get(&target.id()).ok_or_else(|| target.not_found())?;
            let old = value(resource, &current);
            preconditions(target, how, &old)?;
            admission::remove(target, &old)?;
            let step = next_step(target, how, &old)?;
            if !matches!(step, Step::Nothing) {
                self.ask_to_remove(target, how, &old).await?;
            }
            let (new, gone) = match step {
                Step::Nothing => return Ok(Removed::Terminating(Shown::Stored(current))),
                Step::Mark(new) => (new, false),
                Step::Remove => (old, true),
            };
            if how.dry_run {
                return Ok(if gone { Removed::Gone(new) } else { Removed::Terminating(Shown::Loose(new)) });
            }
            let written = if gone {
                let last = self.store.delete(target.id(), current.revision).await;
                last.map(|last| Removed::Gone(value(resource, &last)))
            } else {
                let mut stored = new;
                resource.to_stored(&mut stored);
                let marked = self.store.update(target.id(), current.revision, stored).await;
                marked.map(|marked| Removed::Terminating(Shown::Stored(marked)))
            };
            match written {
                Ok(removed) => {
                    drop(queued);
                    self.after_write(target).await;
                    return Ok(removed);
                }
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(write_failure(target, &error)),
            }
        }
        Err(Status::modified(&resource.group, &resource.plural, &target.name))
    }
}
