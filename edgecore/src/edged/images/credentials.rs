//! Who the registries are told is asking: pull secrets, and which registry each of their entries is for.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde::Deserialize;

use crate::edged::objects::Objects;
use crate::edged::pod::policy;

/// A Docker configuration with credentials per registry.
#[derive(Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

/// Credentials of the pod's pull secrets that fit the image's registry.
pub(super) fn of(pod: &Pod, objects: &Objects, image: &str) -> Vec<AuthConfig> {
    let references = policy::spec(pod).image_pull_secrets.iter().flatten();
    let secrets = references.filter_map(|reference| objects.secret(&reference.name).ok());
    secrets.flat_map(|secret| credentials_of(secret, image)).collect()
}

/// Credentials of one pull secret that fit the image's registry.
pub fn credentials_of(secret: &Secret, image: &str) -> Vec<AuthConfig> {
    let data = secret.data.as_ref();
    let auths = if let Some(json) = data.and_then(|data| data.get(".dockerconfigjson")) {
        serde_json::from_slice::<DockerConfig>(&json.0).map(|config| config.auths)
    } else if let Some(json) = data.and_then(|data| data.get(".dockercfg")) {
        serde_json::from_slice::<BTreeMap<String, Entry>>(&json.0)
    } else {
        return Vec::new();
    };
    match auths {
        Ok(auths) => {
            let fitting = auths.into_iter().filter(|(registry, _)| fits(registry, image));
            fitting.map(|(_, entry)| entry.into_auth()).collect()
        }
        Err(error) => {
            let name = secret.metadata.name.as_deref();
            tracing::warn!(secret = name, "the pull secret is not a docker config: {error}");
            Vec::new()
        }
    }
}

/// The registry of an image; Docker's own for a name without one.
pub fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// Whether credentials for `registry` are for `image`.
fn fits(registry: &str, image: &str) -> bool {
    let registry = registry.trim_start_matches("https://").trim_start_matches("http://");
    let registry = registry.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    let host = registry_of(image);
    match registry {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => host == "docker.io",
        _ => match registry.split_once('/') {
            // A registry with a path is for images below that path.
            Some(_) => image.starts_with(&format!("{registry}/")),
            None => match registry.strip_prefix("*.") {
                Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
                None => host == registry,
            },
        },
    }
}

impl Entry {
    /// Without the address: containerd takes it for a URL and refuses what users write there; the kubelet sends none.
    fn into_auth(self) -> AuthConfig {
        let decoded = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => (user.to_owned(), password.to_owned()),
            None => (self.username, self.password),
        };
        AuthConfig { username, password, ..AuthConfig::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_to_their_registry_only() {
        assert!(fits("https://index.docker.io/v1/", "library/nginx"));
        assert!(fits("localhost:5000", "localhost:5000/a:1"));
        assert!(fits("*.example.com", "eu.example.com/a"));
        assert!(fits("example.com/team", "example.com/team/a"));
        assert!(!fits("example.com/team", "example.com/other/a"));
        assert!(!fits("example.com", "example.org/a"));
        assert!(!fits("example.com", "nginx"));
    }
}
