//! Which object.

use kube::{Resource, ResourceExt};

/// An object's place, and which of the namesakes that were there one after the other it is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Id {
    /// Empty for objects of the cluster.
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(super) uid: Box<str>,
}

impl Id {
    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        let text = |text: Option<String>| text.unwrap_or_default().into_boxed_str();
        Self {
            namespace: text(object.namespace()),
            name: text(object.meta().name.clone()),
            uid: text(object.uid()),
        }
    }
}
