//! JSON web tokens signed with ES256: just what service accounts need.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// No token of ours is longer.
const MAX: usize = 16 << 10;

/// Signs, and verifies what it or one of its predecessors signed.
pub(super) struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// The own key first.
    known: Vec<Known>,
}

/// A key whose signatures are taken.
struct Known {
    /// Uncompressed point.
    point: Vec<u8>,
    id: String,
    header: String,
}

impl Known {
    fn new(point: &[u8]) -> Self {
        let id = BASE64.encode(Sha256::digest(point));
        let header = BASE64.encode(json!({"alg": "ES256", "kid": id, "typ": "JWT"}).to_string());
        Self { point: point.to_vec(), id, header }
    }

    /// As in RFC 7517. The point is one byte of form, then both coordinates.
    fn jwk(&self) -> Value {
        let (x, y) = self.point.get(1..65).unwrap_or(&[0; 64]).split_at(32);
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        })
    }
}

impl Signer {
    /// From the PKCS#8 form of P-256 keys: the one that signs, and earlier ones whose tokens are still good.
    pub(super) fn new(pkcs8: &[u8], earlier: &[Vec<u8>]) -> Option<Self> {
        let random = SystemRandom::new();
        let load =
            |pkcs8: &[u8]| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random).ok();
        let key = load(pkcs8)?;
        let mut known = vec![Known::new(key.public_key().as_ref())];
        for old in earlier {
            known.push(Known::new(load(old)?.public_key().as_ref()));
        }
        Some(Self { key, random, known })
    }

    /// The public keys, as a JSON web key set.
    pub(super) fn keys(&self) -> Value {
        json!({"keys": self.known.iter().map(Known::jwk).collect::<Vec<_>>()})
    }

    /// A token that says `claims`.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let claims = BASE64.encode(serde_json::to_vec(claims).ok()?);
        let signed = format!("{}.{claims}", self.known.first()?.header);
        let signature = self.key.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// The claims, if a known key signed them. Says nothing about times.
    pub(super) fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        if token.len() > MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        // Ours carry exactly such a header; whatever algorithm another names is not considered.
        let (header, claims) = signed.split_once('.')?;
        let known = self.known.iter().find(|known| known.header == header)?;
        let signature = BASE64.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &known.point)
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Vec<u8> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_der()
    }

    fn signer() -> Signer {
        Signer::new(&key(), &[]).unwrap()
    }

    #[test]
    fn after_a_change_of_keys_old_tokens_are_good_and_new_ones_are_signed_with_the_new_key() {
        let (old, new) = (key(), key());
        let before = Signer::new(&old, &[]).unwrap();
        let after = Signer::new(&new, std::slice::from_ref(&old)).unwrap();
        let token = before.sign(&json!({"sub": "x"})).unwrap();
        assert_eq!(after.verify::<Value>(&token).unwrap()["sub"], "x");
        let token = after.sign(&json!({"sub": "x"})).unwrap();
        assert!(before.verify::<Value>(&token).is_none());
        assert_eq!(after.keys()["keys"].as_array().unwrap().len(), 2);
        assert_eq!(after.keys()["keys"][1], before.keys()["keys"][0]);
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
