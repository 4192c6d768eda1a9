use clap::ValueEnum;
use serde::Serialize;

use crate::problem::{Exit, Failure, Problem};

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document, for scripts.
    Json,
}

/// Prints `value` as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Problem::new("the result cannot be written as JSON")
            .cause(error)
            .next("run the command without -o json, and report this")
            .fail("no output", Exit::Failed)
    })?;
    println!("{text}");
    Ok(())
}

/// `value` as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| {
        Problem::new("the result cannot be written as YAML")
            .cause(error)
            .next("report this")
            .fail("no output", Exit::Failed)
    })
}
