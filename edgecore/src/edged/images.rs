//! Images: names, pull policies, credentials and a bound on how many are pulled at a time.

mod credentials;
mod refusal;

use std::sync::Arc;

use k8s_cri::v1::{AuthConfig, PodSandboxConfig};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::objects::Objects;
use super::runtime::{ContainerRuntime, Image, RuntimeError};

pub use credentials::{credentials_of, registry_of};
pub use refusal::Refusal;

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// When it is not there.
    IfNotPresent,
    /// By somebody else.
    Never,
}

impl PullPolicy {
    /// The policy of a container; by Kubernetes' rule when it says nothing.
    pub fn of(container: &Container) -> Self {
        match container.image_pull_policy.as_deref() {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if tag(container.image.as_deref().unwrap_or_default()).is_none_or(|tag| tag == "latest") => {
                Self::Always
            }
            _ => Self::IfNotPresent,
        }
    }
}

/// Why there is no image to start from. The words are Kubernetes' reasons.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `InvalidImageName`
    #[error(
        "Failed to apply default image tag {0:?}: couldn't parse image name {0:?}: invalid reference format{capitals}",
        capitals = capitals(.0)
    )]
    Name(String),
    /// `ErrImageNeverPull`
    #[error("Container image {0:?} is not present with pull policy of Never")]
    NeverPull(String),
    /// `ErrImagePull`, in the runtime's words.
    #[error("{}", .0.in_full())]
    Pull(RuntimeError),
    /// `ImageInspectError`
    #[error("Failed to inspect image {name:?}: {}", .source.in_full())]
    Inspect {
        /// The image.
        name: String,
        /// The runtime's words.
        source: RuntimeError,
    },
}

impl ImageError {
    /// The word for a waiting state.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Name(_) => "InvalidImageName",
            Self::NeverPull(_) => "ErrImageNeverPull",
            Self::Pull(_) => "ErrImagePull",
            Self::Inspect { .. } => "ImageInspectError",
        }
    }

    /// Whether the runtime as a whole is away.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Pull(error) | Self::Inspect { source: error, .. } if error.is_outage())
    }
}

/// How an image came to be there.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It was there.
    Present,
    /// It was fetched; the words are for the event.
    Pulled(String),
}

/// Fetches images, a few at a time.
pub struct Puller {
    runtime: Arc<dyn ContainerRuntime>,
    slots: Semaphore,
    /// Woken when an image has come.
    changed: Arc<Notify>,
}

impl Puller {
    /// Pulls at most `parallel` images at a time; `changed` is woken by each that has come.
    pub fn new(runtime: Arc<dyn ContainerRuntime>, parallel: usize, changed: Arc<Notify>) -> Self {
        Self { runtime, slots: Semaphore::new(parallel.max(1)), changed }
    }

    /// Whether the image must be fetched now: `Some(present)` when it need not.
    pub async fn present(&self, container: &Container) -> Result<Option<Image>, ImageError> {
        let name = normalized(container.image.as_deref().unwrap_or_default())?;
        let policy = PullPolicy::of(container);
        if policy == PullPolicy::Always {
            return Ok(None);
        }
        match self.inspect(&name).await? {
            Some(image) => Ok(Some(image)),
            None if policy == PullPolicy::Never => {
                Err(ImageError::NeverPull(container.image.clone().unwrap_or_default()))
            }
            None => Ok(None),
        }
    }

    /// Where the runtime keeps its images, if it says so.
    pub async fn place(&self) -> Option<String> {
        Some(self.runtime.image_usage().await.ok()?.into_iter().next()?.0)
    }

    async fn inspect(&self, name: &str) -> Result<Option<Image>, ImageError> {
        let found = self.runtime.image(name).await;
        found.map_err(|source| ImageError::Inspect { name: name.to_owned(), source })
    }

    /// Fetches the image with the pod's credentials, one after the other, then without any.
    pub async fn pull(
        &self,
        container: &Container,
        pod: &Pod,
        objects: &Objects,
        sandbox: &PodSandboxConfig,
    ) -> Result<(Image, Found), ImageError> {
        let name = normalized(container.image.as_deref().unwrap_or_default())?;
        self.fetch(&name, credentials::of(pod, objects, &name), sandbox.clone()).await
    }

