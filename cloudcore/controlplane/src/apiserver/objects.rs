//! Putting objects through the rules: every write of every verb, subresource and housekeeper ends in one of the two here,
//! or in [`Api::remove`].
//!
//! [`Api::create`] and [`Api::modify`] know metadata, admission, validation, optimistic concurrency, dry runs and finalizers. They know nothing about HTTP.

use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::show::{Shown, value};
use super::write::{Write, state, stated};
use super::{Api, Target, admission, metadata, write_failure};
use crate::fieldmanager;
use crate::status::{FieldError, Status};
use crate::store::WriteError;

/// How often a write without a resource version tries again when others were faster.
pub(super) const ATTEMPTS: usize = 32;
/// How often a generated name is made anew when it is taken.
const NAMES: usize = 8;

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status.
    Main,
    /// The status.
    Status,
    /// The debug containers of a pod.
    EphemeralContainers,
    /// Whether a certificate is granted.
    Approval,
    /// Whatever the server itself changes: no rules apply.
    Whole,
}

impl Part {
    /// The subresource through which it is written; empty for the object itself.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Main | Self::Whole => "",
            Self::Status => "status",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Approval => "approval",
        }
    }
}

impl Api {
    /// Stores a new object.
    pub(crate) async fn create(
        &self,
        target: &Target,
        mut object: Value,
        how: &Write,
    ) -> Result<Shown, Status> {
        let resource = &target.resource;
        metadata::place(&mut object, target)?;
        admission::namespace(self, target, &object)?;
        let mutated = self.mutate_new(target, how, &mut object).await?;
        if mutated {
            metadata::place(&mut object, target)?;
        }
        metadata::born(&mut object)?;
        let generated = metadata::generated_name(&object);
        if let Some(name) = &generated {
            metadata::of(&mut object)?.insert("name".to_owned(), json!(name));
        }
        resource.prepare_create(&mut object);
        resource.default(&mut object);
        if !mutated {
            how.own(target, None, &mut object);
        }
        let allotting = self.allotting(target).await;
        admission::create(self, target, &mut object)?;
        let name = metadata::text(&object, "name").to_owned();
        fail_if_wrong(target, &name, &resource.validate_create(&object))?;
        let mut target = target.named(&name);
        let _allotting = if self.has_judges(&target) {
            // Nobody waits for a webhook with a lock. What it saw is what is stored, if others left that free.
            drop(allotting);
            self.judge_new(&target, how, &object).await?;
            let again = self.allotting(&target).await;
            admission::create(self, &target, &mut object)?;
            again
        } else {
            allotting
        };
        // What is counted must not change between counting and writing.
        let _alone = if admission::has_quota(self, &target) { Some(self.quotas.lock().await) } else { None };
        admission::count(self, &target, None, &object)?;
        for attempt in 1.. {
            if how.dry_run {
                if self.store.get(&target.id()).is_some() {
                    return Err(write_failure(&target, &WriteError::AlreadyExists));
                }
                return Ok(Shown::Loose(object));
            }
            let mut stored = object.clone();
            resource.to_stored(&mut stored);
            match self.store.create(target.id(), stored).await {
                Ok(created) => {
                    self.after_write(&target).await;
                    return Ok(Shown::Stored(
                        self.store.get(&target.id()).filter(|_| target.is_crd()).unwrap_or(created),
                    ));
                }
                Err(WriteError::AlreadyExists) if generated.is_some() && attempt < NAMES => {
                    let metadata = metadata::of(&mut object)?;
                    metadata.shift_remove("name");
                    let name = metadata::generated_name(&object).unwrap_or_default();
                    target.name.clone_from(&name);
                    metadata::of(&mut object)?.insert("name".to_owned(), json!(name));
                }
                Err(error) => return Err(write_failure(&target, &error)),
            }
        }
        Err(Status::internal("names ran out"))
    }

