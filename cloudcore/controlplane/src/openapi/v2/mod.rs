//! `/openapi/v2`: all kinds in one document. kubectl before 1.27 explains, validates and merges with it, and asks for it as protobuf.
//!
//! The document is written kind by kind, so that only the result and one kind's schemas are in memory.

mod convert;
mod encode;
mod structural;
mod wire;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{paths, schemas};
use crate::registry::Snapshot;

/// How the document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`
    Json,
    /// gnostic's `openapi.v2.Document`.
    Protobuf,
}

/// The whole document.
pub fn document(snapshot: &Snapshot, form: Form) -> Vec<u8> {
    let mut writer = Writer::new(form);
    for resource in &snapshot.resources {
        let mut paths = Map::new();
        paths::add(resource, &mut paths);
        for (path, item) in paths {
            writer.path(&path, convert::path_item(item));
        }
    }
    writer.begin_definitions();
    let kinds = schemas::kinds(snapshot);
    let mut seen = BTreeSet::new();
    for resource in &snapshot.resources {
        let mut generator = schemas::generator();
        schemas::add_built_in(resource, &mut generator);
        for (name, schema) in schemas::finish(generator, Some(resource.types()), &kinds) {
            if seen.insert(name.clone()) {
                writer.definition(&name, convert::definition(&name, schema));
            }
        }
        if let Some(kind) = resource.custom() {
            let schema = schemas::custom(resource, structural::flatten(kind.source()));
            writer.definition(&schemas::custom_name(resource), convert::definition("", schema));
        }
    }
    writer.finish()
}

/// Writes the parts of a document one after the other.
struct Writer {
    form: Form,
    out: Vec<u8>,
    first: bool,
}

impl Writer {
    fn new(form: Form) -> Self {
        let out = match form {
            Form::Json => {
                br#"{"swagger":"2.0","info":{"title":"Kubernetes","version":"v1.36.0"},"paths":{"#.to_vec()
            }
            Form::Protobuf => encode::head("Kubernetes", "v1.36.0"),
        };
        Self { form, out, first: true }
    }

    fn path(&mut self, path: &str, item: Value) {
        match self.form {
            Form::Json => self.member(path, &item),
            Form::Protobuf => encode::path(path, &item, &mut self.out),
        }
    }

    fn begin_definitions(&mut self) {
        if self.form == Form::Json {
            self.out.extend_from_slice(b"},\"definitions\":{");
            self.first = true;
        }
    }

    fn definition(&mut self, name: &str, schema: Value) {
        match self.form {
            Form::Json => self.member(name, &schema),
            Form::Protobuf => encode::definition(name, &schema, &mut self.out),
        }
    }

    fn member(&mut self, name: &str, value: &Value) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(format!("{}:{value}", Value::from(name)).as_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        if self.form == Form::Json {
            self.out.extend_from_slice(b"}}\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests;
