//! Kubernetes' protobuf bodies, which Go clients and kubectl's generators (`kubectl create deployment`) send.
//!
//! One transcoder to JSON for all kinds: the JSON types say what a field is, `numbers.txt` says which number it has. Answers are
//! always JSON, which the same clients accept. Pure; called through `registry` by the API server.

mod message;
mod numbers;
mod zeros;

use serde_json::{Map, Value, json};

use super::types::{StructId, Types};
use message::Reader;

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The body cannot be turned into an object.
#[derive(Debug, thiserror::Error)]
pub enum ProtobufError {
    /// It does not begin with `k8s\0`.
    #[error("the body does not begin with Kubernetes' protobuf prefix")]
    NoPrefix,
    /// It is cut off or not protobuf.
    #[error("proto: {0}")]
    Malformed(String),
    /// It is of a kind that has no protobuf form here: a custom resource, or a kind that is not served.
    #[error("no protobuf form of {kind} in version {api_version:?} is known; send JSON")]
    UnknownKind {
        /// `apiVersion` of the body.
        api_version: String,
        /// `kind` of the body.
        kind: String,
    },
}

impl From<prost::DecodeError> for ProtobufError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Turns a body into the JSON object that it stands for, with `apiVersion` and `kind`.
pub fn decode(types: &Types, body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoPrefix)?;
    let (mut meta, mut raw) = (&[][..], &[][..]);
    message::fields(envelope, |number, value| {
        match (number, value) {
            (1, message::Wire::Bytes(bytes)) => meta = bytes,
            (2, message::Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
        Ok(())
    })?;
    let (mut api_version, mut kind) = (String::new(), String::new());
    message::fields(meta, |number, value| {
        match (number, value) {
            (1, message::Wire::Bytes(bytes)) => api_version = message::text(bytes)?,
            (2, message::Wire::Bytes(bytes)) => kind = message::text(bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    let root = root(types, &api_version, &kind);
    let root = root
        .ok_or_else(|| ProtobufError::UnknownKind { api_version: api_version.clone(), kind: kind.clone() })?;
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    Reader { types }.object(root, raw, &mut object)?;
    Ok(Value::Object(object))
}

fn root(types: &Types, api_version: &str, kind: &str) -> Option<StructId> {
    if kind == "DeleteOptions" {
        return types.find("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let group = group.split('.').next().unwrap_or(group);
    types.find(&format!("io.k8s.api.{group}.{version}.{kind}"))
}

#[cfg(test)]
mod tests;