    /// Changes an object: `edit` makes the new state from the current one, and is asked again when somebody else was faster. A
    /// `resourceVersion` in what it returns is a precondition, as is a `uid`.
    pub(crate) async fn modify(
        &self,
        target: &Target,
        part: Part,
        how: &Write,
        edit: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<Shown, Status> {
        let shown = self.write(target, part, how, edit).await?;
        if how.dry_run {
            return Ok(shown);
        }
        self.after_write(target).await;
        // The definition of a custom kind says at once what became of it.
        let newest = if target.is_crd() { self.store.get(&target.id()) } else { None };
        Ok(newest.map_or(shown, Shown::Stored))
    }

    /// The same without what follows from it.
    pub(crate) async fn write(
        &self,
        target: &Target,
        part: Part,
        how: &Write,
        mut edit: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<Shown, Status> {
        let resource = &target.resource;
        let (group, plural, name) = (&resource.group, &resource.plural, &target.name);
        let allots = part == Part::Main && target.is_core("services");
        let mut queued = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 && queued.is_none() {
                queued = self.queue_for(target).await;
            }
            let current = self.store.get(&target.id()).ok_or_else(|| target.not_found())?;
            let old = value(resource, &current);
            let mut new = edit(&old)?;
            metadata::place(&mut new, target)?;
            let version = metadata::text(&new, "resourceVersion");
            if !matches!(version, "" | "0") && version != metadata::text(&old, "resourceVersion") {
                return Err(Status::modified(group, plural, name));
            }
            let uid = metadata::text(&new, "uid");
            if !uid.is_empty() && uid != metadata::text(&old, "uid") {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    metadata::text(&old, "uid")
                );
                return Err(Status::conflict(group, plural, name, &why));
            }
            metadata::keep(&old, &mut new)?;
            admission::restrict(self, target, part, &old, &new)?;
            let mutated = self.mutate_changed(target, part, how, &old, &mut new).await?;
            if mutated {
                metadata::place(&mut new, target)?;
                metadata::keep(&old, &mut new)?;
                admission::restrict(self, target, part, &old, &new)?;
            }
            let entries = stated(&mut new);
            let own = |new: &mut Value| {
                state(new, entries);
                if !mutated {
                    how.own(target, Some(&old), new);
                }
            };
            let allotting = if allots { self.allotting(target).await } else { None };
            let wrong = match part {
                Part::Main => {
                    resource.prepare_update(&old, &mut new);
                    resource.default(&mut new);
                    own(&mut new);
                    admission::update(self, target, &old, &mut new)?;
                    resource.validate_update(&old, &new)
                }
                Part::Approval => {
                    admission::decide(&old, &mut new);
                    resource.prepare_status_update(&old, &mut new);
                    own(&mut new);
                    resource.validate_status_update(&old, &new)
                }
                Part::Status => {
                    resource.prepare_status_update(&old, &mut new);
                    own(&mut new);
                    resource.validate_status_update(&old, &new)
                }
                Part::EphemeralContainers => {
                    let containers = new["spec"]["ephemeralContainers"].take();
                    new = old.clone();
                    if containers.is_array() {
                        new["spec"]["ephemeralContainers"] = containers;
                    }
                    resource.default(&mut new);
                    own(&mut new);
                    Vec::new()
                }
                Part::Whole => {
                    own(&mut new);
                    Vec::new()
                }
            };
            fail_if_wrong(target, name, &wrong)?;
            let _allotting = if self.has_judges(target) {
                drop(allotting);
                self.judge_changed(target, part, how, &old, &new).await?;
                let again = if allots { self.allotting(target).await } else { None };
                if again.is_some() {
                    admission::update(self, target, &old, &mut new)?;
                }
                again
            } else {
                allotting
            };
            if part == Part::Main {
                admission::count(self, target, Some(&old), &new)?;
            }
            metadata::of(&mut new)?
                .insert("resourceVersion".to_owned(), old["metadata"]["resourceVersion"].clone());
            if fieldmanager::is_same(&old, &new) {
                return Ok(Shown::Stored(current));
            }
            if how.dry_run {
                return Ok(Shown::Loose(new));
            }
            let written = if is_finished(&new) {
                // One write: the server may be stopped after any, and nothing would come back for what is left without a finalizer.
                self.store.delete(target.id(), current.revision).await.map(|_| Shown::Loose(new))
            } else {
                let mut stored = new;
                resource.to_stored(&mut stored);
                self.store.update(target.id(), current.revision, stored).await.map(Shown::Stored)
            };
            match written {
                Ok(shown) => return Ok(shown),
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(write_failure(target, &error)),
            }
        }
        Err(Status::modified(group, plural, name))
    }

    /// The right to give addresses and ports away, for services.
    async fn allotting(&self, target: &Target) -> Option<MutexGuard<'_, ()>> {
        if target.is_core("services") { Some(self.services.lock().await) } else { None }
    }

    /// What must be true before the writer gets its answer: a new kind is served, a new namespace is furnished.
    pub(super) async fn after_write(&self, target: &Target) {
        if target.is_crd() {
            self.sync_crd(&target.name).await;
        }
        if target.is_core("namespaces") {
            self.furnish(&target.name).await;
        }
    }
}

fn fail_if_wrong(target: &Target, name: &str, wrong: &[FieldError]) -> Result<(), Status> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&target.resource.group, &target.resource.kind, name, wrong))
}

/// Whether nothing keeps a terminating object any more.
fn is_finished(object: &Value) -> bool {
    metadata::is_terminating(object)
        && metadata::finalizers(object).is_empty()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && object["spec"]["finalizers"]
            .as_array()
            .is_none_or(|finalizers| finalizers.is_empty() || object["kind"] != "Namespace")
}
