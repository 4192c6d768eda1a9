//! The log file. What is full is put aside under a number, the oldest is removed.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::AuditConfig;

/// Lines that are written together.
const GROUP: usize = 256;
/// No policy is larger.
const SMALL: u64 = 1 << 20;

/// The file that is written to.
pub(super) struct Log {
    config: AuditConfig,
    file: File,
    bytes: u64,
}

/// The text of a file of at most a mebibyte.
pub(super) async fn read_small(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    #[allow(clippy::disallowed_methods, reason = "the reader is capped by take")]
    File::open(path).await?.take(SMALL + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > SMALL {
        return Err(Error::new(ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

async fn open(path: &Path) -> Result<(File, u64), Error> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).await?;
    let bytes = file.metadata().await?.len();
    Ok((file, bytes))
}

impl Log {
    pub(super) async fn open(config: AuditConfig) -> Result<Self, Error> {
        if let Some(dir) = config.path.parent() {
            fs::create_dir_all(dir).await?;
        }
        let (file, bytes) = open(&config.path).await?;
        Ok(Self { config, file, bytes })
    }

    /// Writes what comes until cancelled; what was taken into the queue by then is written.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Vec<u8>>, token: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP);
        let mut failing = false;
        loop {
            let taken = tokio::select! {
                biased;
                taken = queue.recv_many(&mut group, GROUP) => taken,
                () = token.cancelled(), if !queue.is_closed() => {
                    // What was sent before still comes out; then nothing does.
                    queue.close();
                    continue;
                }
            };
            if taken == 0 {
                return;
            }
            match self.write(&group).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!(path = %self.config.path.display(), "audit events are lost: {error}");
                    }
                    failing = true;
                }
            }
            group.clear();
        }
    }

    async fn write(&mut self, lines: &[Vec<u8>]) -> Result<(), Error> {
        for line in lines {
            let length = line.len() as u64;
            if self.bytes > 0 && self.bytes + length > self.config.max_bytes {
                self.rotate().await?;
            }
            self.file.write_all(line).await?;
            self.bytes += length;
        }
        self.file.flush().await
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.config.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    async fn rotate(&mut self) -> Result<(), Error> {
        self.file.flush().await?;
        if self.config.max_files == 0 {
            fs::remove_file(&self.config.path).await?;
        } else {
            for number in (1..self.config.max_files).rev() {
                match fs::rename(self.aside(number), self.aside(number + 1)).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.config.path, self.aside(1)).await?;
        }
        (self.file, self.bytes) = open(&self.config.path).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/audit.log");
        let config = AuditConfig { path: path.clone(), policy: None, max_bytes: 20, max_files: 2 };
        let mut log = Log::open(config).await.unwrap();
        for number in 0..7 {
            log.write(&[format!("line {number}\n").into_bytes()]).await.unwrap();
        }
        let text = |end: &str| std::fs::read_to_string(format!("{}{end}", path.display())).ok();
        assert_eq!(text("").as_deref(), Some("line 6\n"));
        assert_eq!(text(".1").as_deref(), Some("line 4\nline 5\n"));
        assert_eq!(text(".2").as_deref(), Some("line 2\nline 3\n"));
        assert_eq!(text(".3"), None);
    }
}
