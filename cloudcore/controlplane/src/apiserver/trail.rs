//! What the audit log is told about one request, collected on its way through [`super::serve`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Api;
use super::auth::{Attributes, Identity, reason};
use super::call::Noted;
use super::http::{read, with_warnings};
use super::show::user_info;
use crate::audit::{AuditLog, Event, Level, Reference, Request, Stage, Told, What};
use crate::status::Status;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Larger answers are told without their body.
const MOST: usize = 4 << 20;
/// Ids that clients bring may be this long.
const ID: usize = 64;

/// Where a request came from; put into the request's extensions by whoever accepted it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source(pub(crate) IpAddr);

/// A request on its way.
pub(super) struct Trail {
    log: Option<Arc<AuditLog>>,
    id: String,
    told: Told,
    received: Timestamp,
    uri: String,
    verb: String,
    agent: String,
    source: String,
    user: Value,
    impersonated: Option<Value>,
    object: Option<Reference>,
    decision: Option<(bool, String)>,
    request: Option<Value>,
    noted: Noted,
}

impl Trail {
    pub(super) fn begin(api: &Api, parts: &Parts) -> Self {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let brought = text("audit-id").filter(|id| !id.is_empty() && id.len() <= ID);
        let id = brought.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let mut trail = Self {
            log: api.audit.clone(),
            id,
            told: Told::NOTHING,
            received: Timestamp::UNIX_EPOCH,
            uri: String::new(),
            verb: String::new(),
            agent: String::new(),
            source: String::new(),
            user: json!({}),
            impersonated: None,
            object: None,
            decision: None,
            request: None,
            noted: Noted::default(),
        };
        if let Some(log) = &trail.log {
            trail.received = Timestamp::now();
            trail.uri = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            trail.verb = parts.method.as_str().to_ascii_lowercase();
            trail.agent = text("user-agent").unwrap_or_default().to_owned();
            let source = parts.extensions.get::<Source>();
            trail.source =
                source.map_or_else(|| "127.0.0.1".to_owned(), |Source(address)| address.to_string());
            // Until it is known who asks for what; enough for those who are turned away before.
            let what = What::Path(parts.uri.path());
            trail.told = log.told(&Request { user: "", groups: &[], verb: &trail.verb, what });
        }
        trail
    }

    /// Who asks for what, and whether they may.
    pub(super) fn decided(
        &mut self,
        api: &Api,
        who: &Identity,
        asks: Attributes<'_>,
        version: &str,
        allowed: bool,
    ) {
        let Some(log) = &self.log else { return };
        let speaker = who.speaker.as_deref();
        self.user = user_info(speaker.unwrap_or(who));
        self.impersonated = speaker.map(|_| user_info(who));
        let what = match asks {
            Attributes::Path { verb, path } => {
                verb.clone_into(&mut self.verb);
                What::Path(path)
            }
            Attributes::Resource { verb, group, resource, namespace, name, .. } => {
                verb.clone_into(&mut self.verb);
                let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                self.object = Some(Reference {
                    resource: plural.to_owned(),
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    group: group.to_owned(),
                    version: version.to_owned(),
                    subresource: subresource.to_owned(),
                });
                What::Resource { group, resource, namespace, name }
            }
        };
        let told_as = speaker.unwrap_or(who);
        self.told =
            log.told(&Request { user: &told_as.user, groups: &told_as.groups, verb: &self.verb, what });
        if self.told.level != Level::None {
            self.decision =
                Some((allowed, if allowed { reason(&api.store, who, asks) } else { String::new() }));
        }
    }

    /// What admission said about it.
    pub(super) fn noted(&mut self, noted: Noted) {
        self.noted = noted;
    }

    /// Keeps a copy of the body, if it is told.
    pub(super) async fn body(&mut self, body: Body) -> Result<Body, Status> {
        if self.told.level < Level::Request || matches!(self.verb.as_str(), "get" | "list" | "watch") {
            return Ok(body);
        }
        let bytes = read(body).await?;
        self.request = document(&bytes);
        Ok(Body::from(bytes))
    }

    /// Tells how it ended, and gives the answer its id.
    pub(super) async fn end(self, answer: Result<Response, Status>) -> Response {
        let (status, mut response) = match answer {
            Ok(response) => (json!({"metadata": {}, "code": response.status().as_u16()}), response),
            Err(status) => {
                let mut failed = status.to_value();
                if let Some(map) = failed.as_object_mut() {
                    map.shift_remove("kind");
                    map.shift_remove("apiVersion");
                }
                (failed, super::http::failure(&status))
            }
        };
        response = with_warnings(response, &self.noted.warnings);
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            response.headers_mut().insert(AUDIT_ID, id);
        }
        let Some(log) = self.log.clone().filter(|_| self.told.level != Level::None) else { return response };
        if self.verb == "watch" && response.status().is_success() {
            if self.told.tells(Stage::ResponseStarted) {
                log.tell(&self.event(Stage::ResponseStarted, &status, None)).await;
            }
            let done = Done { trail: self, log, status };
            return response
                .map(|inner| Body::new(Rest { begun: VecDeque::new(), rest: inner, _done: Some(done) }));
        }
        if !self.told.tells(Stage::ResponseComplete) {
            return response;
        }
        let (response, told) =
            if self.told.level == Level::RequestResponse { copied(response).await } else { (response, None) };
        log.tell(&self.event(Stage::ResponseComplete, &status, told)).await;
        response
    }

    fn event(&self, stage: Stage, status: &Value, response: Option<Value>) -> Event<'_> {
        Event {
            level: self.told.level,
            id: &self.id,
            stage,
            uri: &self.uri,
            verb: &self.verb,
            user: self.user.clone(),
            impersonated: self.impersonated.clone(),
            source: &self.source,
            agent: &self.agent,
            object: self.object.as_ref(),
            status: status.clone(),
            request: self.request.clone(),
            response,
            received: self.received,
            now: Timestamp::now(),
            decision: self.decision.as_ref().map(|(allowed, reason)| (*allowed, reason.as_str())),
            noted: &self.noted.annotations,
        }
    }
}

/// A body as it is told; what is no JSON is not.
fn document(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// The answer, and its body as it is told: not at all when it is too large.
async fn copied(response: Response) -> (Response, Option<Value>) {
    let (parts, mut rest) = response.into_parts();
    let (mut copy, mut frames) = (Vec::new(), VecDeque::new());
    while copy.len() <= MOST {
        let Some(frame) = rest.frame().await else {
            let told = document(&copy);
            return (Response::from_parts(parts, Body::from(copy)), told);
        };
        if let Ok(frame) = &frame
            && let Some(data) = frame.data_ref()
        {
            copy.extend_from_slice(data);
        }
        frames.push_back(frame);
    }
    (Response::from_parts(parts, Body::new(Rest { begun: frames, rest, _done: None })), None)
}

/// A body, of which the beginning may have been taken off already.
struct Rest {
    begun: VecDeque<Result<Frame<Bytes>, axum::Error>>,
    rest: Body,
    _done: Option<Done>,
}

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.begun.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }
}

/// Tells of the end of a watch when it is dropped.
struct Done {
    trail: Trail,
    log: Arc<AuditLog>,
    status: Value,
}

impl Drop for Done {
    fn drop(&mut self) {
        if self.trail.told.tells(Stage::ResponseComplete) {
            self.log.tell_now(&self.trail.event(Stage::ResponseComplete, &self.status, None));
        }
    }
}
