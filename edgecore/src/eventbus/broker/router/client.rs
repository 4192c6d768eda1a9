//! A client as the router knows it: its session, and the connection that serves it now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Inner;
use super::wills::Kept;
use crate::eventbus::broker::journal::Journal;
use crate::eventbus::broker::session::{Clock, Delivery, Session};

#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: Session,
    pub(super) link: Option<Link>,
    pub(super) departure: u64,
    /// When an absent session ends, unless its client comes back.
    pub(super) ends: Option<Instant>,
    pub(super) will: Option<Kept>,
}

/// The connection that serves a session now.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: u64,
    pub(super) wake: Arc<Notify>,
    /// Cancelled when another connection takes the session over.
    pub(super) kick: CancellationToken,
}

impl Client {
    pub(super) fn new(id: Arc<str>) -> Self {
        Self { session: Session::new(id, 0), link: None, departure: 0, ends: None, will: None }
    }

    pub(super) fn is_served_by(&self, connection: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.connection == connection)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.link.is_none() && self.ends.is_some_and(|ends| ends <= now)
    }

    pub(super) fn push(&mut self, delivery: Delivery, inner: &Inner, journal: &mut Journal, clock: Clock) {
        let before = self.session.dropped;
        self.session.push(delivery, &inner.limits, journal, clock);
        if self.session.dropped > before {
            inner.dropped.fetch_add(1, Ordering::Relaxed);
            if before == 0 {
                warn!(client = %self.session.client(), "reads too slowly: messages for it are dropped");
            }
        }
    }
}
