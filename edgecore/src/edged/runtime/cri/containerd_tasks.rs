//! Tasks that CRI has lost: when the agent dies while containerd starts a container for it, CRI counts the container as ended although its
//! task was made. CRI then neither stops nor removes it; containerd's own task service does both.

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic_prost::ProstCodec;

use super::super::RuntimeError;
use super::{Cri, MAX_ANSWER};

/// How CRI says that it cannot remove a container whose task it has lost (containerd 1.6 and 1.7, `client/container.go`).
const LOST: &str = "cannot delete running task ";
const SIGKILL: u32 = 9;

/// `containerd.services.tasks.v1.KillRequest`.
#[derive(Clone, PartialEq, Message)]
struct Kill {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(uint32, tag = "3")]
    signal: u32,
    #[prost(bool, tag = "4")]
    all: bool,
}

/// `containerd.services.tasks.v1.DeleteTaskRequest`.
#[derive(Clone, PartialEq, Message)]
struct Delete {
    #[prost(string, tag = "1")]
    container: String,
}

impl Cri {
    /// Ends and deletes the task because of which a container could not be removed, if that is why `failure` happened. The
    /// removal is to be tried again afterwards.
    pub(super) async fn end_lost_task(&self, failure: &RuntimeError) -> bool {
        let RuntimeError::Failed { message, .. } = failure else { return false };
        let Some(container) = lost(message).map(str::to_owned) else { return false };
        tracing::warn!(container, "the runtime has lost the task of a container that is to go: it is ended");
        let kill = Kill { container: container.clone(), signal: SIGKILL, all: true };
        // It may have ended by itself, without anybody taking note.
        if let Err(error) = self.tasks("/containerd.services.tasks.v1.Tasks/Kill", kill).await {
            tracing::debug!("{error}");
        }
        match self.tasks("/containerd.services.tasks.v1.Tasks/Delete", Delete { container }).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!("{error}");
                false
            }
        }
    }

    async fn tasks<T: Message + Default + Clone + 'static>(
        &self,
        path: &'static str,
        request: T,
    ) -> Result<(), RuntimeError> {
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let ready = client.ready().await;
        ready.map_err(|error| self.unreachable(&tonic::Status::from_error(Box::new(error))))?;
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static("k8s.io"));
        // Nothing in the answers is of use.
        let codec = ProstCodec::<T, ()>::default();
        self.call(path, self.limit, client.unary(request, PathAndQuery::from_static(path), codec)).await
    }
}

/// The container in `…cannot delete running task ID: failed precondition`.
fn lost(message: &str) -> Option<&str> {
    let rest = message.split_once(LOST)?.1;
    let id = rest.split(':').next()?.trim();
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lost_task_is_named_by_the_runtimes_refusal() {
        let message = "failed to remove container \"23a4\": failed to delete containerd container \"23a4\": cannot delete \
                       running task 23a4: failed precondition";
        assert_eq!(lost(message), Some("23a4"));
        assert_eq!(lost("container is in starting state, can't be removed"), None);
    }
}
