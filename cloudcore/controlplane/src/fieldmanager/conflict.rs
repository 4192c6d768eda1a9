//! What an applier is told who wants what others own.

use super::element::Element;
use super::managed::{Entry, Operation, Owner};
use super::set::{Set, path_text};
use crate::status::{Reason, Status};

/// More causes than this are counted, but not listed.
const MOST: usize = 256;

/// Fields of one other owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub(super) owner: Owner,
    pub(super) api_version: String,
    pub(super) fields: Set,
}

impl Conflict {
    pub(super) fn new(entry: &Entry, fields: Set) -> Self {
        Self { owner: entry.owner.clone(), api_version: entry.api_version.clone(), fields }
    }

    fn manager(&self) -> String {
        let mut text = format!("{:?}", self.owner.manager);
        if !self.owner.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.owner.subresource);
        }
        if self.owner.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// 409, in the words of `managedfields/internal/conflict.go`.
pub(super) fn status(conflicts: &[Conflict]) -> Status {
    let mut sorted: Vec<&Conflict> = conflicts.iter().collect();
    sorted.sort_by(|a, b| a.owner.cmp(&b.owner));
    let paths: Vec<(String, Vec<Vec<&Element>>)> =
        sorted.iter().map(|conflict| (conflict.manager(), conflict.fields.paths())).collect();
    let count: usize = paths.iter().map(|(_, paths)| paths.len()).sum();
    let message = match paths.as_slice() {
        [(manager, only)] if only.len() == 1 => {
            let path: String = only.iter().map(|path| path_text(path)).collect();
            format!("Apply failed with 1 conflict: conflict with {manager}: {path}")
        }
        all => {
            let mut lines = Vec::new();
            for (manager, paths) in all {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(paths.iter().take(MOST).map(|path| format!("- {}", path_text(path))));
            }
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let causes =
        paths.iter().flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path_text(path))));
    causes.take(MOST).fold(Status::new(Reason::Conflict, message), |status, (manager, path)| {
        status.with_cause("FieldManagerConflict", &format!("conflict with {manager}"), &path)
    })
}
