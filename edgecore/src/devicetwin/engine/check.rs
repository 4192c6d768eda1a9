//! Whether a value may become a twin's.

use proto::devices::value::{Misfit, number, within};

use super::answer::Reason;
use super::model::Rule;
use super::twin::{ValueType, is_value};

/// Checks `value` of property `key` against the type in force and the model's range.
pub(super) fn value(
    key: &str,
    value: &str,
    value_type: ValueType,
    rule: Option<&Rule>,
) -> Result<(), Reason> {
    if !is_value(value, value_type) {
        return Err(Reason::ValueCharacters);
    }
    typed(key, value, value_type, rule)
}

/// As [`value`], for values that need not be of KubeEdge's letters: the cloud's.
pub(super) fn typed(
    key: &str,
    value: &str,
    value_type: ValueType,
    rule: Option<&Rule>,
) -> Result<(), Reason> {
    value_type.check(value).map_err(Reason::WrongValue)?;
    let Some(rule) = rule else { return Ok(()) };
    if !matches!(rule.value_type, ValueType::Int | ValueType::Float | ValueType::Double) {
        return Ok(());
    }
    let Some(parsed) = number(value) else { return Ok(()) };
    within(parsed, rule.minimum, rule.maximum).map_err(|misfit| {
        let (key, value) = (key.to_owned(), value.to_owned());
        match misfit {
            Misfit::Type(wrong) => Reason::WrongValue(wrong),
            Misfit::BelowMinimum(minimum) => Reason::BelowMinimum { key, value, minimum },
            Misfit::AboveMaximum(maximum) => Reason::AboveMaximum { key, value, maximum },
        }
    })
}

/// The type in force: the model's; without one the stored; without that the one the client names.
pub(super) fn type_in_force(
    rule: Option<&Rule>,
    stored: Option<ValueType>,
    named: Option<&str>,
) -> Result<ValueType, Reason> {
    let client = named.map(ValueType::from_client);
    match (rule, stored, client) {
        // `int` and `integer` are one type: the client's word is kept.
        (Some(rule), None, Some(Some(ValueType::Integer))) if rule.value_type == ValueType::Int => {
            Ok(ValueType::Integer)
        }
        (Some(rule), Some(ValueType::Integer), _) if rule.value_type == ValueType::Int => {
            Ok(ValueType::Integer)
        }
        (Some(rule), ..) => Ok(rule.value_type),
        (None, Some(stored), _) => Ok(stored),
        (None, None, None) => Ok(ValueType::String),
        (None, None, Some(Some(client))) => Ok(client),
        (None, None, Some(None)) => Err(Reason::TypeNotAllowed),
    }
}
