use serde_json::Value;

use crate::problem::Problem;

pub(crate) fn cloud_defaults() -> Value {
    Value::Null
}
pub(crate) fn edge_defaults() -> Value {
    Value::Null
}
pub(crate) fn cloud(_: &Value) -> Result<Vec<String>, Problem> {
    Ok(vec![])
}
pub(crate) fn edge(_: &Value) -> Result<Vec<String>, Problem> {
    Ok(vec![])
}
