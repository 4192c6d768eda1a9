//! What every runtime's client does alike.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::RuntimeError;

/// Output kept of a command run inside a container, in bytes.
pub(super) const EXEC_OUTPUT: usize = 4096;
/// An image may take this long to arrive over a thin link before the pull is given up and retried.
pub(super) const PULL: Duration = Duration::from_secs(30 * 60);

/// What is already gone need not be removed.
pub(super) fn gone<T>(result: Result<T, RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Leaves one nudge; a full channel already holds one. True when nobody listens any more.
pub(super) fn tell(nudge: &mpsc::Sender<()>) -> bool {
    matches!(nudge.try_send(()), Err(mpsc::error::TrySendError::Closed(())))
}

/// The path in `unix:///path/to.sock`; a bare path is taken too.
///
/// # Errors
/// When it is not an absolute path.
pub(super) fn socket(endpoint: &str) -> Result<PathBuf, RuntimeError> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(RuntimeError::Endpoint {
        endpoint: endpoint.to_owned(),
        reason:
            "must be unix:// followed by an absolute path, such as unix:///run/containerd/containerd.sock"
                .to_owned(),
    })
}
