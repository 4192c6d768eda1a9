//! The language of requests and answers: paths, parameters, bodies, representations. Pure but for reading bodies.

mod accept;
mod body;
mod path;
mod query;
mod respond;

pub(super) use accept::{Accept, Representation};
pub(super) use body::{PatchBody, decode, media_type, parse_yaml, read};
pub(super) use path::ResourcePath;
pub(super) use query::{FieldValidation, MANAGER_MAX, Query};
pub(super) use respond::{failure, json_bytes, json_value, text, with_warnings};
