//! Which nodes are connected here, at most one session each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::message::Message;
use proto::pki::NodeName;
use proto::session::Dialect;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages that wait for a session to send them.
const TOLD: usize = 64;

/// The sessions of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    inner: Arc<Mutex<Inner>>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: HashMap<NodeName, Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    peer: SocketAddr,
    dialect: Dialect,
    dismissed: CancellationToken,
    told: mpsc::Sender<Message>,
}

/// A session's place in the registry; dropping it takes the session out, unless a newer one took its place.
#[derive(Debug)]
pub struct Seat {
    sessions: Sessions,
    node: NodeName,
    id: u64,
    /// Cancelled when the session must end.
    pub dismissed: CancellationToken,
    /// What the node is to be told beside its objects; see [`Sessions::tell`].
    pub told: mpsc::Receiver<Message>,
}

/// The limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} nodes are connected, which is the limit: raise modules.cloudHub.nodeLimit or add a cloudcore")]
pub struct Full(usize);

// === impl Sessions ===

impl Sessions {
    /// Room for so many nodes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { inner: Arc::default(), limit }
    }

    /// Whether a session of the node could begin.
    ///
    /// # Errors
    /// If there are too many others. A node that is connected already may always come back.
    pub fn check(&self, node: &NodeName) -> Result<(), Full> {
        self.lock().check(node, self.limit)
    }

    /// Begins a session. An older one of the same node is dismissed: its end must not take this one along.
    ///
    /// # Errors
    /// As [`Sessions::check`].
    pub fn enter(&self, node: &NodeName, peer: SocketAddr, dialect: Dialect) -> Result<Seat, Full> {
        let mut inner = self.lock();
        inner.check(node, self.limit)?;
        let id = inner.next;
        inner.next += 1;
        let dismissed = CancellationToken::new();
        let (sender, told) = mpsc::channel(TOLD);
        let entry = Entry { id, peer, dialect, dismissed: dismissed.clone(), told: sender };
        if let Some(older) = inner.open.insert(node.clone(), entry) {
            older.dismissed.cancel();
        }
        drop(inner);
        Ok(Seat { sessions: self.clone(), node: node.clone(), id, dismissed, told })
    }

    /// From where the node is connected now, and how it talks.
    #[must_use]
    pub fn connected(&self, node: &NodeName) -> Option<(SocketAddr, Dialect)> {
        self.lock().open.get(node).map(|entry| (entry.peer, entry.dialect))
    }

    /// Which session the node has now; no two sessions of this process have the same number.
    #[must_use]
    pub fn id(&self, node: &NodeName) -> Option<u64> {
        self.lock().open.get(node).map(|entry| entry.id)
    }

    /// All sessions: whose, which, and how they talk.
    #[must_use]
    pub fn all(&self) -> Vec<(NodeName, u64, Dialect)> {
        self.lock().open.iter().map(|(node, entry)| (node.clone(), entry.id, entry.dialect)).collect()
    }

    /// Sends the node a message on the session that it has now, whose number is returned; `None` without a session, or when
    /// too much waits already. The message may be lost with the session: whoever tells must tell again on the next.
    #[must_use]
    pub fn tell(&self, node: &NodeName, message: Message) -> Option<u64> {
        let inner = self.lock();
        let entry = inner.open.get(node)?;
        entry.told.try_send(message).ok().map(|()| entry.id)
    }

    /// Ends the node's session, if it has one.
    pub fn dismiss(&self, node: &NodeName) {
        if let Some(entry) = self.lock().open.get(node) {
            entry.dismissed.cancel();
        }
    }

    /// How many nodes are connected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether no node is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A panic cannot leave the map half-changed.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check(&self, node: &NodeName, limit: usize) -> Result<(), Full> {
        if self.open.len() >= limit && !self.open.contains_key(node) { Err(Full(limit)) } else { Ok(()) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.sessions.lock();
        if inner.open.get(&self.node).is_some_and(|entry| entry.id == self.id) {
            inner.open.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().expect("a name")
    }

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    #[test]
    fn the_end_of_a_replaced_session_leaves_its_successor_alone() {
        let sessions = Sessions::new(10);
        let first = sessions.enter(&node("a"), PEER, Dialect::KubeEdge).expect("room");
        let second = sessions.enter(&node("a"), PEER, Dialect::SkerryV1).expect("room");
        assert!(first.dismissed.is_cancelled() && !second.dismissed.is_cancelled());
        drop(first);
        assert_eq!(sessions.connected(&node("a")), Some((PEER, Dialect::SkerryV1)));
        drop(second);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_full_hub_refuses_newcomers_but_not_those_who_come_back() {
        let sessions = Sessions::new(1);
        let _seat = sessions.enter(&node("a"), PEER, Dialect::KubeEdge).expect("room");
        assert!(sessions.enter(&node("b"), PEER, Dialect::KubeEdge).is_err());
        assert!(sessions.enter(&node("a"), PEER, Dialect::KubeEdge).is_ok());
    }
}
