//! Calls of programs on nodes that have not been answered yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::message::{Content, MessageId};
use proto::pki::NodeName;
use proto::rules::HttpResponse;
use tokio::sync::oneshot;
use tracing::warn;

type Answer = Result<HttpResponse, String>;
type Waiting = HashMap<MessageId, (NodeName, oneshot::Sender<Answer>)>;

/// Who waits for what. Cheap to clone; bounded by the REST port's requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    waiting: Arc<Mutex<Waiting>>,
}

/// A place among those who wait; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Call {
    calls: Calls,
    id: MessageId,
    answer: oneshot::Receiver<Answer>,
}

// === impl Calls ===

impl Calls {
    pub(super) fn wait(&self, node: &NodeName, id: &MessageId) -> Call {
        let (sender, answer) = oneshot::channel();
        self.lock().insert(id.clone(), (node.clone(), sender));
        Call { calls: self.clone(), id: id.clone(), answer }
    }

    /// A node answers; only the node that was asked can.
    pub(super) fn answered(&self, node: &NodeName, id: &MessageId, content: &Content) {
        let mut waiting = self.lock();
        let Some((asked, _)) = waiting.get(id) else { return };
        if asked != node {
            warn!(%node, %asked, "a node answered a call of another node's program");
            return;
        }
        if let Some((_, sender)) = waiting.remove(id) {
            let answer =
                content.parse_lenient().map_err(|error| format!("the node's answer cannot be read: {error}"));
            // The caller may have gone.
            let _ = sender.send(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    pub(super) async fn answer(&mut self) -> Answer {
        (&mut self.answer).await.unwrap_or_else(|_| Err("cloudcore is stopping".into()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.id);
    }
}
