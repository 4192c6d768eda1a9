//! ImagePrePullJob: fetch images onto nodes before a pod wants them.

use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

/// `spec` of an ImagePrePullJob. The content of its tasks is the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImagePrePullSpec {
    /// All there is.
    pub image_pre_pull_template: ImagePrePullTemplate,
}

/// What to fetch, and onto which nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImagePrePullTemplate {
    /// Names of images.
    pub images: Vec<String>,
    /// Onto these nodes; instead of `label_selector`.
    pub node_names: Vec<String>,
    /// Onto nodes with these labels; instead of `node_names`.
    pub label_selector: Option<LabelSelector>,
    /// What must have room before: `cpu`, `mem`, `disk`.
    pub check_items: Vec<String>,
    /// Which part of the nodes may fail: `"0.3"`.
    pub failure_tolerate: String,
    /// Nodes at a time.
    pub concurrency: i64,
    /// After so many seconds without a word from a node it counts as failed.
    pub timeout_seconds: Option<i64>,
    /// The pull secret, `namespace/name`.
    pub image_secrets: String,
    /// Attempts after the first.
    pub retry_times: i64,
}

/// A secret's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Text that is no `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("imageSecrets: {0:?} is no <namespace>/<name> of a secret")]
pub struct InvalidSecretName(String);

impl FromStr for SecretName {
    type Err = InvalidSecretName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |word: &str| {
            !word.is_empty()
                && word.len() <= 253
                && word.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
                })
        };
        match text.split_once('/') {
            Some((namespace, name)) if word(namespace) && word(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(InvalidSecretName(text.to_owned())),
        }
    }
}

// === impl ImagePrePullTemplate ===

impl ImagePrePullTemplate {
    /// The pull secret; `None` when the job names none.
    ///
    /// # Errors
    /// When what it names cannot be a secret.
    pub fn secret(&self) -> Result<Option<SecretName>, InvalidSecretName> {
        match self.image_secrets.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_says_little_is_read() {
        let spec: ImagePrePullSpec =
            serde_json::from_str(r#"{"imagePrePullTemplate":{"images":["a"],"retryTimes":2}}"#).unwrap();
        assert_eq!(spec.image_pre_pull_template.images, ["a"]);
        assert_eq!(spec.image_pre_pull_template.secret(), Ok(None));
    }

    #[test]
    fn a_secret_is_named_with_its_namespace() {
        for wrong in ["regcred", "/regcred", "a/", "a/b/c", "A/b"] {
            assert!(wrong.parse::<SecretName>().is_err(), "{wrong}");
        }
        let name: SecretName = "default/regcred".parse().unwrap();
        assert_eq!((name.namespace.as_str(), name.name.as_str()), ("default", "regcred"));
    }
}