    /// Fetches an image whose name is [`normalized`], with each of the credentials until one fits.
    pub async fn fetch(
        &self,
        name: &str,
        credentials: Vec<AuthConfig>,
        sandbox: PodSandboxConfig,
    ) -> Result<(Image, Found), ImageError> {
        let asked = Instant::now();
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let begun = Instant::now();
        let mut tries: Vec<Option<AuthConfig>> = credentials.into_iter().map(Some).collect();
        if tries.is_empty() {
            tries.push(None);
        }
        let mut last = None;
        for auth in tries {
            match self.runtime.pull_image(name, auth, sandbox.clone()).await {
                Ok(reference) => {
                    self.changed.notify_one();
                    let image =
                        self.inspect(name).await?.unwrap_or(Image { id: reference, ..Image::default() });
                    let words = format!(
                        "Successfully pulled image {name:?} in {:.3?} ({:.3?} including waiting). Image size: {} bytes.",
                        begun.elapsed(),
                        asked.elapsed(),
                        image.size
                    );
                    return Ok((image, Found::Pulled(words)));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(ImageError::Pull(last.unwrap_or_else(|| RuntimeError::failed("PullImage", "not tried"))))
    }
}

/// The name with a tag; an error if it is none.
pub fn normalized(name: &str) -> Result<String, ImageError> {
    if !is_reference(name) {
        return Err(ImageError::Name(name.to_owned()));
    }
    Ok(if tag(name).is_none() && !name.contains('@') { format!("{name}:latest") } else { name.to_owned() })
}

/// The tag of a name; `None` without one. A name with a digest counts as tagged by it.
fn tag(name: &str) -> Option<&str> {
    if let Some((_, digest)) = name.split_once('@') {
        return Some(digest);
    }
    let (_, last) = name.rsplit_once('/').unwrap_or(("", name));
    last.split_once(':').map(|(_, tag)| tag)
}

/// What of a name that is none has capital letters where none may be, as the library of Docker that the kubelet uses says it.
fn capitals(name: &str) -> String {
    let rest = match name.split_once('/') {
        Some((host, rest)) if is_host(host) => rest.to_owned(),
        Some(_) => name.to_owned(),
        None => format!("library/{name}"),
    };
    let repository = rest.split(':').next().unwrap_or_default();
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        format!(": repository name ({repository}) must be lowercase")
    } else {
        String::new()
    }
}

/// Whether the first part of a name is a host, with a port perhaps, and not a folder of Docker's own registry.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
}

/// The grammar of image references.
fn is_reference(name: &str) -> bool {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    if digest.is_some_and(|digest| {
        digest.split_once(':').is_none_or(|(kind, hex)| {
            kind.is_empty() || hex.len() < 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }) {
        return false;
    }
    let (prefix, last) = rest.rsplit_once('/').map_or((None, rest), |(prefix, last)| (Some(prefix), last));
    let (last, tag) = last.split_once(':').map_or((last, None), |(last, tag)| (last, Some(tag)));
    let word =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !word(tag) || tag.starts_with(['.', '-'])) {
        return false;
    }
    let component = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
            && !part.starts_with(['_', '.', '-'])
            && !part.ends_with(['_', '.', '-'])
    };
    let mut parts: Vec<&str> = prefix.into_iter().flat_map(|prefix| prefix.split('/')).collect();
    // The first part may be a host with a port and capital letters.
    if let Some(host) = parts.first().copied()
        && is_host(host)
    {
        let (name, port) = host.split_once(':').unwrap_or((host, "1"));
        if name.is_empty() || !word(name) || port.parse::<u16>().is_err() {
            return false;
        }
        parts.remove(0);
    }
    parts.into_iter().chain([last]).all(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capital_letters_in_a_name_are_named() {
        let said = |name: &str| normalized(name).expect_err("no name").to_string();
        let words = |name: &str, why: &str| {
            format!(
                "Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: invalid reference format{why}"
            )
        };
        let lower = |part: &str| format!(": repository name ({part}) must be lowercase");
        for (name, why) in [
            ("BusyBox", lower("library/BusyBox")),
            ("BusyBox:1", lower("library/BusyBox")),
            ("team/App:1", lower("team/App")),
            ("example.org:5000/team/App:V1", lower("team/App")),
            ("busybox:a b", String::new()),
            ("", String::new()),
        ] {
            assert_eq!(said(name), words(name, &why));
        }
    }

    #[test]
    fn names_are_completed_or_refused() {
        for (name, full) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("Registry.example/a:v1", "Registry.example/a:v1"),
            ("a@sha256:0123456789abcdef0123456789abcdef", "a@sha256:0123456789abcdef0123456789abcdef"),
        ] {
            assert_eq!(normalized(name).expect("a name"), full);
        }
        for name in ["", "A", "a b", "a:", "a//b", "/a", "a:b:c", "a@x", "-a", "host:port/a", "a/B"] {
            assert!(normalized(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_default_policy_follows_the_tag() {
        let policy =
            |image: &str| PullPolicy::of(&Container { image: Some(image.into()), ..Container::default() });
        assert_eq!(policy("a"), PullPolicy::Always);
        assert_eq!(policy("h:1/a:latest"), PullPolicy::Always);
        assert_eq!(policy("h:1/a:v1"), PullPolicy::IfNotPresent);
    }
}
