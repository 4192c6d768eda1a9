//! Why a reconciliation did not get to its end.

/// A reconciliation has to be repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API refused or could not be reached.
    #[error("{doing}: {source}")]
    Api {
        /// What was tried, such as `create a pod`.
        doing: &'static str,
        /// What the client said.
        #[source]
        source: kube::Error,
    },
    /// The object is not as this controller needs it, and only its owner can change that.
    #[error("{0}")]
    Object(String),
}

impl Error {
    /// For `map_err`: what was tried.
    pub(crate) fn api(doing: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Api { doing, source }
    }

    /// What the API said, for people; without what was tried and what the client wraps around it.
    pub(crate) fn said(&self) -> String {
        match self {
            Self::Api { source: kube::Error::Api(status), .. } => status.message.clone(),
            other => other.to_string(),
        }
    }

    /// Whether somebody else was quicker, which the next look settles.
    pub(crate) fn is_race(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if matches!(status.code, 404 | 409))
    }
}
