//! What can go wrong with a runtime, said so that an operator knows the next step.

use std::time::Duration;

/// A failed call to the container runtime.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Nobody answers on the socket. Retried with back-off; running containers are not affected.
    #[error(
        "no container runtime answers on {endpoint}: {cause}. {remedy}; edgecore keeps trying and touches no container \
         meanwhile"
    )]
    Unreachable {
        /// The socket.
        endpoint: String,
        /// The system's words.
        cause: String,
        /// What to do about it, as a sentence without its full stop.
        remedy: &'static str,
    },
    /// Something answers, but not what is needed.
    #[error("the runtime on {endpoint} cannot be used: {cause}. {remedy}")]
    Unsupported {
        /// The socket.
        endpoint: String,
        /// What it does not do.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The runtime took longer than the deadline.
    #[error("{call} on {endpoint} did not answer within {} s (runtimeRequestTimeout); retried", limit.as_secs())]
    Timeout {
        /// The socket.
        endpoint: String,
        /// The call that was made.
        call: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// Nothing more of an image comes, though nobody says why.
    #[error(
        "nothing came from the registry for {} s (runtimeRequestTimeout), and the pull was given up",
        limit.as_secs()
    )]
    Stalled {
        /// So long.
        limit: Duration,
    },
    /// The object is not there (any more).
    #[error("{call}: {message}")]
    NotFound {
        /// The call that was made.
        call: &'static str,
        /// The runtime's words.
        message: String,
    },
    /// The runtime refused or failed; its own words.
    #[error("{message}")]
    Failed {
        /// The call that was made.
        call: &'static str,
        /// The code of a runtime's answer, in Go's spelling; none if it was not the runtime that failed.
        code: Option<&'static str>,
        /// The runtime's words.
        message: String,
    },
    /// A value given to the runtime client makes no sense.
    #[error("container runtime endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// What was configured.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RuntimeError {
    /// Something on this side of a call failed.
    pub fn failed(call: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { call, code: None, message: message.into() }
    }

    /// With the code, as a kubelet shows a call of CRI that failed wherever it passes the error on as it is: of sandboxes, pulls and
    /// looks at images.
    pub fn in_full(&self) -> String {
        let (code, words) = match self {
            Self::NotFound { message, .. } => ("NotFound", message.clone()),
            Self::Failed { code: Some(code), message, .. } => (*code, message.clone()),
            Self::Timeout { .. } | Self::Stalled { .. } => ("DeadlineExceeded", self.to_string()),
            _ => return self.to_string(),
        };
        format!("rpc error: code = {code} desc = {words}")
    }

    /// Whether the runtime as a whole is away (as opposed to one object failing).
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unsupported { .. } | Self::Endpoint { .. })
    }

    /// Whether the object asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
