use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Authority, NodeName};

/// What a newcomer needs to join: which CA to trust, and proof that someone let it in. KubeEdge's form:
/// `hex(sha256(CA)).<JWT>`, the JWT keyed by the CA's key. Beyond KubeEdge's it may be bound to one node.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca: [u8; 32],
    jwt: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Unix seconds at which it ends.
    pub exp: i64,
    /// The only node that may use it; any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like one.
    #[error(
        "this is no join token ({0}): copy the whole output of `keadm gettoken`, four parts with dots between them"
    )]
    Malformed(&'static str),
    /// Made by another cloud, or changed.
    #[error("the token was not made by this cloudcore: get one with `keadm gettoken` on the cloud host")]
    WrongSignature,
    /// Its time is over.
    #[error(
        "the token expired at {0}: get a new one with `keadm gettoken` on the cloud host (or set this host's clock, if that is in the past)"
    )]
    Expired(Timestamp),
    /// Made for another node.
    #[error("the token is for node {bound}, this is {node}: get one for this node, or one for any")]
    OtherNode {
        /// The node that it was made for.
        bound: String,
        /// The node that used it.
        node: String,
    },
    /// The server has another CA than the token names.
    #[error(
        "the CA of the server at this address is {found}, the token names {expected}: the address is wrong, the token is another cloud's, or someone is in between"
    )]
    OtherCa {
        /// What the token names.
        expected: String,
        /// What the server has.
        found: String,
    },
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const LENGTH_LIMIT: usize = 8 << 10;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// SHA-256 of a certificate.
pub(super) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

impl JoinToken {
    /// The part that goes into `Authorization: Bearer …`.
    pub fn bearer(&self) -> &str {
        &self.jwt
    }

    /// What the token says of itself, unverified: enough to tell a user that it has expired before anything is sent.
    pub fn claims(&self) -> Result<Claims, TokenError> {
        split(&self.jwt).map(|parts| parts.claims)
    }

    /// Checks the CA certificate (DER) that a server presents against the one that the token names.
    pub fn check_ca(&self, certificate: &[u8]) -> Result<(), TokenError> {
        let found = fingerprint(certificate);
        if found == self.ca {
            return Ok(());
        }
        Err(TokenError::OtherCa { expected: hex::encode(self.ca), found: hex::encode(found) })
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > LENGTH_LIMIT {
            return Err(TokenError::Malformed("it is too long"));
        }
        let (ca, jwt) = text.split_once('.').ok_or(TokenError::Malformed("it has no dot"))?;
        let mut hash = [0; 32];
        hex::decode_to_slice(ca, &mut hash)
            .map_err(|_| TokenError::Malformed("its first part is not 64 hexadecimal digits"))?;
        split(jwt)?;
        Ok(Self { ca: hash, jwt: jwt.to_owned() })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", hex::encode(self.ca), self.jwt)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}.secret)", hex::encode(self.ca))
    }
}

impl Authority {
    /// A token that any newcomer may use for this long, or only one node.
    pub fn mint_token(&self, life: Duration, node: Option<&NodeName>, now: Timestamp) -> JoinToken {
        let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        let claims =
            Claims { exp: now.as_second().saturating_add(life), node: node.map(NodeName::to_string) };
        // Two fields that serde_json can always write.
        let claims = serde_json::to_string(&claims).unwrap_or_default();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key().sec1_der());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
        JoinToken { ca: self.fingerprint(), jwt: format!("{signed}.{signature}") }
    }

    /// Checks what a newcomer that calls itself `node` sent after `Bearer `.
    pub fn verify_bearer(&self, jwt: &str, node: &NodeName, now: Timestamp) -> Result<Claims, TokenError> {
        if jwt.len() > LENGTH_LIMIT {
            return Err(TokenError::Malformed("it is too long"));
        }
        let parts = split(jwt)?;
        let key = hmac::Key::new(parts.algorithm, &self.key().sec1_der());
        hmac::verify(&key, parts.signed.as_bytes(), &parts.signature)
            .map_err(|_| TokenError::WrongSignature)?;
        if parts.claims.exp <= now.as_second() {
            return Err(TokenError::Expired(
                Timestamp::from_second(parts.claims.exp).unwrap_or(Timestamp::MIN),
            ));
        }
        match &parts.claims.node {
            Some(bound) if bound != node.as_str() => {
                Err(TokenError::OtherNode { bound: bound.clone(), node: node.to_string() })
            }
            _ => Ok(parts.claims),
        }
    }
}

struct Parts<'a> {
    signed: &'a str,
    algorithm: hmac::Algorithm,
    claims: Claims,
    signature: Vec<u8>,
}

/// Takes a JWT apart; nothing of it is to be believed yet.
fn split(jwt: &str) -> Result<Parts<'_>, TokenError> {
    let malformed = TokenError::Malformed;
    let (signed, signature) = jwt.rsplit_once('.').ok_or(malformed("it has too few parts"))?;
    let (header, claims) = signed.split_once('.').ok_or(malformed("it has too few parts"))?;
    if claims.contains('.') {
        return Err(malformed("it has too many parts"));
    }
    let decode =
        |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("a part of it is not base64url"));
    let header: Header = serde_json::from_slice(&decode(header)?)
        .map_err(|_| malformed("its second part is no JWT header"))?;
    let algorithm = match header.alg.as_str() {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return Err(malformed("its algorithm is not HS256, HS384 or HS512")),
    };
    let claims =
        serde_json::from_slice(&decode(claims)?).map_err(|_| malformed("its third part has no exp claim"))?;
    Ok(Parts { signed, algorithm, claims, signature: decode(signature)? })
}
