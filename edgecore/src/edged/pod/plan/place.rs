//! The sandbox in which a pod's containers run, and what is left of those before.

use std::collections::BTreeMap;

use super::super::policy;
use super::end::stop;
use super::start::may_start;
use super::{Action, Plan, View};
use crate::edged::runtime::{Sandbox, SandboxId};

/// Ends what runs in the sandbox that is no good any more, and makes another.
pub(super) fn replace_sandbox(view: View<'_>, plan: &mut Plan) {
    let seen = view.seen;
    let grace = policy::grace(view.pod);
    for container in seen.containers.iter().filter(|container| container.running()) {
        plan.actions.push(stop(
            container,
            grace,
            "Pod sandbox changed, it will be killed and re-created: stopping",
        ));
    }
    if !plan.actions.is_empty() || !may_start(view, view.memory.sandbox.as_ref(), plan) {
        return;
    }
    // Also those that already ended: their network must be given back before the successor asks for one.
    plan.actions.extend(seen.sandboxes.iter().map(|sandbox| Action::StopSandbox(sandbox.id.clone())));
    let attempt = seen.sandboxes.first().map_or(0, |newest| newest.attempt.saturating_add(1));
    plan.actions.push(Action::CreateSandbox { attempt });
}

/// Forgets what is no longer needed for a status or for `logs --previous`.
pub(super) fn sweep(view: View<'_>, current: &Sandbox, plan: &mut Plan) {
    let mut kept: BTreeMap<&str, u32> = BTreeMap::new();
    let mut referred: Vec<&SandboxId> = vec![&current.id];
    for container in &view.seen.containers {
        let count = kept.entry(container.name.as_str()).or_default();
        *count += 1;
        if *count > 2 && !container.running() {
            plan.actions.push(Action::RemoveContainer(container.id.clone()));
        } else {
            referred.push(&container.sandbox);
        }
    }
    for sandbox in view.seen.sandboxes.iter().filter(|sandbox| !referred.contains(&&sandbox.id)) {
        if sandbox.ready {
            plan.actions.push(Action::StopSandbox(sandbox.id.clone()));
        }
        plan.actions.push(Action::RemoveSandbox(sandbox.id.clone()));
    }
}
