//! Bearer tokens: those we sign for service accounts, and those that the operator lists in `tokens.csv`.

use std::collections::HashMap;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::jwt::Signer;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// For whom a service account token is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccountClaim<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    /// Kind, name and uid of the pod or secret that the token dies with.
    pub(crate) bound: Option<(&'a str, &'a str, &'a str)>,
    pub(crate) audiences: &'a [String],
    pub(crate) seconds: i64,
}

/// A token and when it ends.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) token: String,
    pub(crate) expires: Timestamp,
    pub(crate) audiences: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Named {
    name: String,
    uid: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Named>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    nbf: i64,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

/// A service account token that was verified: whether the account still exists is for the caller to see.
pub(crate) struct Verified {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) pod: Option<(String, String)>,
}

/// Looks up whether what a token speaks for is still there.
pub(crate) type Alive = Box<dyn Fn(&Verified) -> bool + Send + Sync>;

/// User, uid and groups of whoever holds a token.
type Holder = (String, String, Vec<String>);

/// All tokens that are accepted.
pub(crate) struct Tokens {
    signer: Signer,
    /// By digest, so that looking one up takes the same time whatever its beginning is.
    fixed: HashMap<Vec<u8>, Holder>,
    alive: Alive,
}

impl Tokens {
    /// `key` is PKCS#8, `csv` has lines `token,user,uid,"group1,group2"`.
    pub(crate) fn new(key: &[u8], csv: &str, alive: Alive) -> Option<Self> {
        let fixed = csv.lines().filter_map(parse_line).collect();
        Some(Self { signer: Signer::new(key)?, fixed, alive })
    }

    /// User, uid and groups of whoever holds `token`.
    pub(crate) fn verify(&self, token: &str) -> Option<Holder> {
        if let Some(known) = self.fixed.get(digest(&SHA256, token.as_bytes()).as_ref()) {
            return Some(known.clone());
        }
        let claims: Claims = self.signer.verify(token)?;
        let now = Timestamp::now().as_second();
        let ours = claims.iss == ISSUER && claims.aud.iter().any(|audience| audience == ISSUER);
        if !ours || now >= claims.exp || now < claims.nbf {
            return None;
        }
        let Kubernetes { namespace, serviceaccount: Named { name, uid }, pod, .. } = claims.kubernetes;
        let verified = Verified { namespace, name, uid, pod: pod.map(|pod| (pod.name, pod.uid)) };
        if !(self.alive)(&verified) {
            return None;
        }
        let Verified { namespace, name, uid, .. } = verified;
        let groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        Some((format!("system:serviceaccount:{namespace}:{name}"), uid, groups))
    }

    /// Signs a token for a service account.
    pub(crate) fn issue(&self, claim: &ServiceAccountClaim<'_>) -> Option<Signed> {
        let now = Timestamp::now();
        let audiences =
            if claim.audiences.is_empty() { vec![ISSUER.to_owned()] } else { claim.audiences.to_vec() };
        let expires = Timestamp::from_second(now.as_second() + claim.seconds).ok()?;
        let bound = |kind: &str| {
            let (of, name, uid) = claim.bound?;
            (of == kind).then(|| Named { name: name.to_owned(), uid: uid.to_owned() })
        };
        let claims = Claims {
            aud: audiences.clone(),
            exp: expires.as_second(),
            iat: now.as_second(),
            iss: ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now.as_second(),
            sub: format!("system:serviceaccount:{}:{}", claim.namespace, claim.name),
            kubernetes: Kubernetes {
                namespace: claim.namespace.to_owned(),
                serviceaccount: Named { name: claim.name.to_owned(), uid: claim.uid.to_owned() },
                pod: bound("Pod"),
                secret: bound("Secret"),
                node: bound("Node"),
            },
        };
        Some(Signed { token: self.signer.sign(&claims)?, expires, audiences })
    }
}

/// `token,user,uid,"group1,group2"`; the groups may be missing.
fn parse_line(line: &str) -> Option<(Vec<u8>, Holder)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let mut parts = line.splitn(4, ',').map(str::trim);
    let (token, user, uid) = (parts.next()?, parts.next()?, parts.next()?);
    if token.is_empty() || user.is_empty() {
        tracing::warn!("a line of tokens.csv has no token or no user and is left out");
        return None;
    }
    let groups = parts.next().unwrap_or_default().trim_matches('"').split(',').map(str::trim);
    let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
    Some((digest(&SHA256, token.as_bytes()).as_ref().to_vec(), (user.to_owned(), uid.to_owned(), groups)))
}

impl Signed {
    /// The `status` of a TokenRequest.
    pub(crate) fn status(&self) -> serde_json::Value {
        let expires = self.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        json!({"token": self.token, "expirationTimestamp": expires})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(csv: &str, alive: bool) -> Tokens {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Tokens::new(&key.serialize_der(), csv, Box::new(move |_| alive)).unwrap()
    }

    fn claim(seconds: i64) -> ServiceAccountClaim<'static> {
        ServiceAccountClaim { namespace: "ns", name: "sa", uid: "u", bound: None, audiences: &[], seconds }
    }

    #[test]
    fn a_service_account_is_recognised_by_its_token_until_it_expires_or_is_deleted() {
        let ours = tokens("", true);
        let token = ours.issue(&claim(600)).unwrap().token;
        let (user, uid, groups) = ours.verify(&token).unwrap();
        assert_eq!((user.as_str(), uid.as_str()), ("system:serviceaccount:ns:sa", "u"));
        assert_eq!(groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
        assert!(ours.verify(&ours.issue(&claim(-1)).unwrap().token).is_none());
        let deleted = tokens("", false);
        assert!(deleted.verify(&deleted.issue(&claim(600)).unwrap().token).is_none());
    }

    #[test]
    fn a_token_for_another_audience_is_no_key_to_this_api() {
        let ours = tokens("", true);
        let audiences = ["vault".to_owned()];
        let token = ours.issue(&ServiceAccountClaim { audiences: &audiences, ..claim(600) }).unwrap();
        assert_eq!(token.audiences, audiences);
        assert!(ours.verify(&token.token).is_none());
    }

    #[test]
    fn the_operators_tokens_are_read_from_lines() {
        let ours = tokens("# comment\nsecret,bob,7,\"dev, ops\"\nplain,eve,8\n,nobody,1\n", true);
        assert_eq!(
            ours.verify("secret"),
            Some(("bob".to_owned(), "7".to_owned(), vec!["dev".to_owned(), "ops".to_owned()]))
        );
        assert_eq!(ours.verify("plain"), Some(("eve".to_owned(), "8".to_owned(), vec![])));
        assert!(ours.verify("").is_none() && ours.verify("secre").is_none());
    }
}
