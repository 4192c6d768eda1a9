//! How much the API takes on at once. In-process callers wait in the same line as everyone else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shares::{Share, Shares};
use crate::status::{Reason, Status};

/// Requests that are worked on at the same time; more wait.
const REQUESTS: usize = 128;
/// Requests that wait or are worked on; more are refused at once.
const LINE: usize = 2048;
/// The same for one user, who so leaves room for the others. Above the number of requests of Kubernetes' own busiest clients.
const LINE_OF_ONE: usize = 512;
/// Watches that are open at the same time; more are refused.
const WATCHES: usize = 4096;
/// The same for one user.
const WATCHES_OF_ONE: usize = 2000;
/// How long a request waits for its turn before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request may take once it has its turn.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Limits {
    requests: Arc<Semaphore>,
    line: Arc<Semaphore>,
    line_of_one: Shares<String>,
    watches: Arc<Semaphore>,
    watches_of_one: Shares<String>,
}

/// A turn or a place; given back when it is dropped.
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _own: Share<String>,
    pub(super) turn: Turn,
}

/// The turn of a request, which it can give back while it waits for somebody else. Clones share it; one by default is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    requests: Arc<Semaphore>,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

// === impl Turn ===

impl Turn {
    fn new(requests: &Arc<Semaphore>, permit: OwnedSemaphorePermit) -> Self {
        Self(Some(Arc::new(Held { requests: Arc::clone(requests), permit: Mutex::new(Some(permit)) })))
    }

    /// Waits for `other` without keeping others from their turns; goes on when it is its turn again. The request keeps its place
    /// in the line, so there are no more of them for it.
    pub(super) async fn without<T>(&self, other: impl Future<Output = T>) -> T {
        let Some(held) = &self.0 else { return other.await };
        drop(held.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
        let done = other.await;
        // Turns end only with the server, and then nobody waits for this one.
        let again = Arc::clone(&held.requests).acquire_owned().await.ok();
        *held.permit.lock().unwrap_or_else(PoisonError::into_inner) = again;
        done
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS)),
            line: Arc::new(Semaphore::new(LINE)),
            line_of_one: Shares::new(LINE_OF_ONE),
            watches: Arc::new(Semaphore::new(WATCHES)),
            watches_of_one: Shares::new(WATCHES_OF_ONE),
        }
    }
}

fn overload() -> Status {
    Status::new(
        Reason::TooManyRequests,
        "the server has received too many requests and has asked us to try again later",
    )
    .retry_after(1)
}

/// Kubernetes v1.36 staging/src/k8s.io/apiserver/pkg/server/filters/maxinflight.go answers the same way for both.
fn place(all: &Arc<Semaphore>, own: &Shares<String>, user: &str) -> Result<Place, Status> {
    let own = own.take(&user.to_owned()).ok_or_else(overload)?;
    let all = Arc::clone(all).try_acquire_owned().map_err(|_| overload())?;
    Ok(Place { _all: all, _own: own, turn: Turn::default() })
}

impl Limits {
    /// A turn to work for `user`; hold it while working.
    pub(super) async fn request(&self, user: &str) -> Result<Place, Status> {
        let place = place(&self.line, &self.line_of_one, user)?;
        let turn = Arc::clone(&self.requests).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await.ok().and_then(Result::ok);
        Ok(Place { turn: Turn::new(&self.requests, turn.ok_or_else(overload)?), ..place })
    }

    /// A place for a watch of `user`; hold it while watching.
    pub(super) fn watch(&self, user: &str) -> Result<Place, Status> {
        place(&self.watches, &self.watches_of_one, user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_too_many_watches_is_told_to_come_back_and_others_are_not() {
        let limits = Limits::default();
        let places: Vec<_> = (0..WATCHES_OF_ONE).map(|_| limits.watch("greedy").ok().unwrap()).collect();
        let refused = limits.watch("greedy").err().unwrap();
        assert_eq!(
            (
                refused.to_value()["code"].as_u64(),
                refused.to_value()["details"]["retryAfterSeconds"].as_u64()
            ),
            (Some(429), Some(1))
        );
        assert!(limits.watch("modest").is_ok());
        drop(places);
        assert!(limits.watch("greedy").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_somebody_else_gives_its_turn_to_others_and_gets_it_back() {
        let limits = Limits::default();
        let mut working = Vec::new();
        for _ in 0..REQUESTS {
            working.push(limits.request("webhook's victim").await.ok().unwrap());
        }
        assert!(limits.request("modest").await.is_err());
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let mut waiting = Box::pin(working[0].turn.without(answered));
        assert!(futures::poll!(&mut waiting).is_pending());
        let modest = limits.request("modest").await.ok().unwrap();
        answer.send(()).unwrap();
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(modest);
        waiting.await.unwrap();
        assert!(limits.request("modest").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_floods_is_refused_at_once_and_others_only_wait_for_their_turn() {
        let limits = Arc::new(Limits::default());
        let mut working = Vec::new();
        for _ in 0..REQUESTS {
            working.push(limits.request("greedy").await.ok().unwrap());
        }
        let waiting: Vec<_> = (REQUESTS..LINE_OF_ONE).map(|_| limits.request("greedy")).collect();
        let mut waiting = Box::pin(futures::future::join_all(waiting));
        assert!(futures::poll!(&mut waiting).is_pending());
        let asked = tokio::time::Instant::now();
        assert!(limits.request("greedy").await.is_err());
        assert_eq!(asked.elapsed(), Duration::ZERO);
        let mut modest = Box::pin(limits.request("modest"));
        assert!(futures::poll!(&mut modest).is_pending());
        drop(waiting);
        working.pop();
        assert!(modest.await.is_ok());
        // Nobody waits for ever either.
        working.push(limits.request("greedy").await.ok().unwrap());
        assert!(limits.request("modest").await.is_err());
        assert_eq!(asked.elapsed(), PATIENCE);
    }
}
