//! Owns `/containerLogs`: a container's log as a stream of text, with the kubelet's options and words (Kubernetes v1.36
//! `pkg/kubelet/server/server.go`, `getContainerLogs`).

mod line;
mod options;
mod reader;
mod source;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{StatusCode, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::Shared;
use super::pods::NodePod;
use crate::edged::context::Context;
use crate::edged::pod::{container, members, sandbox};
use crate::edged::runtime::ContainerId;
use options::{Options, OptionsError};
use reader::Reader;

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// After so many looks without news the runtime is asked whether the container still runs.
const ASK_AFTER: u32 = 10;

/// `GET /containerLogs/{namespace}/{pod}/{container}`.
pub(super) async fn get(
    State(shared): State<Shared>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let options = match Options::parse(&query, Timestamp::now()) {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    let pod = match shared.pods().find(&namespace, &name).await {
        Ok(Some(pod)) => pod,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "pod does not exist\n"),
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    if members::find(&pod.object, &container).is_none() {
        let words = format!("container {container:?} not found in pod {name:?}\n");
        return plain(StatusCode::NOT_FOUND, words);
    }
    match open(&shared, &pod, &name, &container, options).await {
        Ok(log) => ([(header::CONTENT_TYPE, "text/plain")], log.into_body()).into_response(),
        Err(why) => plain(StatusCode::BAD_REQUEST, why),
    }
}

fn refuse(error: &OptionsError) -> Response {
    let status = match error {
        OptionsError::Undecodable { .. } => StatusCode::BAD_REQUEST,
        OptionsError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, axum::Json(json!({ "message": error.to_string() }))).into_response()
}

fn plain(status: StatusCode, words: impl Into<String>) -> Response {
    (status, words.into()).into_response()
}

async fn open(
    shared: &Shared,
    pod: &NodePod,
    name: &str,
    container: &str,
    options: Options,
) -> Result<Log, String> {
    let status = pod.status.clone().unwrap_or_default();
    let id = source::container(&status, name, container, options.previous)?;
    let ctx = &shared.ctx;
    let found = ctx.runtime.inspect(&id).await.map_err(|error| error.to_string())?;
    let path = log_file(ctx, &pod.object, container, found.restarts());
    // What is read is complete when nobody wrote after it was asked for.
    let follows = options.follow && found.running();
    let reader = Reader::open(&path, options)
        .await
        .map_err(|error| format!("failed to open log file {:?}: {error}", path.display()))?;
    Ok(Log { reader, id, shared: shared.clone(), follows, quiet: 0 })
}

fn log_file(ctx: &Context, pod: &Pod, name: &str, restarts: u32) -> PathBuf {
    sandbox::log_directory(pod, &ctx.settings).join(container::log_path(name, restarts))
}

/// A log that somebody reads.
struct Log {
    reader: Reader,
    id: ContainerId,
    shared: Shared,
    /// Whether the container still writes.
    follows: bool,
    /// Looks without news.
    quiet: u32,
}

impl Log {
    fn into_body(self) -> Body {
        Body::from_stream(stream::try_unfold(self, async |mut log| {
            let chunk = log.next().await?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, log)))
        }))
    }

    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(chunk) = self.reader.more(!self.follows).await? {
                self.quiet = 0;
                return Ok(Some(chunk));
            }
            if !self.follows || self.reader.is_full() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
            self.quiet += 1;
            if self.quiet.is_multiple_of(ASK_AFTER) {
                self.follows = self.still_runs().await;
            }
        }
    }

    /// A runtime that does not answer says nothing about the container.
    async fn still_runs(&self) -> bool {
        match self.shared.ctx.runtime.inspect(&self.id).await {
            Ok(container) => container.running(),
            Err(error) => !error.is_not_found(),
        }
    }
}
