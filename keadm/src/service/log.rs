use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A log file that never takes more than `limit` bytes times the number of files kept.
#[derive(Debug)]
pub(crate) struct RotatingLog {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
    keep: u32,
}

impl RotatingLog {
    pub(crate) fn open(path: &Path, limit: u64, keep: u32) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length, limit, keep })
    }

    /// Appends `bytes`, after moving the file aside if it would grow too big. A full disk loses log lines, not
    /// the program that wrote them.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let size = bytes.len() as u64;
        if self.length > 0 && self.length + size > self.limit && self.rotate().is_err() {
            return;
        }
        if self.file.write_all(bytes).is_ok() {
            self.length += size;
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            let (from, to) = (numbered(&self.path, number), numbered(&self.path, number + 1));
            match std::fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(&self.path, 1))?;
        self.file = File::options().create(true).append(true).open(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The last `lines` lines of a file, from at most its last 64 KiB.
pub(crate) fn tail(path: &Path, lines: usize) -> Vec<String> {
    const WINDOW: u64 = 64 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
        let mut bytes = vec![0; usize::try_from(length.min(WINDOW)).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read(&mut bytes[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|&line| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_within_its_bound_and_keeps_the_newest_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = RotatingLog::open(&path, 100, 2).unwrap();
        for number in 0..100 {
            log.write(format!("line number {number}\n").as_bytes());
        }
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        let total: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
        assert_eq!(files.len(), 3, "the log and two older ones");
        assert!(total <= 300, "{total} bytes");
        assert_eq!(tail(&path, 1), ["line number 99"]);
    }

    #[test]
    fn the_tail_of_a_missing_log_is_empty() {
        assert!(tail(Path::new("/nowhere/x.log"), 3).is_empty());
    }
}
