//! A consistent copy of the store for `keadm backup`, as one SQLite file. It holds every Secret, so only who may read all paths of
//! the API gets it.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method};
use proto::backup::REVISION_HEADER;
use tokio_stream::StreamExt;
use tokio_util::io::ReaderStream;

use super::Api;
use crate::status::{Reason, Status};

/// How much of the file is read at once.
const PIECE: usize = 64 << 10;

/// The file, removed when it is not needed any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "cannot remove a snapshot: {error}");
        }
        _ => {}
    }
}

pub(super) async fn answer(api: &Api, method: &Method) -> Result<Response, Status> {
    if method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    let busy = |_| Status::new(Reason::TooManyRequests, "another snapshot is being taken").retry_after(1);
    let place = Arc::clone(&api.snapshots).try_acquire_owned().map_err(busy)?;
    let mut name = api.store.file().as_os_str().to_owned();
    name.push(".snapshot");
    let path = PathBuf::from(name);
    remove(&path);
    let failed =
        |error: std::io::Error| Status::internal(format!("cannot write {}: {error}", path.display()));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let file = Temporary(path.clone());
    let revision = api.store.snapshot(&path).await.map_err(Status::internal)?;
    let open = tokio::fs::File::open(&path).await.map_err(failed)?;
    let length = open.metadata().await.map_err(failed)?.len();
    tracing::info!(revision, bytes = length, "a snapshot was taken");
    // The bytes stay readable until the answer is sent; nothing is left behind whatever happens meanwhile.
    drop(file);
    let pieces = ReaderStream::with_capacity(open, PIECE).map(move |piece| {
        let _one_at_a_time = &place;
        piece
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(REVISION_HEADER, HeaderValue::from(revision));
    Ok(response)
}
