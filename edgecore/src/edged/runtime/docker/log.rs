//! The engine writes a container's log below its own directory; the kubelet's place for it is a link to there.

use std::io::ErrorKind;
use std::path::Path;

/// Makes `place` a link to `log`, instead of what was there.
pub(super) async fn link(place: &Path, log: &Path) -> std::io::Result<()> {
    if let Some(parent) = place.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    match tokio::fs::remove_file(place).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tokio::fs::symlink(log, place).await
}

/// Removes the link, if it is there.
pub(super) async fn unlink(place: &Path) {
    if let Err(error) = tokio::fs::remove_file(place).await
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {error}", place.display());
    }
}
