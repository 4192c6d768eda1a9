//! What the status of an image says that did not come: which, where, what is wrong, what to do, and the runtime's own words.

use k8s_openapi::api::core::v1::Secret;
use proto::operations::SecretName;

use crate::edged::images::{self, ImageError, Refusal};

/// What is known beside the image itself.
pub(super) struct Words<'a> {
    pub node: &'a str,
    /// Where the runtime keeps its images, if it says so.
    pub place: Option<String>,
}

/// With what the registry was asked.
#[derive(Debug, PartialEq)]
pub(super) enum Login<'a> {
    /// The job names no secret.
    None,
    /// The secret has nothing for this registry.
    Elsewhere(&'a SecretName),
    /// The secret's.
    Given(&'a SecretName),
}

impl<'a> Login<'a> {
    pub(super) fn of(secret: Option<&'a (SecretName, Secret)>, image: &str) -> Self {
        match secret {
            None => Self::None,
            Some((name, secret)) if images::credentials_of(secret, image).is_empty() => Self::Elsewhere(name),
            Some((name, _)) => Self::Given(name),
        }
    }
}

// === impl Words ===

impl Words<'_> {
    pub(super) fn of(&self, image: &str, login: &Login<'_>, error: &ImageError) -> String {
        let said = error.to_string();
        let what = self.remedy(Refusal::of(error, image), images::registry_of(image), login);
        let node = self.node;
        match what {
            Some(what) => format!("{image} on node {node}: {what} ({said})"),
            None => format!("{image} on node {node}: {said}"),
        }
    }

    /// What is wrong and what to do; nothing if only the runtime knows.
    fn remedy(&self, refusal: Refusal, registry: &str, login: &Login<'_>) -> Option<String> {
        Some(match refusal {
            Refusal::Login => self.login(registry, login),
            Refusal::Denied => {
                let ask = match login {
                    Login::None => "or name a pull secret in imageSecrets".to_owned(),
                    Login::Elsewhere(name) => format!("or add {registry} to secret {}", shown(name)),
                    Login::Given(name) => format!("or let the user of secret {} read it", shown(name)),
                };
                format!("the registry {registry} denies it: correct the name, {ask}")
            }
            Refusal::Missing => {
                format!("the registry {registry} has no such repository or tag: push it, or correct the name")
            }
            Refusal::Platform => {
                format!("it is not built for {}: push one that is", std::env::consts::ARCH)
            }
            Refusal::Name => "it is no image's name: write registry/repository:tag in images".to_owned(),
            Refusal::Busy => format!(
                "the registry {registry} was asked too often: wait, lower concurrency, or raise retryTimes"
            ),
            Refusal::Broken => {
                format!("the registry {registry} fails: see its log, and raise retryTimes if it passes")
            }
            Refusal::Corrupt => format!(
                "what the registry {registry} sent is damaged: push the image again, and look at caches and proxies before it"
            ),
            Refusal::Untrusted => format!(
                "the container runtime does not trust the registry {registry}: give it its CA, or see the node's clock"
            ),
            Refusal::Unreachable => format!(
                "the registry {registry} cannot be reached or says nothing more: check that it runs, and the node's way to it"
            ),
            Refusal::DiskFull => format!(
                "no space left on {}: free some, or lower imageGCHighThresholdPercent",
                self.place.as_deref().unwrap_or("the container runtime's disk")
            ),
            Refusal::Other => return None,
        })
    }

    fn login(&self, registry: &str, login: &Login<'_>) -> String {
        match login {
            Login::None => {
                format!("the registry {registry} asks for a password: name a pull secret in imageSecrets")
            }
            Login::Elsewhere(name) => format!(
                "the registry {registry} asks for a password, and secret {} has none for it: make it with kubectl create secret \
                 docker-registry --docker-server={registry}",
                shown(name)
            ),
            Login::Given(name) => format!(
                "the registry {registry} refuses the name and password of secret {}: correct them",
                shown(name)
            ),
        }
    }
}

fn shown(name: &SecretName) -> String {
    format!("{}/{}", name.namespace, name.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::edged::runtime::RuntimeError;

    fn words(login: &Login<'_>, said: &str) -> String {
        let words = Words { node: "edge1", place: Some("/var/lib/docker".into()) };
        words.of("r.example/a:1", login, &ImageError::Pull(RuntimeError::failed("PullImage", said)))
    }

    #[test]
    fn image_node_fault_and_remedy_are_named_before_the_runtimes_words() {
        assert_eq!(
            words(&Login::None, "no basic auth credentials"),
            "r.example/a:1 on node edge1: the registry r.example asks for a password: name a pull secret in imageSecrets \
             (no basic auth credentials)"
        );
        assert_eq!(
            words(&Login::None, "write /x: no space left on device"),
            "r.example/a:1 on node edge1: no space left on /var/lib/docker: free some, or lower imageGCHighThresholdPercent \
             (write /x: no space left on device)"
        );
        assert_eq!(words(&Login::None, "it is strange"), "r.example/a:1 on node edge1: it is strange");
    }

    #[test]
    fn a_secret_that_has_nothing_for_the_registry_is_told_from_one_that_is_refused() {
        let name: SecretName = "default/login".parse().unwrap();
        let config = json!({ "auths": { "r.example": { "username": "a", "password": "b" } } });
        let secret = Secret {
            data: Some(
                [(".dockerconfigjson".into(), k8s_openapi::ByteString(config.to_string().into()))].into(),
            ),
            ..Secret::default()
        };
        let given = (name.clone(), secret);
        assert_eq!(Login::of(None, "r.example/a:1"), Login::None);
        assert_eq!(Login::of(Some(&given), "r.example/a:1"), Login::Given(&name));
        assert_eq!(Login::of(Some(&given), "other.example/a:1"), Login::Elsewhere(&name));
        let refused = words(&Login::Given(&name), "401 Unauthorized");
        assert!(refused.contains("refuses the name and password of secret default/login"), "{refused}");
        let elsewhere = words(&Login::Elsewhere(&name), "401 Unauthorized");
        assert!(elsewhere.contains("secret default/login has none for it"), "{elsewhere}");
    }
}
