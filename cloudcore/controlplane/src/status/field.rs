//! Errors about one field of an object, in the words of Kubernetes' `field.Error`.

use serde_json::Value;

use super::Cause;

/// What is wrong with the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseReason {
    /// Missing.
    Required,
    /// Present and wrong.
    Invalid,
    /// Of the wrong JSON type.
    TypeInvalid,
    /// Not one of the allowed values.
    NotSupported,
    /// Unique and there twice.
    Duplicate,
    /// May not be set, or not be changed.
    Forbidden,
    /// Too long or too large.
    TooLong,
    /// Too many items.
    TooMany,
    /// Refers to something that is not there.
    NotFound,
}

impl CauseReason {
    /// The text in `details.causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }
}

/// One field that is wrong. `Display` gives `spec.n: Invalid value: 10: must be less than 9`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {body}")]
pub struct FieldError {
    /// What is wrong.
    pub reason: CauseReason,
    /// Path, as in `spec.containers[0].image`.
    pub field: String,
    /// The text after the path.
    pub body: String,
}

impl FieldError {
    fn new(reason: CauseReason, field: impl Into<String>, body: String) -> Self {
        Self { reason, field: field.into(), body }
    }

    fn with_detail(head: String, detail: &str) -> String {
        if detail.is_empty() { head } else { format!("{head}: {detail}") }
    }

    /// `Required value[: detail]`.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(CauseReason::Required, field, Self::with_detail("Required value".to_owned(), detail))
    }

    /// `Invalid value: 10: detail`.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(CauseReason::Invalid, field, Self::with_detail(format!("Invalid value: {value}"), detail))
    }

    /// `Invalid value: "string": detail`, with reason `FieldValueTypeInvalid`.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(
            CauseReason::TypeInvalid,
            field,
            Self::with_detail(format!("Invalid value: {value}"), detail),
        )
    }

    /// `Unsupported value: "z": supported values: "a", "b"`.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list = supported.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ");
        Self::new(
            CauseReason::NotSupported,
            field,
            format!("Unsupported value: {value}: supported values: {list}"),
        )
    }

    /// `Duplicate value: "c"`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(CauseReason::Duplicate, field, format!("Duplicate value: {value}"))
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(CauseReason::Forbidden, field, Self::with_detail("Forbidden".to_owned(), detail))
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new(CauseReason::TooLong, field, format!("Too long: may not be more than {max} bytes"))
    }

    /// `Too many: 3: must have at most 2 items`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        Self::new(CauseReason::TooMany, field, format!("Too many: {actual}: must have at most {max} items"))
    }

    /// `Not found: "x"`.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(CauseReason::NotFound, field, format!("Not found: {value}"))
    }

    /// The entry of `details.causes`.
    pub fn cause(&self) -> Cause {
        Cause {
            reason: self.reason.as_str().to_owned(),
            message: self.body.clone(),
            field: self.field.clone(),
        }
    }
}
