//! Connections that are kept between the turns of a target.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::NotTaken;

/// How long the other side may take, to open and to take something.
const WITHIN: Duration = Duration::from_secs(10);

/// A connection that takes loads.
pub(super) trait Link: Sized + Send {
    /// What it leads to; those that are written the same are the same.
    type Place: Display + Sync;
    /// What it takes at once.
    type Load: ?Sized + Sync;

    fn open(place: &Self::Place) -> impl Future<Output = Result<Self, NotTaken>> + Send;

    fn send(
        &mut self,
        place: &Self::Place,
        load: &Self::Load,
    ) -> impl Future<Output = Result<(), NotTaken>> + Send;
}

/// Open connections by their places. Who uses one has it alone, and gives it back when it has done its work.
pub(super) struct Links<L>(Mutex<HashMap<String, L>>);

// === impl Links ===

impl<L> Default for Links<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Link> Links<L> {
    /// Sends over the connection that is open or a new one. One that nobody used for a while may have been closed by the other
    /// side: that is no news of the place, and a new one is tried at once.
    pub(super) async fn send(&self, place: &L::Place, load: &L::Load) -> Result<(), NotTaken> {
        let key = place.to_string();
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        if let Some(link) = held {
            match self.send_over(link, place, &key, load).await {
                Err(NotTaken::Passing(_)) => {}
                done => return done,
            }
        }
        let link = soon(&key, L::open(place)).await?;
        self.send_over(link, place, &key, load).await
    }

    async fn send_over(
        &self,
        mut link: L,
        place: &L::Place,
        key: &str,
        load: &L::Load,
    ) -> Result<(), NotTaken> {
        let done = soon(key, link.send(place, load)).await;
        // In which state another one is nobody knows.
        if !matches!(done, Err(NotTaken::Passing(_))) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), link);
        }
        done
    }
}

async fn soon<T>(key: &str, done: impl Future<Output = Result<T, NotTaken>>) -> Result<T, NotTaken> {
    let late = || NotTaken::Passing(format!("{key}: no answer within {} s", WITHIN.as_secs()));
    timeout(WITHIN, done).await.unwrap_or_else(|_| Err(late()))
}
