use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use proto::backup::{REVISION_HEADER, SNAPSHOT_PATH};
use tokio::io::AsyncWriteExt;

use crate::{
    cluster,
    problem::{Problem, file_problem},
};

/// The objects of a moment, in a file that goes with this.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) path: PathBuf,
    pub(super) revision: u64,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), "cannot remove the snapshot: {error}");
        }
    }
}

/// Asks the cloudcore that this kubeconfig leads to for a snapshot, and keeps it at `path`.
pub(super) async fn take(kubeconfig: &Path, path: &Path) -> Result<Snapshot, Problem> {
    let client = cluster::connect(kubeconfig).await?;
    let refused = |cause: String| {
        Problem::new("cloudcore gives no snapshot").cause(cause).next(
            "check that cloudcore of this release runs; the folder of one that is stopped can be copied as it is",
        )
    };
    let request = http::Request::get(SNAPSHOT_PATH).body(Vec::new().into());
    let request = request.map_err(|error| refused(error.to_string()))?;
    let response =
        client.send(request).await.map_err(|error| cluster::api_problem("reach cloudcore's API", &error))?;
    if !response.status().is_success() {
        return Err(refused(format!("its API answers {}", response.status())));
    }
    let revision =
        response.headers().get(REVISION_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let revision = revision.ok_or_else(|| refused("its API sends something else".to_owned()))?;

    let wrong = |error: std::io::Error| file_problem("write", path, &error);
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).await.map_err(wrong)?;
    let snapshot = Snapshot { path: path.to_owned(), revision };
    let mut body = response.into_body();
    while let Some(piece) = body.frame().await {
        let piece = piece.map_err(|error| refused(format!("the answer was cut off: {error}")))?;
        if let Ok(bytes) = piece.into_data() {
            file.write_all(&bytes).await.map_err(wrong)?;
        }
    }
    file.flush().await.map_err(wrong)?;
    Ok(snapshot)
}
