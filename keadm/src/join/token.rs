use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// A join token as an edge can read it: it can check the CA's hash and the expiry, but not the signature, which is
/// cloudcore's to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    ca_hash: String,
    /// What is sent to cloudcore: header, claims and signature.
    jwt: String,
    claims: Claims,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Claims {
    exp: i64,
    /// The only node that may use this token.
    node: Option<String>,
}

/// Why a text is not a join token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("it has {0} parts joined by dots, and a token has 4; it may have been cut when it was copied")]
    Parts(usize),
    #[error("its first part is not the SHA-256 of a CA, which is 64 hexadecimal digits")]
    Hash,
    #[error("its claims cannot be read: {0}")]
    Claims(String),
}

impl Token {
    pub(crate) fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let [hash, header, claims, signature] = parts[..] else {
            return Err(TokenError::Parts(parts.len()));
        };
        if hash.len() != 64 || !hash.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(TokenError::Hash);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(claims.trim_end_matches('='))
            .map_err(|error| TokenError::Claims(error.to_string()))?;
        let read = serde_json::from_slice(&bytes).map_err(|error| TokenError::Claims(error.to_string()))?;
        Ok(Self { ca_hash: hash.to_owned(), jwt: format!("{header}.{claims}.{signature}"), claims: read })
    }

    pub(crate) fn ca_hash(&self) -> &str {
        &self.ca_hash
    }

    pub(crate) fn jwt(&self) -> &str {
        &self.jwt
    }

    /// Seconds since 1970.
    pub(crate) fn expires(&self) -> i64 {
        self.claims.exp
    }

    /// As people read it.
    pub(crate) fn valid_until(&self) -> String {
        jiff::Timestamp::from_second(self.claims.exp)
            .map_or_else(|_| self.claims.exp.to_string(), |time| time.to_string())
    }

    /// The node that it is bound to, if it is.
    pub(crate) fn node(&self) -> Option<&str> {
        self.claims.node.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("{}.eyJhbGciOiJIUzI1NiJ9.{}.c2ln", "0a".repeat(32), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_tells_its_ca_its_expiry_and_its_node() {
        let parsed = Token::parse(&format!(" {}\n", token(r#"{"exp":1767225600,"node":"edge1"}"#))).unwrap();
        assert_eq!(parsed.ca_hash(), "0a".repeat(32));
        assert_eq!(parsed.expires(), 1_767_225_600);
        assert_eq!(parsed.node(), Some("edge1"));
        assert!(parsed.jwt().starts_with("eyJhbGciOiJIUzI1NiJ9."));
        assert_eq!(Token::parse(&token(r#"{"exp":1}"#)).unwrap().node(), None);
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said() {
        assert_eq!(Token::parse("abc"), Err(TokenError::Parts(1)));
        assert_eq!(Token::parse("a.b.c.d"), Err(TokenError::Hash));
        assert!(matches!(Token::parse(&token("{}")), Err(TokenError::Claims(_))));
    }
}
