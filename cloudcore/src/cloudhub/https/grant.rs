//! Who gets a certificate for which name: a pure rule.
//!
//! A node's own certificate renews itself. A token bound to a node gives a certificate for that node, as often as it
//! is shown. A token for anybody gives one for every name that no living node has, so that it cannot be used to take
//! a running node's place.

use axum::http::StatusCode;
use proto::pki::{Claims, NodeName, TokenError};

use super::names::Taken;

/// What a client has proved.
#[derive(Debug)]
pub(super) enum Credential {
    /// It has this node's certificate.
    Certificate(NodeName),
    /// It has a valid token; if that is bound to a node, then to the one that is asked for.
    Token(Claims),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the header Nodename {0:?} names no node: use lower case letters, digits, '-' and '.'")]
    Name(String),
    #[error("neither a client certificate nor an Authorization: Bearer header with a join token was given")]
    Anonymous,
    #[error(
        "{0}; get a new certificate with a join token (`keadm gettoken` on the cloud host, then `keadm join`)"
    )]
    NotANode(String),
    #[error("token validation failure: {0}")]
    Token(#[from] TokenError),
    #[error("the certificate is of node {proven}: it cannot be used to get one for {asked}")]
    OtherNode { proven: NodeName, asked: NodeName },
    #[error(
        "the name {node} is taken: {by}; stop that node or choose another name. If this is the same node, use a \
         token bound to it (`keadm gettoken` can make one) or its own certificate"
    )]
    Taken { node: NodeName, by: String },
    #[error("{0}")]
    Request(String),
    #[error("cloudcore cannot tell whether the name is free: {0}; try again")]
    Unknown(String),
}

/// The rule.
pub(super) fn decide(node: &NodeName, credential: &Credential, taken: Option<&Taken>) -> Result<(), Refusal> {
    match (credential, taken) {
        (Credential::Certificate(proven), _) if proven == node => Ok(()),
        (Credential::Certificate(proven), _) => {
            Err(Refusal::OtherNode { proven: proven.clone(), asked: node.clone() })
        }
        // `verify_bearer` has compared the bound name already; it is compared again where the rule is.
        (Credential::Token(Claims { node: Some(bound), .. }), _) if bound == node.as_str() => Ok(()),
        (Credential::Token(Claims { node: Some(bound), .. }), _) => {
            Err(TokenError::OtherNode { bound: bound.clone(), node: node.to_string() }.into())
        }
        (Credential::Token(Claims { node: None, .. }), None) => Ok(()),
        (Credential::Token(Claims { node: None, .. }), Some(taken)) => {
            Err(Refusal::Taken { node: node.clone(), by: taken.by.clone() })
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// KubeEdge's edge prints the text of any status but 200.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Name(_) | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Anonymous | Self::NotANode(_) | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::OtherNode { .. } => StatusCode::FORBIDDEN,
            Self::Taken { .. } => StatusCode::CONFLICT,
            Self::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().expect("a name")
    }

    fn token(bound: Option<&str>) -> Credential {
        Credential::Token(Claims { exp: i64::MAX, node: bound.map(str::to_owned) })
    }

    fn alive() -> Taken {
        Taken { by: "it is connected from 192.0.2.7:4711".into(), has_object: true }
    }

    #[test]
    fn a_nodes_certificate_renews_itself_and_nothing_else() {
        let own = Credential::Certificate(node("a"));
        assert!(decide(&node("a"), &own, Some(&alive())).is_ok());
        assert!(matches!(decide(&node("b"), &own, None), Err(Refusal::OtherNode { .. })));
    }

    #[test]
    fn a_token_for_anybody_does_not_take_a_living_nodes_place() {
        assert!(decide(&node("a"), &token(None), None).is_ok());
        let refusal = decide(&node("a"), &token(None), Some(&alive())).expect_err("taken");
        assert_eq!(refusal.status(), StatusCode::CONFLICT);
        assert!(refusal.to_string().contains("192.0.2.7"), "{refusal}");
    }

    #[test]
    fn a_bound_token_is_good_for_its_node_only_even_if_that_lives() {
        assert!(decide(&node("a"), &token(Some("a")), Some(&alive())).is_ok());
        assert!(matches!(decide(&node("b"), &token(Some("a")), None), Err(Refusal::Token(_))));
    }
}
