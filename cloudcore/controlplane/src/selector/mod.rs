//! Label and field selectors, and the index of an object that they are matched against.
//!
//! Plain data, calls nothing. The store keeps an [`Index`] with every object, so matching never parses JSON.

mod field;
mod index;
mod label;
mod skeleton;

use serde_json::Value;

pub use field::FieldSelector;
pub use index::Index;
pub use label::LabelSelector;
pub(crate) use skeleton::Skeleton;

/// Both kinds together, as a list or watch carries them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    /// On labels.
    pub labels: LabelSelector,
    /// On fields.
    pub fields: FieldSelector,
}

/// A selector that cannot be used. `Display` is what the API answers with 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text is not a label selector.
    #[error("unable to parse requirement: {0}")]
    Label(String),
    /// The text is not a field selector.
    #[error("invalid selector: {0:?}; can't understand {1:?}")]
    Field(String, String),
    /// A field that this kind cannot be selected by, in kinds that have some.
    #[error("field label not supported: {0}")]
    Unsupported(String),
    /// A field that this kind cannot be selected by, in kinds that have none.
    #[error("{0:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    Unknown(String),
}

impl Selector {
    /// Selects everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object with this index is selected.
    pub fn matches(&self, index: &Index) -> bool {
        self.labels.matches(index) && self.fields.matches(index)
    }

    /// Whether an object is selected. Its document is only read if the index does not say enough.
    pub fn matches_document(&self, index: &Index, document: impl Fn() -> Value) -> bool {
        self.labels.matches(index) && self.fields.matches_document(index, document)
    }
}
