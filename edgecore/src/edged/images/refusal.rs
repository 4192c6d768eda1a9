//! Why an image did not come, told from the words of containerd, CRI-O and Docker, each of which has its own.

use super::ImageError;
use crate::edged::runtime::RuntimeError;

/// What kept an image from coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its name is none, or it may not be pulled.
    Name,
    /// The registry wants to know who asks, or does not believe it.
    Login,
    /// The registry does not let whoever asks have it. Some say so of what there is not, too.
    Denied,
    /// The registry has no such repository, tag or digest.
    Missing,
    /// It is built for other machines.
    Platform,
    /// The registry was asked too often.
    Busy,
    /// The registry, or what is before it, fails.
    Broken,
    /// What came is not what was announced.
    Corrupt,
    /// The registry's certificate is not believed, or there is none.
    Untrusted,
    /// Nobody answers at the registry's address, or nobody any more.
    Unreachable,
    /// The runtime has no room for it.
    DiskFull,
    /// Something else; only the runtime's words tell.
    Other,
}

/// Words of which one is enough; in lower case. What stands further up goes before what stands below.
const WORDS: [(Refusal, &[&str]); 10] = [
    (Refusal::DiskFull, &["no space left on device", "disk quota exceeded"]),
    (
        Refusal::Corrupt,
        &[
            "unexpected commit digest",
            "unexpected commit size",
            "failed size validation",
            "verification failed for digest",
            "digest did not match",
        ],
    ),
    (Refusal::Busy, &["429 too many requests", "http 429", "toomanyrequests"]),
    (
        Refusal::Broken,
        &[
            "500 internal server error",
            "502 bad gateway",
            "503 service unavailable",
            "504 gateway timeout",
            "http status: 5",
            "http 5",
        ],
    ),
    (Refusal::Platform, &["no match for platform", "no matching manifest for"]),
    (
        Refusal::Login,
        &["401 unauthorized", "unauthorized:", "no basic auth credentials", "authentication required"],
    ),
    (
        Refusal::Denied,
        &["403 forbidden", "http 403", "access denied", "denied:", "insufficient_scope", "is denied"],
    ),
    (
        Refusal::Missing,
        &["manifest unknown", "name unknown", "unknown blob", "blob unknown", "404 not found", "http 404"],
    ),
    (Refusal::Untrusted, &["x509:", "tls:", "server gave http response to https client"]),
    (
        Refusal::Unreachable,
        &[
            "connection refused",
            "connection reset",
            "broken pipe",
            "no such host",
            "no route to host",
            "network is unreachable",
            "server misbehaving",
            "temporary failure in name resolution",
            "timeout",
            "deadline exceeded",
            "eof",
        ],
    ),
];

impl Refusal {
    /// What `error` says of pulling `image`.
    pub fn of(error: &ImageError, image: &str) -> Self {
        match error {
            ImageError::Name(_) | ImageError::NeverPull(_) => Self::Name,
            ImageError::Inspect { .. } => Self::Other,
            ImageError::Pull(error) => Self::of_runtime(error, image),
        }
    }

    fn of_runtime(error: &RuntimeError, image: &str) -> Self {
        let (message, missing) = match error {
            RuntimeError::Stalled { .. } | RuntimeError::Timeout { .. } => return Self::Unreachable,
            RuntimeError::NotFound { message, .. } => (message, true),
            RuntimeError::Failed { message, .. } => (message, false),
            _ => return Self::Other,
        };
        // The name may hold any of the words; what the machine itself does not permit is not the registry's doing.
        let repository = image.rsplit_once(['@', ':']).map_or(image, |(repository, _)| repository);
        let text = message.replace(image, "").replace(repository, "").to_lowercase();
        let text = text.replace("permission denied", "");
        let told = WORDS.iter().find(|(_, words)| words.iter().any(|word| text.contains(word)));
        match told {
            Some((refusal, _)) => *refusal,
            None if missing || text.ends_with(": not found") => Self::Missing,
            None => Self::Other,
        }
    }

    /// Whether asking again is of no use before somebody has done something about it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Name | Self::Login | Self::Denied | Self::Missing | Self::Platform)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const IMAGE: &str = "127.0.0.1:5999/unauthorized/eof:1";

    fn failed(message: &str) -> Refusal {
        Refusal::of(&ImageError::Pull(RuntimeError::failed("PullImage", message)), IMAGE)
    }

