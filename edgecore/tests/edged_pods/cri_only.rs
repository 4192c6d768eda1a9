//! A door to containerd that lets through CRI v1 and nothing else: what a runtime like CRI-O serves. containerd behind it is
//! real; the restriction is the fake.

#![allow(clippy::expect_used, clippy::panic, reason = "a test helper fails by panicking")]

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tasks::TaskSet;
use tokio::net::{UnixListener, UnixStream};

/// What CRI v1 is made of.
const SERVED: [&str; 2] = ["/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/"];
/// CRI's own events are young, and off by default in CRI-O.
const NOT_YET: &str = "/runtime.v1.RuntimeService/GetContainerEvents";
/// gRPC's number for a call that nobody serves.
const UNIMPLEMENTED: &str = "12";

type Answer = Response<Either<Empty<Bytes>, Incoming>>;

/// The door. Closed when dropped.
pub(crate) struct Door {
    socket: PathBuf,
    refused: Arc<Mutex<Vec<String>>>,
    _tasks: TaskSet,
}

impl Door {
    /// Opens it where CRI-O has its socket, below `dir`.
    pub(crate) fn open(dir: &Path, containerd: PathBuf) -> Self {
        let socket = dir.join("crio/crio.sock");
        std::fs::create_dir_all(socket.parent().expect("a folder")).expect("a folder");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let refused: Arc<Mutex<Vec<String>>> = Arc::default();
        let tasks = TaskSet::new("door");
        let guests = tasks.child("guests");
        let seen = Arc::clone(&refused);
        tasks.spawn_once("door", move |stop| async move {
            loop {
                let guest = tokio::select! {
                    () = stop.cancelled() => break,
                    Ok((guest, _)) = listener.accept() => guest,
                };
                let (containerd, seen) = (containerd.clone(), Arc::clone(&seen));
                guests.spawn_once("guest", move |_| serve(guest, containerd, seen));
            }
            let _ = guests.shutdown(Duration::from_secs(1)).await;
        });
        Self { socket, refused, _tasks: tasks }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The calls that were turned away.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().expect("a lock").clone()
    }
}

/// One connection in, one connection to containerd; either end takes the other along.
async fn serve(guest: UnixStream, containerd: PathBuf, refused: Arc<Mutex<Vec<String>>>) {
    let Ok(behind) = UnixStream::connect(containerd).await else { return };
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(behind));
    let Ok((sender, behind)) = handshake.await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut sender, refused) = (sender.clone(), Arc::clone(&refused));
        async move {
            let path = request.uri().path().to_owned();
            if path == NOT_YET || !SERVED.iter().any(|served| path.starts_with(served)) {
                refused.lock().expect("a lock").push(path);
                return Ok::<Answer, Infallible>(failed(UNIMPLEMENTED));
            }
            Ok(match sender.send_request(request).await {
                Ok(answer) => answer.map(Either::Right),
                // gRPC's UNAVAILABLE.
                Err(_) => failed("14"),
            })
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::select! {
        _ = server.serve_connection(TokioIo::new(guest), service) => {}
        _ = behind => {}
    }
}

fn failed(status: &str) -> Answer {
    Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", status)
        .header("grpc-message", "not served here")
        .body(Either::Left(Empty::new()))
        .expect("a response")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_serves_cri_and_nothing_else_is_all_that_a_node_needs() {
    use super::engine::Kind;
    use super::node::{Node, SLEEP, container, pod, shell};
    use serde_json::json;

    let node = Node::start(Kind::CriOnly).await;
    let pod = pod("web", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&pod).await;
    let status = node.ready("web").await;
    let id = container(&status).container_id.unwrap_or_default();
    assert!(id.starts_with("cri-o://"), "{id}");
    // Without anybody's events, the end of a container is seen by looking.
    node.engine.kill_container(id.trim_start_matches("cri-o://"));
    node.until("web", "it was started again", |s| {
        let c = container(s);
        c.restart_count == 1 && c.ready
    })
    .await;
    let refused = node.engine.door().refused();
    assert!(refused.iter().any(|call| call.contains("containerd.services.events")), "{refused:?}");
    assert!(refused.iter().any(|call| call == NOT_YET), "{refused:?}");
    assert!(!refused.iter().any(|call| call.contains("containerd.services.tasks")), "{refused:?}");
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}
