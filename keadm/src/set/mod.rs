//! `--set path=value,…` on a configuration file, in KubeEdge's grammar.
//!
//! Owns: parsing the pairs ([`parse`]) and laying them over a document ([`Assignment::apply`]). Pure. Called by:
//! `init` and `join`, which then load the document to learn whether the paths exist and the types fit.

mod apply;
mod parse;

use serde_json::Value;

pub(crate) use parse::parse;

/// One `path=value`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    path: Vec<Segment>,
    value: Value,
    /// As the user wrote the path.
    text: String,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

/// Why a `--set` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    /// A pair without `=`.
    #[error("`{0}` has no `=`: write path=value")]
    NoValue(String),
    /// Nothing, or nonsense, before the `=`.
    #[error("`{0}` is not a path: write names joined by dots, with [N] for list entries")]
    Path(String),
    /// A quote or brace that is never closed.
    #[error("`{0}` opens a {1} that it does not close")]
    Unclosed(String, char),
    /// A map entry without a colon among entries with one.
    #[error("`{0}` mixes list entries and key:value entries")]
    Mixed(String),
    /// The path goes through something that is neither map nor list.
    #[error("{0}: {1} is a plain value, nothing can be set below it")]
    NotAContainer(String, String),
    /// Lists grow by one entry at most, so that no holes come to be.
    #[error("{0}: the list has {1} entries, so the next index is [{1}]")]
    Hole(String, usize),
}
