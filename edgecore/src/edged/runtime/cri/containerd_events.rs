//! Event streams: containerd's own (every version has it) or CRI's (CRI-O, containerd 1.7 with the option on). Events are
//! only nudges to look again, so a lost one costs a relist interval and nothing else.

use k8s_cri::v1 as cri;
use prost::Message;
use tokio::sync::mpsc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::super::RuntimeError;
use super::super::shared::tell;
use super::Cri;

/// `containerd.services.events.v1.SubscribeRequest`.
#[derive(Clone, PartialEq, Message)]
struct Subscribe {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// `containerd.types.Envelope`, as far as needed.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(message, optional, tag = "4")]
    event: Option<Payload>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `containerd.events.TaskExit`, as far as needed.
#[derive(Clone, PartialEq, Message)]
struct TaskExit {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, tag = "2")]
    process: String,
}

impl Envelope {
    /// The end of an exec inside a container is none of a reconciler's business.
    fn matters(&self) -> bool {
        let exit = self.event.as_ref().and_then(|event| TaskExit::decode(event.value.as_slice()).ok());
        exit.is_none_or(|exit| exit.process.is_empty() || exit.process == exit.container)
    }
}

impl Cri {
    pub(super) async fn watch_containerd(&self, nudge: &mpsc::Sender<()>) -> Result<(), RuntimeError> {
        const CALL: &str = "Events/Subscribe";
        let fail = |status| self.error(CALL, self.limit, status);
        let mut client = self.containerd().await?;
        let request = Subscribe {
            filters: vec![r#"namespace==k8s.io,topic~="^/tasks/(exit|oom|delete|start)""#.to_owned()],
        };
        let path = PathAndQuery::from_static("/containerd.services.events.v1.Events/Subscribe");
        let codec = ProstCodec::<Subscribe, Envelope>::default();
        let opening = client.server_streaming(tonic::Request::new(request), path, codec);
        // The stream opens with its first event, so there is no deadline on it.
        let mut events = opening.await.map_err(fail)?.into_inner();
        while let Some(event) = events.message().await.map_err(fail)? {
            if event.matters() && tell(nudge) {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) async fn watch_cri(&self, nudge: &mpsc::Sender<()>) -> Result<(), RuntimeError> {
        const CALL: &str = "GetContainerEvents";
        let fail = |status| self.error(CALL, self.limit, status);
        let mut client = self.runtime.clone();
        let mut events =
            client.get_container_events(cri::GetEventsRequest {}).await.map_err(fail)?.into_inner();
        while events.message().await.map_err(fail)?.is_some() {
            if tell(nudge) {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(container: &str, process: &str) -> Envelope {
        let value = TaskExit { container: container.into(), process: process.into() }.encode_to_vec();
        Envelope { topic: "/tasks/exit".into(), event: Some(Payload { value }) }
    }

    #[test]
    fn the_end_of_a_container_matters_and_that_of_an_exec_does_not() {
        assert!(exit("c1", "c1").matters());
        assert!(!exit("c1", "exec-7").matters());
        assert!(Envelope { topic: "/tasks/oom".into(), event: None }.matters());
    }
}
