//! Reads a container's log file: the part that is wanted, and on while the container writes, over the file's turns.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

use super::line;
use super::options::Options;

/// A line in a file is not longer: runtimes cut at 16 KiB, and JSON may need six bytes for one.
const LONGEST_LINE: u64 = 256 << 10;
/// So much is handed on at once.
const CHUNK: usize = 32 << 10;
const BLOCK: u64 = 64 << 10;

/// A log file, read up to somewhere.
pub(super) struct Reader {
    path: PathBuf,
    inode: u64,
    file: BufReader<File>,
    options: Options,
    /// What may still be given.
    left: u64,
    /// What is read of a line whose end is not written yet.
    pending: Vec<u8>,
    /// Whether what comes next begins a line.
    fresh: bool,
}

impl Reader {
    /// Opens the file where the wanted part begins.
    pub(super) async fn open(path: &Path, options: Options) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        if let Some(lines) = options.tail {
            let start = tail(&mut file, lines).await?;
            file.seek(SeekFrom::Start(start)).await?;
        }
        let left = options.limit.unwrap_or(u64::MAX);
        let inode = file.metadata().await?.ino();
        let file = BufReader::with_capacity(CHUNK, file);
        Ok(Self { path: path.to_owned(), inode, file, options, left, pending: Vec::new(), fresh: true })
    }

    /// Some more of the log, not empty; `None` at the end of what is written. `last` says that nothing more will be: a line without
    /// an end is one then.
    pub(super) async fn more(&mut self, last: bool) -> io::Result<Option<Vec<u8>>> {
        let mut chunk = Vec::new();
        while self.left > 0 && chunk.len() < CHUNK {
            if self.line().await? || (last && !self.pending.is_empty()) {
                let line = std::mem::take(&mut self.pending);
                self.take(&line, &mut chunk);
            } else if !self.turn().await? {
                break;
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// Whether all that may be given was given.
    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Reads on in the line that is pending; whether its end was reached.
    async fn line(&mut self) -> io::Result<bool> {
        let room = LONGEST_LINE.saturating_sub(self.pending.len() as u64).max(1);
        (&mut self.file).take(room).read_until(b'\n', &mut self.pending).await?;
        // What is too long is given up in pieces that are no lines, and so are left out.
        Ok(self.pending.ends_with(b"\n") || self.pending.len() as u64 >= LONGEST_LINE)
    }

    /// Goes over to the file that took this one's place, if there is one.
    async fn turn(&mut self) -> io::Result<bool> {
        let place = match tokio::fs::metadata(&self.path).await {
            Ok(place) => place,
            // Between the two, or gone for good.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if place.ino() == self.inode {
            return Ok(false);
        }
        let file = File::open(&self.path).await?;
        self.inode = file.metadata().await?.ino();
        self.file = BufReader::with_capacity(CHUNK, file);
        self.pending.clear();
        Ok(true)
    }

    fn take(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        let Some(line) = line::parse(bytes) else {
            tracing::debug!(path = %self.path.display(), "a line of a log cannot be read and is left out");
            return;
        };
        let begins = std::mem::replace(&mut self.fresh, line.is_whole());
        if self.options.since.is_some_and(|since| line.time < since)
            || self.options.stream.is_some_and(|stream| stream != line.stream)
        {
            return;
        }
        let before = into.len();
        if self.options.timestamps && begins {
            into.extend_from_slice(format!("{:.9} ", line.time).as_bytes());
        }
        into.extend_from_slice(&line.text);
        let given = (into.len() - before) as u64;
        into.truncate(into.len() - usize::try_from(given.saturating_sub(self.left)).unwrap_or(0));
        self.left = self.left.saturating_sub(given);
    }
}

/// Where the last `lines` lines of the file begin.
async fn tail(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.metadata().await?.len();
    let (mut from, mut seen) = (end, 0);
    let mut block = Vec::new();
    while from > 0 {
        let start = from.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start)).await?;
        block.resize(usize::try_from(from - start).unwrap_or(0), 0);
        file.read_exact(&mut block).await?;
        for (at, byte) in block.iter().enumerate().rev() {
            let position = start + at as u64;
            // The end of the file's last line begins no other.
            if *byte == b'\n' && position + 1 < end {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        if lines == 0 {
            return Ok(end);
        }
        from = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edged::server::logs::line::Stream;

    fn written(lines: std::ops::Range<u32>) -> String {
        lines
            .map(|n| {
                format!("2026-01-01T00:00:{n:02}.5Z {} F line {n}\n", ["stdout", "stderr"][n as usize % 2])
            })
            .collect()
    }

    async fn read(text: &str, options: Options) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, text).unwrap();
        let mut reader = Reader::open(&path, options).await.unwrap();
        drain(&mut reader, true).await
    }

    async fn drain(reader: &mut Reader, last: bool) -> String {
        let mut all = Vec::new();
        while let Some(chunk) = reader.more(last).await.unwrap() {
            all.extend(chunk);
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn the_wanted_part_is_given() {
        let text = written(0..30);
        let tail = |lines| Options { tail: Some(lines), ..Options::default() };
        assert_eq!(read(&text, tail(2)).await, "line 28\nline 29\n");
        assert_eq!(read(&text, tail(0)).await, "");
        assert_eq!(read(&text, tail(100)).await.lines().count(), 30);
        let since = Options { since: Some("2026-01-01T00:00:28Z".parse().unwrap()), ..Options::default() };
        assert_eq!(read(&text, since).await, "line 28\nline 29\n");
        let limit = Options { limit: Some(9), ..Options::default() };
        assert_eq!(read(&text, limit).await, "line 0\nli");
        let stream = Options { stream: Some(Stream::Stderr), ..Options::default() };
        assert_eq!(read(&text, stream).await.lines().count(), 15);
        let times = Options { timestamps: true, tail: Some(1), ..Options::default() };
        assert_eq!(read(&text, times).await, "2026-01-01T00:00:29.500000000Z line 29\n");
    }

    #[tokio::test]
    async fn a_tail_that_is_longer_than_a_block_begins_at_a_line() {
        let text: String = (0..20_000).map(|n| format!("2026-01-01T00:00:00Z stdout F {n}\n")).collect();
        let got = read(&text, Options { tail: Some(15_000), ..Options::default() }).await;
        assert_eq!((got.lines().next(), got.lines().count()), (Some("5000"), 15_000));
    }

    #[tokio::test]
    async fn parts_of_a_line_are_one_line_with_one_time() {
        let text = "2026-01-01T00:00:00Z stdout P a\n2026-01-01T00:00:01Z stdout F b\nrubbish\n2026-01-01T00:00:02Z stdout F c";
        let times = Options { timestamps: true, ..Options::default() };
        let expected = "2026-01-01T00:00:00.000000000Z ab\n2026-01-01T00:00:02.000000000Z c";
        assert_eq!(read(text, times).await, expected);
    }

    #[tokio::test]
    async fn what_is_written_later_is_read_over_a_turn_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2026-01-01T00:00:00Z stdout F a\n2026-01-01T00:00:00Z std").unwrap();
        let mut reader = Reader::open(&path, Options::default()).await.unwrap();
        assert_eq!(drain(&mut reader, false).await, "a\n");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, b"out F b\n2026-01-01T00:00:00Z stdout F c\n").unwrap();
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        assert_eq!(drain(&mut reader, false).await, "b\nc\n");
        std::fs::write(&path, "2026-01-01T00:00:00Z stdout F d\n").unwrap();
        assert_eq!(drain(&mut reader, false).await, "d\n");
        assert_eq!(drain(&mut reader, true).await, "");
    }

    #[tokio::test]
    async fn a_line_without_end_is_left_out_and_does_not_fill_the_memory() {
        let text = format!("{}\n2026-01-01T00:00:00Z stdout F a\n", "x".repeat(3 << 20));
        assert_eq!(read(&text, Options::default()).await, "a\n");
    }
}
