//! The runtime's own events, for as long as there are any.

use std::sync::Arc;
use std::time::Duration;

use tasks::{Backoff, Restart, TaskSet};
use tokio::sync::{mpsc, watch};

use crate::edged::context::Context;
use crate::edged::runtime::RuntimeError;

/// Keeps an event stream open; the receiver says whether there is one.
pub(super) fn watch(ctx: &Arc<Context>, tasks: &TaskSet, nudges: mpsc::Sender<()>) -> watch::Receiver<bool> {
    /// A stream that lives this long is taken for one that works.
    const ALIVE_AFTER: Duration = Duration::from_millis(200);
    let (live, receiver) = watch::channel(false);
    let live = Arc::new(live);
    let ctx = Arc::clone(ctx);
    tasks.spawn("runtime-events", Restart::on_failure(), move |token| {
        let (ctx, nudges, live) = (Arc::clone(&ctx), nudges.clone(), Arc::clone(&live));
        async move {
            let mut pause = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            loop {
                let stream = ctx.runtime.watch(nudges.clone());
                tokio::pin!(stream);
                let ended = tokio::select! {
                    () = token.cancelled() => return Ok::<(), RuntimeError>(()),
                    ended = &mut stream => ended,
                    () = tokio::time::sleep(ALIVE_AFTER) => {
                        live.send_replace(true);
                        pause.reset();
                        tokio::select! {
                            () = token.cancelled() => return Ok(()),
                            ended = &mut stream => ended,
                        }
                    }
                };
                live.send_replace(false);
                let wait = match ended {
                    Err(RuntimeError::Unsupported { .. }) => {
                        tracing::info!("the container runtime has no events: it is asked every second");
                        Duration::from_secs(600)
                    }
                    _ => pause.pause(),
                };
                // What happened while nobody listened.
                nudges.try_send(()).ok();
                tokio::select! {
                    () = token.cancelled() => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    });
    receiver
}
