//! Turning log files over, for runtimes that write but do not count.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::edged::context::Context;
use crate::edged::pod::{container, sandbox};
use crate::edged::runtime::{Container, RuntimeError, labels};

/// Go's layout 20060102-150405, behind the name of the file.
const STAMP: &str = "%Y%m%d-%H%M%S";
const PACKED: &str = ".gz";
/// What is being packed; left behind only by a crash.
const UNFINISHED: &str = ".tmp";

pub(super) async fn run(ctx: &Context, period: Duration) {
    let mut ticks = super::every(period);
    loop {
        ticks.tick().await;
        // A runtime that is away is the manager's to tell.
        let Ok(containers) = ctx.runtime.containers(None).await else { continue };
        for container in containers.iter().filter(|container| container.running()) {
            if let Err(error) = look(ctx, container).await {
                tracing::warn!(container = %container.id, "cannot turn its log over: {error}");
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

async fn look(ctx: &Context, container: &Container) -> Result<(), LogError> {
    let label = |key: &str| container.labels.get(key).map(String::as_str).unwrap_or_default();
    let (namespace, name) = (label(labels::POD_NAMESPACE), label(labels::POD_NAME));
    let dir = sandbox::log_directory_of(namespace, name, &container.uid.0, &ctx.settings);
    let path = dir.join(container::log_path(&container.name, container.restarts()));
    let broken = |source| LogError::File { path: path.clone(), source };
    let meta = match tokio::fs::symlink_metadata(&path).await {
        Ok(meta) => meta,
        // Killed between moving it and telling the runtime, which still writes into the one that was moved.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(ctx.runtime.reopen_log(&container.id).await?);
        }
        Err(error) => return Err(broken(error)),
    };
    let limits = &ctx.settings.housekeeping;
    // What is linked from elsewhere is turned over by whoever writes there.
    if meta.is_symlink() || meta.len() < limits.log_max_size {
        return Ok(());
    }
    let (file, keep) = (path.clone(), usize::try_from(limits.log_max_files).unwrap_or(usize::MAX));
    let packed = tokio::task::spawn_blocking(move || pack(&file, keep.saturating_sub(2)));
    packed.await.map_err(io::Error::other).and_then(|result| result).map_err(broken)?;
    let aside = beside(&path, &format!(".{}", Timestamp::now().strftime(STAMP)));
    tokio::fs::rename(&path, &aside).await.map_err(broken)?;
    if let Err(error) = ctx.runtime.reopen_log(&container.id).await {
        // Else the runtime would go on writing into a file that is soon packed.
        tokio::fs::rename(&aside, &path).await.map_err(broken)?;
        return Err(error.into());
    }
    tracing::debug!(path = %path.display(), "log turned over");
    Ok(())
}

fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

/// The files into which this log was turned over, oldest first, and those that a crash left behind.
fn turned_over(path: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Default::default());
    };
    let (mut old, mut unfinished) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.file_name();
        let Some(rest) = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.')) else {
            continue;
        };
        if rest.ends_with(UNFINISHED) {
            unfinished.push(entry.path());
        } else if is_stamp(rest.strip_suffix(PACKED).unwrap_or(rest)) {
            old.push(entry.path());
        }
    }
    old.sort();
    Ok((old, unfinished))
}

fn is_stamp(text: &str) -> bool {
    jiff::civil::DateTime::strptime(STAMP, text).is_ok()
}

/// Removes what is too much and packs the rest.
fn pack(path: &Path, keep: usize) -> io::Result<()> {
    let (old, unfinished) = turned_over(path)?;
    for file in unfinished.iter().chain(&old[..old.len().saturating_sub(keep)]) {
        std::fs::remove_file(file)?;
    }
    for file in &old[old.len().saturating_sub(keep)..] {
        if file.extension().is_some_and(|extension| extension == "gz") {
            continue;
        }
        let (half, whole) = (beside(file, UNFINISHED), beside(file, PACKED));
        let mut packer = GzEncoder::new(std::fs::File::create(&half)?, Compression::default());
        io::copy(&mut std::fs::File::open(file)?, &mut packer)?;
        packer.finish()?.sync_all()?;
        std::fs::rename(&half, &whole)?;
        std::fs::remove_file(file)?;
    }
    Ok(())
}

/// Removes the log of a container that is forgotten, with all into which it was turned over.
pub(in crate::edged) fn remove(path: &Path) -> io::Result<()> {
    let (old, unfinished) = match turned_over(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    for file in old.iter().chain(&unfinished).map(PathBuf::as_path).chain([path]) {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_the_others_are_packed_and_strangers_stay() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for name in [
            "0.log",
            "0.log.20260101-000000.gz",
            "0.log.20260102-000000",
            "0.log.20260103-000000",
            "0.log.20260103-000000.tmp",
            "0.log.mine",
            "10.log",
        ] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        pack(&log, 2).unwrap();
        let packed = ["0.log.20260102-000000.gz", "0.log.20260103-000000.gz"];
        assert_eq!(names(dir.path()), ["0.log", packed[0], packed[1], "0.log.mine", "10.log"]);
        let mut text = String::new();
        let file = std::fs::File::open(dir.path().join(packed[0])).unwrap();
        let unpacked = io::Read::take(flate2::read::GzDecoder::new(file), 100);
        io::BufRead::read_line(&mut io::BufReader::new(unpacked), &mut text).unwrap();
        assert_eq!(text, "0.log.20260102-000000");
        remove(&log).unwrap();
        assert_eq!(names(dir.path()), ["0.log.mine", "10.log"]);
    }
}
