//! Server-side apply.

use serde_json::Value;

use super::compare::compare;
use super::conflict::{self, Conflict};
use super::managed::{Entry, Managed, Operation, Owner};
use super::merge::merge;
use super::set::Set;
use super::typed::{fields_of, with_named, without};
use super::update::pass_over;
use super::{Claim, UNOWNED, last_applied, write, written};
use crate::status::{Reason, Status};

/// Who owns all fields of an object that was not tracked before.
const BEFORE: &str = "before-first-apply";

/// A configuration that cannot be applied. `status` turns it into the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that it would change. The applier must let them go, or force.
    #[error("others own fields that would change")]
    Conflicts(Vec<Conflict>),
    /// The entries of the live object cannot be read.
    #[error("failed to decode managed fields: {0}")]
    Managed(String),
}

impl ApplyError {
    /// The answer to the client.
    pub fn status(&self) -> Status {
        match self {
            Self::Conflicts(conflicts) => conflict::status(conflicts),
            Self::Managed(_) => Status::new(Reason::InternalError, self.to_string()),
        }
    }
}

/// Lays `config` over `live` (null for an object that is to be): what it says is set and becomes the applier's, with all others that
/// say the same; what the applier had and no longer says goes, unless somebody else owns it.
///
/// # Errors
/// [`ApplyError::Conflicts`] when it would change what others own, unless `force`.
pub fn apply(claim: &Claim<'_>, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
    let managed = Managed::parse(written(live)).map_err(ApplyError::Managed)?;
    let tracked = live.is_null() || !managed.0.is_empty();
    let managed = if tracked { managed } else { untracked(claim, live) };
    let migrates = claim.manager == last_applied::KUBECTL;
    let mut applied = once(claim, live, config, managed.clone(), force);
    if migrates
        && let Err(ApplyError::Conflicts(conflicts)) = &applied
        && let Some(own) = last_applied::own_fields(claim, live)
    {
        let foreign: Vec<Conflict> = conflicts
            .iter()
            .map(|one| Conflict { fields: one.fields.difference(&own), ..one.clone() })
            .filter(|one| !one.fields.is_empty())
            .collect();
        applied = if foreign.is_empty() {
            once(claim, live, config, managed, true)
        } else {
            Err(ApplyError::Conflicts(foreign))
        };
    }
    let mut object = applied?;
    if migrates {
        last_applied::refresh(&mut object, config);
    }
    Ok(object)
}

/// The entries of an object that nobody tracked.
fn untracked(claim: &Claim<'_>, live: &Value) -> Managed {
    let before = Claim { manager: BEFORE, ..*claim };
    let all = compare(claim.shape, &claim.shape.blank(), live).without(claim.ignored);
    let mut managed = Managed::default();
    let mut changes = all;
    changes.added = changes.added.difference(&UNOWNED);
    changes.modified = changes.modified.difference(&UNOWNED);
    pass_over(&mut managed, &before, &changes);
    managed
}

fn once(
    claim: &Claim<'_>,
    live: &Value,
    config: &Value,
    mut managed: Managed,
    force: bool,
) -> Result<Value, ApplyError> {
    let shape = claim.shape;
    let fields = fields_of(shape, config).without_trees(claim.ignored);
    let entry = Entry::new(
        claim.manager,
        Operation::Apply,
        claim.api_version,
        claim.subresource,
        Some(claim.now.to_owned()),
        fields,
    );
    let own = entry.owner.clone();
    let last = managed.get(&own).map(|entry| entry.fields.clone());
    managed.set(entry);
    let merged = merge(shape, live.clone(), config);
    let mut object = match last {
        Some(last) if !last.is_empty() => prune(claim, merged, &managed, &last),
        _ => merged,
    };
    settle(claim, live, &object, &mut managed, &own, force)?;
    write(&mut object, managed.print());
    Ok(object)
}

/// Takes away what the applier had `last` time and nobody owns now.
fn prune(claim: &Claim<'_>, merged: Value, managed: &Managed, last: &Set) -> Value {
    let shape = claim.shape;
    let last = with_named(shape, last);
    let all = with_named(shape, &fields_of(shape, &merged));
    let fields_left = |left: &Value| {
        if left.is_null() { Set::default() } else { with_named(shape, &fields_of(shape, left)) }
    };
    let cut = |gone: &Set| without(shape, &merged, gone).unwrap_or_default();
    // What others own, or the applier says again, comes back with all above it.
    let owned = managed.0.iter().fold(Set::default(), |all, entry| all.union(&entry.fields));
    let left = fields_left(&cut(&last)).union(&with_named(shape, &owned));
    let left = fields_left(&cut(&all.difference(&left)));
    // Only what the applier owned may go, not what was below it.
    match without(shape, &merged, &all.difference(&left).intersection(&last)) {
        Some(pruned) => pruned,
        None => merged,
    }
}

/// Finds conflicts, and takes from others what changed and from all what is gone.
fn settle(
    claim: &Claim<'_>,
    live: &Value,
    object: &Value,
    managed: &mut Managed,
    own: &Owner,
    force: bool,
) -> Result<(), ApplyError> {
    let changes = compare(claim.shape, live, object).without(claim.ignored);
    let changed = changes.added.union(&changes.modified);
    let others = || managed.0.iter().filter(|entry| entry.owner != *own);
    if !force {
        let conflicts: Vec<Conflict> = others()
            .map(|entry| Conflict::new(entry, entry.fields.intersection(&changed)))
            .filter(|conflict| !conflict.fields.is_empty())
            .collect();
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    let lost = changed.union(&changes.removed);
    for entry in &mut managed.0 {
        entry.fields = if entry.owner == *own {
            entry.fields.difference(&UNOWNED)
        } else {
            entry.fields.difference(&lost)
        };
    }
    managed.0.retain(|entry| !entry.fields.is_empty());
    Ok(())
}
