//! Kubernetes `Status`: every error that leaves the API server, with the exact texts that clients match on.
//!
//! Plain data, calls nothing. The store, the registry, patches and the HTTP layer all return it; the HTTP layer renders it.

mod field;

pub use field::{CauseReason, FieldError};

use http::StatusCode;
use serde_json::{Map, Value, json};

/// Machine-readable reason, as in `metav1.StatusReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 406
    NotAcceptable,
    /// 409, the name is taken.
    AlreadyExists,
    /// 409, somebody else wrote first or a precondition failed.
    Conflict,
    /// 410, the asked revision is compacted.
    Expired,
    /// 413
    RequestEntityTooLarge,
    /// 415
    UnsupportedMediaType,
    /// 422
    Invalid,
    /// 429
    TooManyRequests,
    /// 500
    InternalError,
    /// 503
    ServiceUnavailable,
    /// 504
    Timeout,
    /// 500, of which Kubernetes says nothing but the message.
    Unknown,
}

impl Reason {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
            Self::Unknown => "",
        }
    }

    /// The HTTP status that goes with the reason.
    pub fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::AlreadyExists | Self::Conflict => StatusCode::CONFLICT,
            Self::Expired => StatusCode::GONE,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::InternalError | Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// For example `FieldValueRequired` or `NamespaceTerminating`.
    pub reason: String,
    /// What is wrong, without the field's path.
    pub message: String,
    /// Path of the field, empty when the cause has none.
    pub field: String,
}

/// What the failure was about. Empty parts are left out on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group, empty for core.
    pub group: String,
    /// The *resource* for lookup errors, the *Kind* for `Invalid`, as Kubernetes has it.
    pub kind: String,
    /// Uid of the object.
    pub uid: String,
    /// One entry per thing that is wrong.
    pub causes: Vec<Cause>,
    /// Ask again after so many seconds; 0 means nothing is said.
    pub retry_after_seconds: u32,
    /// Token with which a list goes on all the same; in the status's metadata.
    pub go_on: String,
    /// Code and reason as somebody else gave them, in the place of the status's own.
    pub said: Option<(StatusCode, String)>,
}

/// A failure in Kubernetes' own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people: what kubectl prints after `Error from server (Reason): `.
    pub message: String,
    /// About what.
    pub details: Box<Details>,
}

impl Status {
    /// A status with no details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), details: Box::default() }
    }

    fn about(reason: Reason, group: &str, kind: &str, name: &str, message: String) -> Self {
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        };
        Self { reason, message, details: Box::new(details) }
    }

    /// The request itself makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// No or wrong credentials.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// `pods "x" is forbidden: why`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(resource, group))
        } else {
            format!("{} \"{name}\" is forbidden: {why}", qualified(resource, group))
        };
        Self::about(Reason::Forbidden, group, resource, name, message)
    }

    /// `pods "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(resource, group));
        Self::about(Reason::NotFound, group, resource, name, message)
    }

    /// A path inside a served group and version that names nothing.
    pub fn no_such_resource() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource")
    }

    /// `pods "x" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(resource, group));
        Self::about(Reason::AlreadyExists, group, resource, name, message)
    }

    /// `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(resource, group));
        Self::about(Reason::Conflict, group, resource, name, message)
    }

    /// The conflict of optimistic concurrency: the object changed since the client read it.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// `Pod "x" is invalid: [everything that is wrong]`.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let list = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let list = if errors.len() == 1 { list } else { format!("[{list}]") };
        let message = format!("{} \"{name}\" is invalid: {list}", qualified(kind, group));
        let mut status = Self::about(Reason::Invalid, group, kind, name, message);
        status.details.causes = errors.iter().map(FieldError::cause).collect();
        status
    }

    /// The asked revision is older than the history that is kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(Reason::MethodNotAllowed, message)
    }

    /// 415, listing what would have been accepted.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(Reason::UnsupportedMediaType, message)
    }

    /// 406, listing what could have been sent.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", offered.join(", "));
        Self::new(Reason::NotAcceptable, message)
    }

    /// Our own fault.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// Adds one cause.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        let cause = Cause { reason: reason.to_owned(), message: message.to_owned(), field: field.to_owned() };
        self.details.causes.push(cause);
        self
    }

    /// Asks the client to come back after `seconds`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.retry_after_seconds = seconds;
        self
    }

    /// The HTTP status of the answer.
    pub fn code(&self) -> StatusCode {
        self.details.said.as_ref().map_or_else(|| self.reason.code(), |(code, _)| *code)
    }

    /// The object on the wire.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message,
        });
        let reason = self.details.said.as_ref().map_or_else(|| self.reason.as_str(), |(_, reason)| reason);
        if !reason.is_empty() {
            status["reason"] = json!(reason);
        }
        let details = self.details.to_value();
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        if !self.details.go_on.is_empty() {
            status["metadata"]["continue"] = json!(self.details.go_on);
        }
        status["code"] = json!(self.code().as_u16());
        status
    }
}

impl Details {
    fn to_value(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                out.insert(key.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            out.insert("causes".to_owned(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".to_owned(), json!(self.retry_after_seconds));
        }
        out
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut out = json!({"reason": self.reason, "message": self.message});
        if self.reason.is_empty() {
            out.as_object_mut().and_then(|cause| cause.shift_remove("reason"));
        }
        if !self.field.is_empty() {
            out["field"] = json!(self.field);
        }
        out
    }
}

/// `deployments.apps`, or just `pods` for the core group.
pub fn qualified(resource_or_kind: &str, group: &str) -> String {
    if group.is_empty() { resource_or_kind.to_owned() } else { format!("{resource_or_kind}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_deployment_reads_as_kubernetes_says_it() {
        let status = Status::not_found("apps", "deployments", "nope");
        assert_eq!(status.message, "deployments.apps \"nope\" not found");
        assert_eq!(
            status.to_value(),
            json!({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
                "message":"deployments.apps \"nope\" not found","reason":"NotFound",
                "details":{"name":"nope","group":"apps","kind":"deployments"},"code":404})
        );
    }

    #[test]
    fn one_field_error_has_no_brackets_and_several_have() {
        let one = [FieldError::required("spec.containers", "")];
        assert_eq!(
            Status::invalid("", "Pod", "z", &one).message,
            "Pod \"z\" is invalid: spec.containers: Required value"
        );
        let two = [
            FieldError::required("spec.containers[1].image", ""),
            FieldError::duplicate("spec.containers[1].name", &json!("c")),
        ];
        let status = Status::invalid("", "Pod", "z", &two);
        assert_eq!(
            status.message,
            "Pod \"z\" is invalid: [spec.containers[1].image: Required value, spec.containers[1].name: Duplicate value: \"c\"]"
        );
        assert_eq!(status.details.causes[1].reason, "FieldValueDuplicate");
        assert_eq!(status.details.causes[1].message, "Duplicate value: \"c\"");
    }
}
