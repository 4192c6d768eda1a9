//! Ownership after a create, update or patch.

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::managed::{Entry, Managed, Operation, is_reset};
use super::{Claim, UNOWNED, write, written};

/// Sets `managedFields` of `new`, which comes out of `live` by this claim's write; of a new object there is no `live`. What was
/// added or changed becomes the writer's and nobody else's, what was removed nobody's.
///
/// Entries in `new` replace those of `live`, unless they are malformed or came through a subresource; an empty list makes the
/// server forget all.
pub fn update(claim: &Claim<'_>, live: Option<&Value>, new: &mut Value) {
    let before = live.and_then(written);
    let sent = written(new).filter(|_| claim.subresource.is_empty());
    let reset = is_reset(sent);
    let own = || Managed::parse(before).unwrap_or_default();
    let untouched = sent.is_none() || sent == before;
    let managed = match sent {
        _ if reset => Managed::default(),
        Some(sent) if !untouched => {
            Managed::parse(Some(sent)).ok().filter(|managed| !managed.0.is_empty()).unwrap_or_else(own)
        }
        _ => {
            // Most writes that change nothing end here.
            let Some(live) = live else { return start(claim, new) };
            write(new, before.cloned());
            if before.is_none() {
                return;
            }
            let changes = changes(claim, live, new);
            if changes.is_empty() {
                return;
            }
            let mut managed = own();
            if managed.0.is_empty() {
                return write(new, None);
            }
            pass_over(&mut managed, claim, &changes);
            return write(new, managed.print());
        }
    };
    write(new, None);
    match live {
        // An object whose ownership is not tracked begins to be with the first apply.
        Some(_) if managed.0.is_empty() => {}
        Some(live) => finish(claim, managed, live, new),
        None => finish(claim, managed, &claim.shape.blank(), new),
    }
}

/// The entries of an object that begins with this write.
fn start(claim: &Claim<'_>, new: &mut Value) {
    finish(claim, Managed::default(), &claim.shape.blank(), new);
}

fn finish(claim: &Claim<'_>, mut managed: Managed, live: &Value, new: &mut Value) {
    let changes = changes(claim, live, new);
    pass_over(&mut managed, claim, &changes);
    write(new, managed.print());
}

/// What a write changes of what can be owned.
fn changes(claim: &Claim<'_>, live: &Value, new: &Value) -> Comparison {
    let all = compare(claim.shape, live, new).without(claim.ignored);
    Comparison {
        added: all.added.difference(&UNOWNED),
        modified: all.modified.difference(&UNOWNED),
        removed: all.removed.difference(&UNOWNED),
    }
}

/// Passes what changed over to the writer.
pub(super) fn pass_over(managed: &mut Managed, claim: &Claim<'_>, changes: &Comparison) {
    let gained = changes.added.union(&changes.modified);
    let lost = gained.union(&changes.removed);
    for entry in &mut managed.0 {
        entry.fields = entry.fields.difference(&lost);
    }
    if !gained.is_empty() {
        managed.add(Entry::new(
            claim.manager,
            Operation::Update,
            claim.api_version,
            claim.subresource,
            Some(claim.now.to_owned()),
            gained,
        ));
    }
    managed.0.retain(|entry| !entry.fields.is_empty());
    managed.cap();
}
