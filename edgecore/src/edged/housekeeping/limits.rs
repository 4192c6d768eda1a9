//! Keeps the group of all pods at what is left for them (kubelet `enforceNodeAllocatable: [pods]`), and the weights of their
//! classes at what they ask for.

use std::sync::Arc;
use std::time::Duration;

use crate::edged::cgroups::{self, limits};
use crate::edged::context::Context;
use crate::edged::events::Severity;
use crate::edged::node::Machine;
use crate::edged::pod::status::QosClass;

/// How long until it is tried again, and until it is seen whether the limits still stand: systemd may write its own.
const AGAIN: Duration = Duration::from_secs(60);

pub(super) async fn run(ctx: &Arc<Context>) {
    let mut stands = false;
    loop {
        let of = Arc::clone(ctx);
        let held = tokio::task::spawn_blocking(move || {
            let capacity = Machine::look(&of.settings.root).amounts();
            let limit = match of.settings.enforce_reserve {
                true => of.settings.reserve.limit(capacity),
                false => capacity,
            };
            let written = limits::hold_pods(limit, &of.settings)?;
            limits::weigh_classes(of.admission.cpu_milli(QosClass::Burstable), &of.settings)?;
            Ok(written)
        });
        match held.await.map_err(std::io::Error::other).and_then(|result| result) {
            Ok(written) => {
                if written && !stands {
                    let words = "Updated Node Allocatable limit across pods";
                    ctx.events.node(Severity::Normal, "NodeAllocatableEnforced", words).await;
                }
                stands = true;
            }
            Err(error) => {
                let group = cgroups::name(&["kubepods"], &ctx.settings);
                let words = format!("Failed to update Node Allocatable Limits {group:?}: {error}");
                ctx.events.node(Severity::Warning, "FailedNodeAllocatableEnforcement", &words).await;
                stands = false;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
