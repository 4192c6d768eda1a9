//! What other modules hold of the link.

use std::time::Duration;

use proto::message::Message;
use proto::session::Dialect;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that wait for the link's attention; who comes when it is full waits.
const REQUEST_QUEUE: usize = 64;

/// Whether the cloud can be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// No session; edgehub is trying.
    Down,
    /// A session stands.
    Up {
        /// What is spoken on it.
        dialect: Dialect,
    },
}

impl Connection {
    /// Whether a session stands.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }
}

/// Why a request brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no session, or it ended before the answer came. Try again when the connection is up.
    #[error("the cloud is not connected")]
    Disconnected,
    /// The session stands but the answer did not come in time. The cloud may have acted: requests are idempotent.
    #[error("the cloud did not answer in time")]
    Timeout,
    /// The cloud said no, in its own words.
    #[error("the cloud refused: {0}")]
    Rejected(String),
}

/// A request on its way to the session.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) message: Message,
    pub(crate) deadline: Duration,
    pub(crate) answer: oneshot::Sender<Result<Message, RequestError>>,
}

/// Talks to the cloud. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    connection: watch::Receiver<Connection>,
    trouble: watch::Receiver<Option<String>>,
}

/// The other end of a [`Handle`], for [`super::run`].
#[derive(Debug)]
pub struct Link {
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) connection: watch::Sender<Connection>,
    pub(crate) trouble: watch::Sender<Option<String>>,
}

/// A handle and the end that [`super::run`] serves. Apart, because metamanager asks the cloud and edgehub fills
/// metamanager: both are wired before either runs.
#[must_use]
pub fn channel() -> (Handle, Link) {
    let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
    let (state, connection) = watch::channel(Connection::Down);
    let (reason, trouble) = watch::channel(None);
    let link = Link { requests: queue, connection: state, trouble: reason };
    (Handle { requests, connection, trouble }, link)
}

impl Handle {
    /// Whether the cloud can be reached; changes are seen on the receiver.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.clone()
    }

    /// Why there is no session, in words for people; `None` while there is one.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Sends `message` and waits for its answer. An answer that is an error message becomes
    /// [`RequestError::Rejected`]; an answer that carries Kubernetes' failure status is returned as it is
    /// (read it with `proto::answer::parse`).
    pub async fn request(&self, message: Message, deadline: Duration) -> Result<Message, RequestError> {
        if !self.connection.borrow().is_up() {
            return Err(RequestError::Disconnected);
        }
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            let request = Request { message, deadline, answer };
            self.requests.send(request).await.map_err(|_| RequestError::Disconnected)?;
            answered.await.unwrap_or(Err(RequestError::Disconnected))
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(RequestError::Timeout))
    }
}
