use std::str::FromStr;

use proto::pki::{Claims, JoinToken, TokenError};

/// A join token with what it says of itself. Its signature is cloudcore's to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    token: JoinToken,
    claims: Claims,
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let token: JoinToken = text.parse()?;
        let claims = token.claims()?;
        Ok(Self { token, claims })
    }
}

impl Token {
    /// Whether this CA certificate (DER) is the one that the token names.
    pub(crate) fn check_ca(&self, certificate: &[u8]) -> Result<(), TokenError> {
        self.token.check_ca(certificate)
    }

    /// What is sent to cloudcore.
    pub(crate) fn bearer(&self) -> &str {
        self.token.bearer()
    }

    /// SHA-256 of the CA, in hexadecimal digits.
    pub(crate) fn ca_hash(&self) -> String {
        self.token.to_string().split('.').next().unwrap_or_default().to_owned()
    }

    /// Seconds since 1970.
    pub(crate) fn expires(&self) -> i64 {
        self.claims.exp
    }

    /// As people read it.
    pub(crate) fn valid_until(&self) -> String {
        let exp = self.claims.exp;
        jiff::Timestamp::from_second(exp).map_or_else(|_| exp.to_string(), |time| time.to_string())
    }

    /// The node that it is bound to, if it is.
    pub(crate) fn node(&self) -> Option<&str> {
        self.claims.node.as_deref()
    }
}
