//! Bearer tokens: those we sign for service accounts, and those that the operator lists in `tokens.csv`.

use std::collections::HashMap;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::Value;

pub(crate) use super::claims::Named;
use super::claims::{Claims, Kubernetes, LegacyClaims};
use super::identity::{Extra, Identity};
use super::jwt::Signer;

/// Who signs, and the audience that this API is.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Who signs the tokens in secrets.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// For whom a service account token is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccountClaim<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    /// What the token dies with.
    pub(crate) bound: Option<Bound>,
    pub(crate) audiences: &'a [String],
    pub(crate) seconds: i64,
    /// The token is old after so many seconds, although it is good for longer.
    pub(crate) warn_after: Option<i64>,
}

/// What a token dies with, besides its service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A pod, and the node that it runs on.
    Pod(Named, Option<Named>),
    Secret(Named),
    Node(Named),
    /// The secret of this name, which holds this very token.
    Legacy {
        secret: String,
        token: String,
    },
}

/// A service account token that was verified: whether what it speaks for still exists is for the store to say.
pub(crate) struct Verified {
    pub(crate) namespace: String,
    pub(crate) account: Named,
    pub(crate) bound: Option<Bound>,
}

/// Looks up whether what a token speaks for is still there.
pub(crate) type Alive = Box<dyn Fn(&Verified) -> bool + Send + Sync>;

/// Who holds a token, and for which of the asked audiences it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) who: Identity,
    pub(crate) audiences: Vec<String>,
}

/// A token and for whom it is.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) token: String,
    pub(crate) audiences: Vec<String>,
}

/// All tokens that are accepted.
pub(crate) struct Tokens {
    signer: Signer,
    /// By digest, so that looking one up takes the same time whatever its beginning is.
    fixed: HashMap<Vec<u8>, Identity>,
    alive: Alive,
}

fn account(namespace: &str, name: &str, uid: &str, extra: Extra) -> Identity {
    Identity {
        user: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        extra,
        ..Identity::default()
    }
}

impl Tokens {
    /// `key` signs, `earlier` only verify; all are PKCS#8. `csv` has lines `token,user,uid,"group1,group2"`.
    pub(crate) fn new(key: &[u8], earlier: &[Vec<u8>], csv: &str, alive: Alive) -> Option<Self> {
        let fixed = csv.lines().filter_map(parse_line).collect();
        Some(Self { signer: Signer::new(key, earlier)?, fixed, alive })
    }

    /// The public keys, as a JSON web key set.
    pub(crate) fn keys(&self) -> Value {
        self.signer.keys()
    }

    /// Who holds `token`. It must be meant for one of `audiences`; for this API when there are none.
    pub(crate) fn verify(&self, token: &str, audiences: &[String]) -> Option<Seen> {
        let ours = [ISSUER.to_owned()];
        let audiences = if audiences.is_empty() { &ours } else { audiences };
        let own = |who: Identity| {
            let here = audiences.iter().any(|one| one == ISSUER);
            here.then(|| Seen { who, audiences: ours.to_vec() })
        };
        if let Some(known) = self.fixed.get(digest(&SHA256, token.as_bytes()).as_ref()) {
            return own(known.clone());
        }
        if let Some(legacy) = self.signer.verify::<LegacyClaims>(token) {
            return own(self.verify_legacy(legacy, token)?);
        }
        let claims: Claims = self.signer.verify(token)?;
        let now = Timestamp::now().as_second();
        if claims.iss != ISSUER || now >= claims.exp || now < claims.nbf {
            return None;
        }
        let audiences: Vec<String> =
            audiences.iter().filter(|asked| claims.aud.contains(asked)).cloned().collect();
        if audiences.is_empty() {
            return None;
        }
        let Kubernetes { namespace, serviceaccount, pod, secret, node, .. } = claims.kubernetes;
        let mut extra = Extra::new();
        let mut say = |key: &str, text: &str| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![text.to_owned()]);
        };
        say("credential-id", &format!("JTI={}", claims.jti));
        for (kind, named) in [("pod", &pod), ("node", &node)] {
            if let Some(named) = named {
                say(&format!("{kind}-name"), &named.name);
                say(&format!("{kind}-uid"), &named.uid);
            }
        }
        let bound = match (pod, secret, node) {
            (Some(pod), _, node) => Some(Bound::Pod(pod, node)),
            (None, Some(secret), _) => Some(Bound::Secret(secret)),
            (None, None, node) => node.map(Bound::Node),
        };
        let verified = Verified { namespace, account: serviceaccount, bound };
        let Verified { namespace, account: Named { name, uid }, .. } = &verified;
        let who = account(namespace, name, uid, extra);
        (self.alive)(&verified).then_some(Seen { who, audiences })
    }

    fn verify_legacy(&self, claims: LegacyClaims, token: &str) -> Option<Identity> {
        let LegacyClaims { iss, namespace, secret, name, uid, .. } = claims;
        let bound = Some(Bound::Legacy { secret, token: token.to_owned() });
        let verified = Verified { namespace, account: Named { name, uid }, bound };
        let Verified { namespace, account: Named { name, uid }, .. } = &verified;
        let who = account(namespace, name, uid, Extra::new());
        (iss == LEGACY_ISSUER && (self.alive)(&verified)).then_some(who)
    }

    /// Signs a token for a service account.
    pub(crate) fn issue(&self, claim: &ServiceAccountClaim<'_>) -> Option<Signed> {
        let now = Timestamp::now().as_second();
        let audiences =
            if claim.audiences.is_empty() { vec![ISSUER.to_owned()] } else { claim.audiences.to_vec() };
        let (pod, secret, node) = match claim.bound.clone() {
            Some(Bound::Pod(pod, node)) => (Some(pod), None, node),
            Some(Bound::Secret(secret)) => (None, Some(secret), None),
            Some(Bound::Node(node)) => (None, None, Some(node)),
            Some(Bound::Legacy { .. }) | None => (None, None, None),
        };
        let claims = Claims {
            aud: audiences.clone(),
            exp: now.checked_add(claim.seconds)?,
            iat: now,
            iss: ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", claim.namespace, claim.name),
            kubernetes: Kubernetes {
                namespace: claim.namespace.to_owned(),
                serviceaccount: Named { name: claim.name.to_owned(), uid: claim.uid.to_owned() },
                pod,
                secret,
                node,
                warnafter: claim.warn_after.map(|seconds| now + seconds),
            },
        };
        Some(Signed { token: self.signer.sign(&claims)?, audiences })
    }

    /// Signs the token that a secret of type `kubernetes.io/service-account-token` holds.
    pub(crate) fn issue_legacy(&self, namespace: &str, account: &Named, secret: &str) -> Option<String> {
        self.signer.sign(&LegacyClaims {
            iss: LEGACY_ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            name: account.name.clone(),
            uid: account.uid.clone(),
            sub: format!("system:serviceaccount:{namespace}:{}", account.name),
        })
    }
}

