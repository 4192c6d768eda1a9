//! Columns that a CRD declares.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::since;
use super::format::name;
use super::jsonpath::JsonPath;
use super::{AGE, NAME, age::age};
use crate::schema::Json;

/// One of `additionalPrinterColumns`.
#[derive(Clone, Debug)]
pub(crate) struct CustomColumn {
    name: Box<str>,
    kind: Box<str>,
    format: Box<str>,
    description: Box<str>,
    priority: i64,
    path: JsonPath,
}

impl CustomColumn {
    /// The columns of one version of a CRD.
    pub(crate) fn of(version: &Value) -> Vec<Self> {
        let columns = version.list("/additionalPrinterColumns").iter();
        columns
            .filter_map(|column| {
                Some(Self {
                    name: column.text("/name").into(),
                    kind: column.text("/type").into(),
                    format: column.text("/format").into(),
                    description: column.text("/description").into(),
                    priority: column.int("/priority").unwrap_or_default(),
                    path: JsonPath::parse(column.text("/jsonPath")).ok()?,
                })
            })
            .collect()
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.find(object);
        let Some(first) = found.first() else { return Value::Null };
        match &*self.kind {
            "integer" => {
                first.as_i64().or(first.as_f64().map(|number| number as i64)).map_or(Value::Null, Value::from)
            }
            "number" => {
                if first.is_number() {
                    (*first).clone()
                } else {
                    Value::Null
                }
            }
            "boolean" => {
                if first.is_boolean() {
                    (*first).clone()
                } else {
                    Value::Null
                }
            }
            "date" => first.as_str().map_or(Value::Null, |time| json!(date(time, now))),
            _ => json!(found.iter().map(|one| plain(one)).collect::<Vec<_>>().join(" ")),
        }
    }
}

fn date(time: &str, now: Timestamp) -> String {
    if time.parse::<Timestamp>().is_err() { "<invalid>".to_owned() } else { since(time, now) }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// `Name` and what the CRD declares, or the age if it declares nothing.
pub(super) fn columns(custom: &[CustomColumn]) -> Vec<Value> {
    let mut columns = vec![NAME.definition()];
    if custom.is_empty() {
        columns.push(super::Column { kind: "date", ..AGE }.definition());
    }
    columns.extend(custom.iter().map(|one| {
        json!({"name": one.name, "type": one.kind, "format": one.format, "description": one.description, "priority": one.priority})
    }));
    columns
}

pub(super) fn cells(custom: &[CustomColumn], object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![name(object)];
    if custom.is_empty() {
        cells.push(age(object, now));
    }
    cells.extend(custom.iter().map(|column| column.cell(object, now)));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_columns_are_typed_and_missing_values_stay_empty() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "Since", "type": "date", "jsonPath": ".status.at", "priority": 1},
            {"name": "Model", "type": "string", "jsonPath": ".spec.ref"}]});
        let columns = CustomColumn::of(&version);
        let now = "2026-11-21T06:12:18Z".parse().unwrap();
        let object = json!({"metadata": {"name": "a"}, "spec": {"n": 3, "ref": {"name": "m"}}, "status": {"at": "2026-11-21T06:12:08Z"}});
        assert_eq!(
            cells(&columns, &object, now),
            [json!("a"), json!(3), Value::Null, json!("10s"), json!("{\"name\":\"m\"}")]
        );
        assert_eq!(super::columns(&columns)[3]["priority"], 1);
        assert_eq!(super::columns(&[]).len(), 2);
    }
}
