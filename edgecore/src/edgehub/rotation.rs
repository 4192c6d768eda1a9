//! Renews this node's certificate before it expires. The running session goes on; the next one uses the new certificate.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tasks::Backoff;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Settings;
use super::bootstrap::{self, Credentials};

/// A sleeping or corrected clock is noticed after this.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Runs until cancelled.
pub(super) async fn run(
    settings: Arc<Settings>,
    credentials: Arc<watch::Sender<Option<Credentials>>>,
    token: CancellationToken,
) -> Result<(), Infallible> {
    let mut current = credentials.subscribe();
    // One spread for this process: a fleet that joined together does not renew together.
    let spread = fastrand::f64();
    let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(300));
    loop {
        let held = current.borrow_and_update().clone();
        let pause = match &held {
            // The link gets the first one.
            None => LOOK_AGAIN,
            Some(held) => match due(held, spread) {
                Some(pause) => pause.min(LOOK_AGAIN),
                None => match bootstrap::renew(&settings, held).await {
                    Ok(fresh) => {
                        info!(node = %settings.node, "the node's certificate was renewed");
                        credentials.send_replace(Some(fresh));
                        current.mark_unchanged();
                        backoff.reset();
                        // Never at once: a certificate that is born due must not make this a busy loop.
                        backoff.pause()
                    }
                    Err(reason) => {
                        warn!("the node's certificate cannot be renewed now: {reason}");
                        backoff.pause()
                    }
                },
            },
        };
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            Ok(()) = current.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// How long until the certificate should be renewed; `None` if it is time.
fn due(held: &Credentials, spread: f64) -> Option<Duration> {
    let at = held.identity.validity().ok()?.renewal(spread);
    Duration::try_from(at.duration_since(Timestamp::now())).ok().filter(|pause| !pause.is_zero())
}
