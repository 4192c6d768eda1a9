//! The table of field numbers.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Generated from the published `.proto` files; text, because it is seldom read.
const NUMBERS: &str = include_str!("numbers.txt");

/// What a field number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A field of the JSON object.
    Field(&'static str),
    /// A message whose fields are the JSON object's own.
    Inlined(&'static str),
}

/// What `number` is in the message `key`, as in `core.v1.PodSpec`.
pub(super) fn target(key: &str, number: u32) -> Option<Target> {
    static TABLE: OnceLock<HashMap<&'static str, &'static str>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let lines = NUMBERS.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_once('=')).collect()
    });
    let entries = table.get(key)?.split(',').filter_map(|entry| entry.split_once(':'));
    let (_, name) = entries.into_iter().find(|(at, _)| at.parse() == Ok(number))?;
    Some(name.strip_prefix('^').map_or(Target::Field(name), Target::Inlined))
}

/// The key of a definition: `io.k8s.api.core.v1.PodSpec` is `core.v1.PodSpec`.
pub(super) fn key(definition: &str) -> &str {
    let mut dots = definition.rmatch_indices('.').map(|(at, _)| at);
    dots.nth(2).and_then(|at| definition.get(at + 1..)).unwrap_or(definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_message() {
        assert_eq!(key("io.k8s.api.core.v1.PodSpec"), "core.v1.PodSpec");
        assert_eq!(target("core.v1.PodSpec", 2), Some(Target::Field("containers")));
        assert_eq!(target("core.v1.Volume", 2), Some(Target::Inlined("core.v1.VolumeSource")));
        assert_eq!(target("core.v1.PodSpec", 9999), None);
    }
}
