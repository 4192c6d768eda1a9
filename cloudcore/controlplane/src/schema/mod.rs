//! What objects must look like: the types of the built-in kinds (`types`), the structural schemas of custom resources
//! (`custom`), how their parts are owned (`shape`), quantities, and paths to say where something is wrong.
//!
//! Pure functions over JSON; calls only `status` for its field errors. `registry`, `patch`, `fieldmanager` and `openapi` call it.

pub mod custom;
mod errors;
mod json;
mod path;
pub mod protobuf;
pub mod quantity;
mod shape;
mod strict;
pub mod types;

pub use errors::Errors;
pub use json::Json;
pub use path::Path;
pub use shape::{Child, Kind, Shape};
pub use strict::duplicate_fields;
