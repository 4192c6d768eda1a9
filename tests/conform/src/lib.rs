//! Other people's rules: KubeEdge conversations, kubectl rows, MQTT clauses.
//!
//! Owns: the reader of the recorded conversations in `data/`. What is done with them stands in `tests/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// One line of a recording.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    /// Seconds since the recording began.
    pub t: f64,
    /// Which connection.
    pub conn: u32,
    /// Who speaks.
    pub dir: Direction,
    /// The lines of a websocket upgrade.
    #[serde(default)]
    pub http: Vec<String>,
    /// `text`, or `eof`.
    #[serde(default)]
    pub op: Option<String>,
    /// Payload size of each websocket frame.
    #[serde(default)]
    pub frames: Vec<usize>,
    /// Size of the message.
    #[serde(default)]
    pub bytes: usize,
    /// The message.
    #[serde(default)]
    pub msg: Option<Value>,
}

/// Who speaks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Direction {
    /// The edge to the cloud.
    #[serde(rename = "E>C")]
    Up,
    /// The cloud to the edge.
    #[serde(rename = "C>E")]
    Down,
}

/// Where the recordings are.
pub fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/kubeedge-1.23.1")
}

/// All lines of a recording whose file name starts with `prefix`.
pub fn recording(prefix: &str) -> Result<Vec<Line>> {
    let file = std::fs::read_dir(recordings())?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
        .with_context(|| format!("no recording {prefix}*"))?;
    let text = std::fs::read_to_string(&file)?;
    let parse =
        |(at, line)| serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), at + 1));
    text.lines().enumerate().map(parse).collect()
}

/// The recordings of cloud and edge, in order.
pub const CONVERSATIONS: [&str; 15] =
    ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15"];

/// All lines of all conversations, in order.
pub fn conversations() -> Result<Vec<Line>> {
    Ok(CONVERSATIONS.iter().map(|prefix| recording(prefix)).collect::<Result<Vec<_>>>()?.concat())
}
