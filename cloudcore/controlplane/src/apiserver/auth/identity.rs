//! The caller.

use http::{HeaderMap, header};

use super::tokens::Tokens;
use crate::pki::Subject;
use crate::status::{Reason, Status};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Uid of the user, empty when unknown.
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
}

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
        Self { user: user.to_owned(), uid: uid.to_owned(), groups }
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self {
            user: "system:anonymous".to_owned(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".to_owned()],
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
    /// 401 for a token that nobody issued; 403 for speaking in another's name without the right to.
    pub(crate) fn of(peer: &Peer, headers: &HeaderMap, tokens: &Tokens) -> Result<Self, Status> {
        let caller = match peer {
            Peer::InProcess => Self::authenticated("system:cloudcore", "", &["system:masters".to_owned()]),
            Peer::Tls(Some(subject)) => Self::authenticated(&subject.name, "", &subject.groups),
            Peer::Tls(None) => match bearer(headers) {
                Some(token) => {
                    let (user, uid, groups) = tokens.verify(token).ok_or_else(Status::unauthorized)?;
                    Self::authenticated(&user, &uid, &groups)
                }
                None => Self::anonymous(),
            },
        };
        caller.impersonate(headers)
    }

    /// `kubectl --as`: masters may speak for others.
    fn impersonate(self, headers: &HeaderMap) -> Result<Self, Status> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let asked = headers.keys().any(|name| name.as_str().starts_with("impersonate-"));
        if !asked {
            return Ok(self);
        }
        let Some(user) = text("impersonate-user") else {
            return Err(Status::bad_request("requested impersonation without a user: set Impersonate-User"));
        };
        if !self.is_master() {
            let why = format!(
                "User \"{}\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
                self.user
            );
            return Err(Status::new(Reason::Forbidden, format!("users \"{user}\" is forbidden: {why}")));
        }
        if user == "system:anonymous" {
            return Ok(Self::anonymous());
        }
        let groups: Vec<String> = headers
            .get_all("impersonate-group")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect();
        Ok(Self::authenticated(user, text("impersonate-uid").unwrap_or_default(), &groups))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