    #[test]
    fn each_runtimes_words_are_understood() {
        for (refusal, said) in [
            // containerd 1.6
            (
                Refusal::Login,
                "failed to resolve reference \"127.0.0.1:5999/unauthorized/eof:1\": pulling from host 127.0.0.1:5999 failed \
                 with status code [manifests 1]: 401 Unauthorized",
            ),
            (Refusal::Login, "authorization failed: no basic auth credentials"),
            (
                Refusal::Denied,
                "pull access denied, repository does not exist or may require authorization: server message: \
                 insufficient_scope: authorization failed",
            ),
            (Refusal::Denied, "pulling from host x failed with status code [manifests 1]: 403 Forbidden"),
            (Refusal::Missing, "failed to resolve reference \"x\": x: not found"),
            (Refusal::Busy, "unexpected status code http://x: 429 Too Many Requests - Server message: a"),
            (Refusal::Broken, "status code [manifests 1]: 503 Service Unavailable"),
            (Refusal::Unreachable, "dial tcp 127.0.0.1:5998: connect: connection refused"),
            (Refusal::Unreachable, "failed to read expected number of bytes: unexpected EOF"),
            (Refusal::Untrusted, "http: server gave HTTP response to HTTPS client"),
            (Refusal::Platform, "no match for platform in manifest: not found"),
            (
                Refusal::Corrupt,
                "failed commit on ref \"layer-sha256:7a\": commit failed: unexpected commit digest sha256:14, expected \
                 sha256:7a: failed precondition",
            ),
            (Refusal::DiskFull, "write /c/ingest/1/data: no space left on device: unknown"),
            // Docker 20.10
            (Refusal::Login, "Get \"http://127.0.0.1:1/v2/a/manifests/1\": no basic auth credentials"),
            (Refusal::Login, "unauthorized: authentication required"),
            (
                Refusal::Denied,
                "pull access denied for 127.0.0.1:5999/unauthorized/eof, repository does not exist or may require 'docker \
                 login': denied: x",
            ),
            (Refusal::Denied, "error parsing HTTP 403 response body: invalid character '<': \"<html>\""),
            (Refusal::Missing, "repository 127.0.0.1:5999/m404 not found: name unknown: x"),
            (Refusal::Missing, "manifest for x:1 not found: manifest unknown: manifest unknown"),
            (Refusal::Busy, "toomanyrequests: x"),
            (Refusal::Broken, "received unexpected HTTP status: 500 Internal Server Error"),
            (Refusal::Unreachable, "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer"),
            (Refusal::Corrupt, "filesystem layer verification failed for digest sha256:7a"),
            (
                Refusal::DiskFull,
                "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device",
            ),
            // CRI-O
            (Refusal::Missing, "reading manifest 1 in x: manifest unknown"),
            (Refusal::Denied, "reading manifest 1 in x: requested access to the resource is denied"),
            // Neither of them
            (Refusal::Other, "open /var/lib/x: permission denied: unknown"),
            (Refusal::Other, "127.0.0.1:5999/unauthorized/eof:1 is strange"),
            (Refusal::Other, "exec: \"unpigz\": executable file not found in $PATH"),
        ] {
            assert_eq!(failed(said), refusal, "{said}");
        }
    }

    #[test]
    fn what_the_runtime_tells_by_the_kind_of_its_error_needs_no_words() {
        let of = |error| Refusal::of(&ImageError::Pull(error), IMAGE);
        assert_eq!(
            of(RuntimeError::NotFound { call: "PullImage", message: "gone".into() }),
            Refusal::Missing
        );
        assert_eq!(of(RuntimeError::Stalled { limit: Duration::from_secs(1) }), Refusal::Unreachable);
        let away = RuntimeError::Unreachable {
            endpoint: "unix:///x".into(),
            cause: "connection refused".into(),
            remedy: "start it",
        };
        assert_eq!(of(away), Refusal::Other);
    }

    #[test]
    fn only_what_does_not_pass_by_itself_is_final() {
        for passing in [Refusal::Busy, Refusal::Broken, Refusal::Corrupt, Refusal::Untrusted] {
            assert!(!passing.is_final(), "{passing:?}");
        }
        for passing in [Refusal::Unreachable, Refusal::DiskFull, Refusal::Other] {
            assert!(!passing.is_final(), "{passing:?}");
        }
        assert!(Refusal::Login.is_final() && Refusal::Missing.is_final());
    }
}
