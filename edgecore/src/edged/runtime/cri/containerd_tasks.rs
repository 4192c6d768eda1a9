//! Tasks that CRI has lost: when the agent dies while containerd starts a container for it, CRI counts the container as ended although its
//! task was made. CRI then neither stops nor removes it; containerd's own task service does both. And what containerd itself knows, where
//! CRI has forgotten a container or never knew it.

use std::collections::BTreeSet;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use super::super::{CRI_NAMESPACE, RuntimeError, Tasks};
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

/// `containerd.services.tasks.v1.ListTasksRequest`.
#[derive(Clone, PartialEq, Message)]
struct List {}

/// `containerd.services.tasks.v1.ListTasksResponse`.
#[derive(Clone, PartialEq, Message)]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    tasks: Vec<Task>,
}

/// `containerd.v1.types.Process`, as far as needed.
#[derive(Clone, PartialEq, Message)]
struct Task {
    #[prost(uint32, tag = "3")]
    pid: u32,
}

/// `containerd.services.containers.v1.GetContainerRequest`.
#[derive(Clone, PartialEq, Message)]
struct Get {
    #[prost(string, tag = "1")]
    id: String,
}

impl Cri {
    pub(super) async fn look_at_tasks(&self, containers: &BTreeSet<String>) -> Result<Tasks, RuntimeError> {
        let mut known = BTreeSet::new();
        for id in containers {
            let get = Get { id: id.clone() };
            // What is told of it is of no use.
            match self.ask::<_, ()>("/containerd.services.containers.v1.Containers/Get", get).await {
                Ok(()) => drop(known.insert(id.clone())),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let listed: Listed = self.ask("/containerd.services.tasks.v1.Tasks/List", List {}).await?;
        let processes = listed.tasks.iter().filter_map(|task| i32::try_from(task.pid).ok()).collect();
        Ok(Tasks { containers: known, processes })
    }

    /// Ends and deletes the task because of which a container could not be removed, if that is why `failure` happened. The
    /// removal is to be tried again afterwards.
    pub(super) async fn end_lost_task(&self, failure: &RuntimeError) -> bool {
        let RuntimeError::Failed { message, .. } = failure else { return false };
        let Some(container) = lost(message).map(str::to_owned) else { return false };
        tracing::warn!(container, "the runtime has lost the task of a container that is to go: it is ended");
        let kill = Kill { container: container.clone(), signal: SIGKILL, all: true };
        // It may have ended by itself, without anybody taking note.
        if let Err(error) = self.ask::<_, ()>("/containerd.services.tasks.v1.Tasks/Kill", kill).await {
            tracing::debug!("{error}");
        }
        match self.ask::<_, ()>("/containerd.services.tasks.v1.Tasks/Delete", Delete { container }).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!("{error}");
                false
            }
        }
    }

    /// Calls one of containerd's own services.
    pub(super) async fn ask<T, R>(&self, path: &'static str, request: T) -> Result<R, RuntimeError>
    where
        T: Message + Default + Clone + 'static,
        R: Message + Default + Clone + 'static,
    {
        let mut client = self.containerd().await?;
        let path_of = PathAndQuery::from_static(path);
        let codec = ProstCodec::<T, R>::default();
        self.call(path, self.limit, client.unary(to_cri(request), path_of, codec)).await
    }

    /// The same of a service that answers in parts.
    pub(super) async fn ask_all<T, R>(&self, path: &'static str, request: T) -> Result<Vec<R>, RuntimeError>
    where
        T: Message + Default + Clone + 'static,
        R: Message + Default + Clone + 'static,
    {
        let mut client = self.containerd().await?;
        let answer = async {
            let codec = ProstCodec::<T, R>::default();
            let path = PathAndQuery::from_static(path);
            let mut parts = client.server_streaming(to_cri(request), path, codec).await?.into_inner();
            let mut all = Vec::new();
            while let Some(part) = parts.message().await? {
                all.push(part);
            }
            Ok(tonic::Response::new(all))
        };
        self.call(path, self.limit, answer).await
    }

    /// A client of containerd's own services.
    pub(super) async fn containerd(&self) -> Result<Grpc<Channel>, RuntimeError> {
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let ready = client.ready().await;
        ready.map_err(|error| self.unreachable(&tonic::Status::from_error(Box::new(error))))?;
        Ok(client)
    }
}

/// To what CRI has, among containerd's namespaces.
fn to_cri<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(CRI_NAMESPACE));
    request
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
