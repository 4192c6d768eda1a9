//! The caller.

use std::collections::BTreeMap;

use http::{HeaderMap, header};

use super::rights::{Attributes, denial};
use super::tokens::Tokens;
use crate::pki::Subject;
use crate::status::Status;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Uid of the user, empty when unknown.
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
    /// What else is known of the caller: the credential, the pod that holds it.
    pub extra: Extra,
    /// Who speaks in this name, when it is somebody else.
    pub speaker: Option<Box<Identity>>,
}

/// Values by name, as in `userInfo.extra`.
pub type Extra = BTreeMap<String, Vec<String>>;

/// What the transport knows about the other side; put into the request's extensions by whoever accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This process itself.
    InProcess,
    /// A TLS client, with the subject of its verified certificate if it sent one.
    Tls(Option<Subject>),
}

impl Identity {
    fn authenticated(user: &str, uid: &str, groups: &[String]) -> Self {
        let mut groups = groups.to_vec();
        if !groups.iter().any(|group| group == "system:authenticated") {
            groups.push("system:authenticated".to_owned());
        }
        Self { user: user.to_owned(), uid: uid.to_owned(), groups, ..Self::default() }
    }

    /// The node whose agent the caller is.
    pub fn node(&self) -> Option<&str> {
        self.user
            .strip_prefix("system:node:")
            .filter(|name| !name.is_empty() && self.in_group("system:nodes"))
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self {
            user: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// Whether the caller may do everything.
    pub fn is_master(&self) -> bool {
        self.in_group("system:masters")
    }

    /// Whether the caller is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one == group)
    }

    /// Finds out who sent a request.
    ///
    /// # Errors
    /// 401 for a token that nobody issued; 403 for speaking in another's name without the right to, of which `may` decides.
    pub(crate) fn of(
        peer: &Peer,
        headers: &HeaderMap,
        tokens: &Tokens,
        may: impl Fn(&Self, Attributes<'_>) -> bool,
    ) -> Result<Self, Status> {
        let caller = match peer {
            Peer::InProcess => Self::authenticated("system:cloudcore", "", &["system:masters".to_owned()]),
            Peer::Tls(Some(subject)) => Self::authenticated(&subject.name, "", &subject.groups),
            Peer::Tls(None) => match bearer(headers) {
                Some(token) => {
                    let holder = tokens.verify(token, &[]).ok_or_else(Status::unauthorized)?.who;
                    Self {
                        extra: holder.extra,
                        ..Self::authenticated(&holder.user, &holder.uid, &holder.groups)
                    }
                }
                None => Self::anonymous(),
            },
        };
        caller.impersonate(headers, may)
    }

    /// `kubectl --as`: the verb `impersonate` on the user or service account, and on every group.
    fn impersonate(
        self,
        headers: &HeaderMap,
        may: impl Fn(&Self, Attributes<'_>) -> bool,
    ) -> Result<Self, Status> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let asked = headers.keys().any(|name| name.as_str().starts_with("impersonate-"));
        if !asked {
            return Ok(self);
        }
        let Some(user) = text("impersonate-user") else {
            return Err(Status::bad_request("requested impersonation without a user: set Impersonate-User"));
        };
        let check = |group: &str, resource: &str, namespace: &str, name: &str| {
            let what =
                Attributes::Resource { verb: "impersonate", group, resource, namespace, name, fields: "" };
            if may(&self, what) { Ok(()) } else { Err(denial(&self, what)) }
        };
        let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        match account {
            Some((namespace, name)) => check("", "serviceaccounts", namespace, name)?,
            None => check("", "users", "", user)?,
        }
        let uid = text("impersonate-uid").unwrap_or_default();
        if !uid.is_empty() {
            check("authentication.k8s.io", "uids", "", uid)?;
        }
        let mut groups = Vec::new();
        for value in headers.get_all("impersonate-group") {
            let group = value
                .to_str()
                .map_err(|_| Status::bad_request("Impersonate-Group must be printable ASCII"))?;
            check("", "groups", "", group)?;
            groups.push(group.to_owned());
        }
        if user == "system:anonymous" {
            return Ok(Self { speaker: Some(Box::new(self)), ..Self::anonymous() });
        }
        if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
            groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        }
        let mut extra = Extra::new();
        for (name, value) in headers {
            let Some(key) = name.as_str().strip_prefix("impersonate-extra-") else { continue };
            let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
            let value = value
                .to_str()
                .map_err(|_| Status::bad_request("Impersonate-Extra must be printable ASCII"))?;
            check("authentication.k8s.io", &format!("userextras/{key}"), "", value)?;
            extra.entry(key).or_default().push(value.to_owned());
        }
        let other = Self { extra, ..Self::authenticated(user, uid, &groups) };
        Ok(Self { speaker: Some(Box::new(self)), ..other })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
