//! A container's last words: the file that it may leave, or the end of its log.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::edged::runtime::{Container, Exit, labels};

/// The longest message that Kubernetes keeps from a file.
const MAX_FILE: u64 = 4096;
/// The longest that it keeps from a log.
const MAX_LOG: u64 = 2048;

/// What the container left behind, unless the runtime has said something itself. Blocks.
pub fn read(container: &Container, exit: &Exit, log: &Path) -> String {
    if !exit.message.is_empty() {
        return exit.message.clone();
    }
    let file = container.last_words.as_deref().map(|path| head(path).unwrap_or_default()).unwrap_or_default();
    let to_log =
        container.annotations.get(labels::TERMINATION_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    if file.is_empty() && to_log && exit.code != 0 {
        return tail(log).unwrap_or_default();
    }
    file
}

fn head(path: &Path) -> std::io::Result<String> {
    let mut bytes = vec![0; MAX_FILE as usize];
    let mut file = File::open(path)?;
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..])? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a log, without the times: CRI's lines, or Docker's, which are JSON.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // CRI puts about forty bytes before each line, Docker about eighty around it.
    let start = length.saturating_sub(MAX_LOG * 4);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![0; (length - start) as usize];
    file.read_exact(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().skip(usize::from(start > 0));
    let plain: Vec<Cow<'_, str>> = lines.map(text_of).collect();
    let joined = plain.join("\n");
    let from = joined.len().saturating_sub(MAX_LOG as usize);
    let from = (from..=joined.len()).find(|at| joined.is_char_boundary(*at)).unwrap_or(0);
    Ok(joined[from..].to_owned())
}

/// One line of Docker's json-file driver, as far as needed.
#[derive(Deserialize)]
struct DockerLine {
    log: String,
}

fn text_of(line: &str) -> Cow<'_, str> {
    if line.starts_with('{') {
        let text = serde_json::from_str::<DockerLine>(line).map(|line| line.log).unwrap_or_default();
        return Cow::Owned(text.trim_end_matches('\n').to_owned());
    }
    Cow::Borrowed(line.splitn(4, ' ').nth(3).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_text_without_times() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        let line = |n: usize| format!("2026-01-01T00:00:00.000000000Z stderr F line number {n}\n");
        std::fs::write(&path, (0..1000).map(line).collect::<String>()).expect("a log");
        let end = tail(&path).expect("its end");
        assert!(end.ends_with("line number 999"), "{end}");
        assert!(end.len() <= MAX_LOG as usize && !end.contains("2026"));
    }

    #[test]
    fn the_end_of_a_log_of_docker_is_its_text_without_json() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        let line = |n: usize| {
            format!(r#"{{"log":"line \"{n}\"\n","stream":"stderr","time":"2026-01-01T00:00:00.0Z"}}"#) + "\n"
        };
        std::fs::write(&path, (0..1000).map(line).collect::<String>()).expect("a log");
        let end = tail(&path).expect("its end");
        assert!(end.ends_with("line \"998\"\nline \"999\""), "{end}");
        assert!(end.len() <= MAX_LOG as usize && !end.contains("2026"));
    }
}
