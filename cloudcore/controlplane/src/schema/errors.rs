//! Everything that is wrong with one object, collected so that the user sees it at once.

use serde_json::Value;

use super::Path;
use crate::status::FieldError;

/// A growing list of field errors. Bounded, because a list of a million bad items needs no million messages.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

/// As many as anybody reads.
const MOST: usize = 256;

impl Errors {
    /// Adds one error, unless the same one is there already.
    pub fn push(&mut self, error: FieldError) {
        if self.0.len() < MOST && !self.0.contains(&error) {
            self.0.push(error);
        }
    }

    /// `Required value[: detail]`
    pub fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldError::required(path, detail));
    }

    /// `Invalid value: VALUE: detail`
    pub fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.push(FieldError::invalid(path, &value.into(), detail));
    }

    /// `Unsupported value: "z": supported values: "a", "b"`
    pub fn not_supported(&mut self, path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        self.push(FieldError::not_supported(path, &value.into(), supported));
    }

    /// `Duplicate value: "c"`
    pub fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::duplicate(path, &value.into()));
    }

    /// `Forbidden: detail`
    pub fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldError::forbidden(path, detail));
    }

    /// `Too many: 3: must have at most 2 items`
    pub fn too_many(&mut self, path: &Path<'_>, actual: usize, max: usize) {
        self.push(FieldError::too_many(path, actual, max));
    }

    /// `Not found: "x"`
    pub fn not_found(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::not_found(path, &value.into()));
    }

    /// `Too long: may not be more than N bytes`
    pub fn too_long(&mut self, path: &Path<'_>, max: usize) {
        self.push(FieldError::too_long(path, max));
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong so far.
    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }

    /// The list.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }
}

impl Extend<FieldError> for Errors {
    fn extend<T: IntoIterator<Item = FieldError>>(&mut self, errors: T) {
        for error in errors {
            self.push(error);
        }
    }
}
