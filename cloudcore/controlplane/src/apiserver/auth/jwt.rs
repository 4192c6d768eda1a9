//! JSON web tokens signed with ES256: just what service accounts need.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

/// No token of ours is longer.
const MAX: usize = 16 << 10;

/// Signs and verifies.
pub(super) struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    header: String,
}

impl Signer {
    /// From the PKCS#8 form of a P-256 key.
    pub(super) fn new(pkcs8: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random).ok()?;
        let id = BASE64.encode(Sha256::digest(key.public_key().as_ref()));
        let header = BASE64.encode(json!({"alg": "ES256", "kid": id, "typ": "JWT"}).to_string());
        Some(Self { key, random, header })
    }

    /// A token that says `claims`.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let claims = BASE64.encode(serde_json::to_vec(claims).ok()?);
        let signed = format!("{}.{claims}", self.header);
        let signature = self.key.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// The claims, if this key signed them. Says nothing about times.
    pub(super) fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        if token.len() > MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        // Ours carry exactly this header; whatever algorithm another names is not considered.
        let claims = signed.strip_prefix(&self.header)?.strip_prefix('.')?;
        let signature = BASE64.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn signer() -> Signer {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Signer::new(&key.serialize_der()).unwrap()
    }

    #[test]
    fn only_the_key_that_signed_a_token_takes_it() {
        let (ours, other) = (signer(), signer());
        let token = ours.sign(&json!({"sub": "x"})).unwrap();
        assert_eq!(ours.verify::<Value>(&token).unwrap()["sub"], "x");
        assert!(other.verify::<Value>(&token).is_none());
        let forged = token.replacen(&BASE64.encode(r#"{"sub":"x"}"#), &BASE64.encode(r#"{"sub":"y"}"#), 1);
        assert!(ours.verify::<Value>(&forged).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(text in "[a-zA-Z0-9._-]{0,120}") {
            prop_assert!(signer().verify::<Value>(&text).is_none());
        }
    }
}