/// `token,user,uid,"group1,group2"`; the groups may be missing.
fn parse_line(line: &str) -> Option<(Vec<u8>, Identity)> {
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
    let who = Identity { user: user.to_owned(), uid: uid.to_owned(), groups, ..Identity::default() };
    Some((digest(&SHA256, token.as_bytes()).as_ref().to_vec(), who))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(csv: &str, alive: bool) -> Tokens {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Tokens::new(&key.serialize_der(), &[], csv, Box::new(move |_| alive)).unwrap()
    }

    fn claim(seconds: i64) -> ServiceAccountClaim<'static> {
        ServiceAccountClaim {
            namespace: "ns",
            name: "sa",
            uid: "u",
            bound: None,
            audiences: &[],
            seconds,
            warn_after: None,
        }
    }

    fn named(name: &str) -> Named {
        Named { name: name.to_owned(), uid: format!("{name}-uid") }
    }

    #[test]
    fn a_service_account_is_recognised_by_its_token_until_it_expires_or_is_deleted() {
        let ours = tokens("", true);
        let token = ours.issue(&claim(600)).unwrap().token;
        let who = ours.verify(&token, &[]).unwrap().who;
        assert_eq!((who.user.as_str(), who.uid.as_str()), ("system:serviceaccount:ns:sa", "u"));
        assert_eq!(who.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
        assert!(who.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
        assert!(ours.verify(&ours.issue(&claim(-1)).unwrap().token, &[]).is_none());
        let deleted = tokens("", false);
        assert!(deleted.verify(&deleted.issue(&claim(600)).unwrap().token, &[]).is_none());
    }

    #[test]
    fn a_pods_token_says_which_pod_and_node_hold_it() {
        let ours = tokens("", true);
        let bound = Some(Bound::Pod(named("p"), Some(named("n"))));
        let token = ours.issue(&ServiceAccountClaim { bound, ..claim(600) }).unwrap().token;
        let extra = ours.verify(&token, &[]).unwrap().who.extra;
        for (key, value) in
            [("pod-name", "p"), ("pod-uid", "p-uid"), ("node-name", "n"), ("node-uid", "n-uid")]
        {
            assert_eq!(extra[&format!("authentication.kubernetes.io/{key}")], [value]);
        }
    }

    #[test]
    fn a_token_for_another_audience_is_no_key_to_this_api() {
        let ours = tokens("", true);
        let audiences = ["vault".to_owned()];
        let token = ours.issue(&ServiceAccountClaim { audiences: &audiences, ..claim(600) }).unwrap();
        assert_eq!(token.audiences, audiences);
        assert!(ours.verify(&token.token, &[]).is_none());
        let asked = ["other".to_owned(), "vault".to_owned()];
        assert_eq!(ours.verify(&token.token, &asked).unwrap().audiences, audiences);
    }

    #[test]
    fn a_token_in_a_secret_has_no_end_but_dies_with_it() {
        let legacy = tokens("", true);
        let token = legacy.issue_legacy("ns", &named("sa"), "s").unwrap();
        assert_eq!(legacy.verify(&token, &[]).unwrap().who.user, "system:serviceaccount:ns:sa");
        assert!(legacy.verify(&token, &["vault".to_owned()]).is_none());
        let gone = tokens("", false);
        assert!(gone.verify(&gone.issue_legacy("ns", &named("sa"), "s").unwrap(), &[]).is_none());
    }

    #[test]
    fn the_operators_tokens_are_read_from_lines() {
        let ours = tokens("# comment\nsecret,bob,7,\"dev, ops\"\nplain,eve,8\n,nobody,1\n", true);
        let bob = ours.verify("secret", &[]).unwrap().who;
        assert_eq!((bob.user.as_str(), bob.uid.as_str()), ("bob", "7"));
        assert_eq!(bob.groups, ["dev", "ops"]);
        let eve = ours.verify("plain", &[]).unwrap().who;
        assert_eq!((eve.user.as_str(), eve.groups.len()), ("eve", 0));
        assert!(ours.verify("", &[]).is_none() && ours.verify("secre", &[]).is_none());
    }
}
