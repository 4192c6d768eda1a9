//! Who is connected, and the names under which the router knows them.
//!
//! The router remembers every client id it ever saw. Tools like `mosquitto_pub` make a new one with each run, so
//! clients without a session to keep get one of a fixed set of names, used again when they leave.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

/// Connections at a time.
pub(super) const CONNECTIONS: usize = 1024;
/// Clients whose session is kept while they are away.
const KEPT: usize = 256;
/// How long an older connection of the same client may take to end.
const TAKEOVER: Duration = Duration::from_secs(5);

/// All clients of this broker. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    connected: HashMap<String, Connected>,
    kept: HashMap<String, usize>,
    free: BTreeSet<usize>,
    slots: usize,
}

#[derive(Debug)]
struct Connected {
    end: CancellationToken,
    ended: watch::Receiver<()>,
}

/// A place among the connected clients; giving it back lets the next connection of the same client in.
#[derive(Debug)]
pub(super) struct Place {
    clients: Clients,
    client: String,
    slot: Option<usize>,
    /// The name for the router.
    pub(super) name: String,
    /// Cancelled when a newer connection of this client takes over.
    pub(super) end: CancellationToken,
    _ended: watch::Sender<()>,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// All places are taken.
    Full,
}

impl Clients {
    /// Lets `client` in; an older connection of it is ended first (MQTT 3.1.1, 3.1.4-2).
    pub(super) async fn enter(&self, client: &str, keep: bool) -> Result<Place, Refused> {
        let older = self.state().connected.get(client).map(|older| (older.end.clone(), older.ended.clone()));
        if let Some((end, mut ended)) = older {
            end.cancel();
            // The sender is dropped with the place of the older connection.
            timeout(TAKEOVER, ended.changed()).await.ok();
        }
        let mut state = self.state();
        if state.connected.len() >= CONNECTIONS || state.connected.contains_key(client) {
            return Err(Refused::Full);
        }
        let (name, slot) = if keep {
            let next = state.kept.len();
            if next >= KEPT && !state.kept.contains_key(client) {
                return Err(Refused::Full);
            }
            (format!("kept-{}", state.kept.entry(client.to_owned()).or_insert(next)), None)
        } else {
            let slot = state.free.pop_first().unwrap_or_else(|| {
                state.slots += 1;
                state.slots
            });
            (format!("slot-{slot}"), Some(slot))
        };
        let (sender, ended) = watch::channel(());
        let end = CancellationToken::new();
        state.connected.insert(client.to_owned(), Connected { end: end.clone(), ended });
        Ok(Place { clients: self.clone(), client: client.to_owned(), slot, name, end, _ended: sender })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.clients.state();
        state.connected.remove(&self.client);
        state.free.extend(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_clients_that_left_are_used_again() {
        let clients = Clients::default();
        let first = clients.enter("mosq-1", false).await.unwrap();
        let name = first.name.clone();
        drop(first);
        assert_eq!(clients.enter("mosq-2", false).await.unwrap().name, name);
    }

    #[tokio::test]
    async fn a_newer_connection_of_a_client_ends_the_older_one() {
        let clients = Clients::default();
        let older = clients.enter("sensor", true).await.unwrap();
        let end = older.end.clone();
        let (newer, ()) = tokio::join!(clients.enter("sensor", true), async move {
            end.cancelled().await;
            drop(older);
        });
        assert_eq!(newer.unwrap().name, "kept-0");
    }

    #[tokio::test]
    async fn sessions_that_are_kept_are_bounded() {
        let clients = Clients::default();
        for number in 0..KEPT {
            drop(clients.enter(&format!("c{number}"), true).await.unwrap());
        }
        assert_eq!(clients.enter("one more", true).await.unwrap_err(), Refused::Full);
        assert!(clients.enter("c7", true).await.is_ok());
        assert!(clients.enter("one more", false).await.is_ok());
    }
}
