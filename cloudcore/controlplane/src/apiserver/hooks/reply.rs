//! What a webhook answered.
//!
//! Pure. Source: Kubernetes v1.36 `apiserver/pkg/admission/plugin/webhook/request/admissionreview.go` and `webhook/errors`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::schema::Json;
use crate::status::{Cause, Reason, Status};

const VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// An answer that can be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reply {
    pub(super) allowed: bool,
    /// Text of a patch, when there is one.
    pub(super) patch: Option<Vec<u8>>,
    pub(super) patch_type: String,
    /// Why not.
    pub(super) status: Value,
    pub(super) warnings: Vec<String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is no review at all.
    NoReview(String),
    /// It is one against the rules.
    Wrong(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    #[serde(default)]
    status: Value,
    patch: Option<String>,
    patch_type: Option<String>,
    warnings: Option<Vec<String>>,
    audit_annotations: Option<BTreeMap<String, String>>,
}

// === impl Reply ===

impl Reply {
    /// Reads the answer to the review `uid`.
    pub(super) fn read(body: &[u8], uid: &str, mutating: bool) -> Result<Self, Flaw> {
        let review: Review = serde_json::from_slice(body).map_err(|error| {
            Flaw::NoReview(format!("couldn't get version/kind; json parse error: {error}"))
        })?;
        let wrong = |why: String| Err(Flaw::Wrong(why));
        let Some(response) = review.response else { return wrong("webhook response was absent".to_owned()) };
        if response.uid != uid {
            return wrong(format!("expected response.uid={uid:?}, got {:?}", response.uid));
        }
        if (review.api_version.as_str(), review.kind.as_str()) != (VERSION, KIND) {
            let (group, version) = review.api_version.rsplit_once('/').unwrap_or(("", &review.api_version));
            let found = format!("{group}/{version}, Kind={}", review.kind);
            return wrong(format!("expected webhook response of {VERSION}, Kind={KIND}, got {found}"));
        }
        let patch = response.patch.filter(|patch| !patch.is_empty());
        let patch = match patch.map(|text| STANDARD.decode(text)).transpose() {
            Ok(patch) => patch.filter(|patch| !patch.is_empty()),
            Err(error) => return Err(Flaw::NoReview(format!("response.patch: {error}"))),
        };
        match (mutating, &patch, response.patch_type.as_deref()) {
            (true, Some(_), None) => {
                return wrong("webhook returned response.patch but not response.patchType".to_owned());
            }
            (true, None, Some(_)) => {
                return wrong("webhook returned response.patchType but not response.patch".to_owned());
            }
            (true, Some(_), Some("")) => {
                return wrong("webhook returned invalid response.patchType of \"\"".to_owned());
            }
            (false, Some(_), _) => {
                return wrong("validating webhook may not return response.patch".to_owned());
            }
            (false, None, Some(_)) => {
                return wrong("validating webhook may not return response.patchType".to_owned());
            }
            _ => {}
        }
        Ok(Self {
            allowed: response.allowed,
            patch,
            patch_type: response.patch_type.unwrap_or_default(),
            status: response.status,
            warnings: response.warnings.unwrap_or_default(),
            annotations: response.audit_annotations.unwrap_or_default(),
        })
    }

    /// The refusal as the client gets it: code, reason and details are the webhook's own.
    pub(super) fn denial(&self, webhook: &str) -> Status {
        let status = &self.status;
        let (message, reason) = (status.text("/message"), status.text("/reason"));
        let denied = format!("admission webhook \"{webhook}\" denied the request");
        let message = match (message, reason) {
            ("", "") => format!("{denied} without explanation"),
            ("", reason) => format!("{denied}: {reason}"),
            (message, _) => format!("{denied}: {message}"),
        };
        let code = status.int("/code").and_then(|code| u16::try_from(code).ok());
        let code = code.and_then(|code| StatusCode::from_u16(code).ok()).filter(|code| code.as_u16() >= 400);
        let mut denial = Status::new(Reason::Unknown, message);
        let details = &mut denial.details;
        details.said = Some((code.unwrap_or(StatusCode::BAD_REQUEST), reason.to_owned()));
        for (field, place) in [
            ("name", &mut details.name),
            ("group", &mut details.group),
            ("kind", &mut details.kind),
            ("uid", &mut details.uid),
        ] {
            status.text(&format!("/details/{field}")).clone_into(place);
        }
        let seconds =
            status.int("/details/retryAfterSeconds").and_then(|seconds| u32::try_from(seconds).ok());
        details.retry_after_seconds = seconds.unwrap_or(0);
        details.causes = status.list("/details/causes").iter().map(cause).collect();
        denial
    }
}

fn cause(cause: &Value) -> Cause {
    Cause {
        reason: cause.text("/reason").to_owned(),
        message: cause.text("/message").to_owned(),
        field: cause.text("/field").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(response: Value, mutating: bool) -> Result<Reply, Flaw> {
        let review = json!({"apiVersion": VERSION, "kind": KIND, "response": response});
        Reply::read(review.to_string().as_bytes(), "u", mutating)
    }

    fn wrong(why: &str) -> Result<Reply, Flaw> {
        Err(Flaw::Wrong(why.to_owned()))
    }

    #[test]
    fn an_answer_must_keep_the_rules() {
        assert!(read(json!({"uid": "u", "allowed": true}), false).unwrap().allowed);
        assert!(!read(json!({"uid": "u"}), false).unwrap().allowed);
        assert_eq!(read(Value::Null, true), wrong("webhook response was absent"));
        assert_eq!(read(json!({"uid": "v"}), true), wrong("expected response.uid=\"u\", got \"v\""));
        let patch = STANDARD.encode("[]");
        assert_eq!(
            read(json!({"uid": "u", "patch": patch}), true),
            wrong("webhook returned response.patch but not response.patchType")
        );
        assert_eq!(
            read(json!({"uid": "u", "patchType": "JSONPatch"}), true),
            wrong("webhook returned response.patchType but not response.patch")
        );
        assert_eq!(
            read(json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"}), false),
            wrong("validating webhook may not return response.patch")
        );
        assert_eq!(
            read(json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"}), true).unwrap().patch,
            Some(b"[]".to_vec())
        );
        let other = json!({"apiVersion": "v1", "kind": "Pod", "response": {"uid": "u", "allowed": true}});
        assert_eq!(
            Reply::read(other.to_string().as_bytes(), "u", false),
            wrong(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Pod"
            )
        );
    }

    #[test]
    fn a_refusal_says_what_the_webhook_says_and_never_that_all_is_well() {
        let denial = |status: Value| {
            let reply = read(json!({"uid": "u", "status": status}), false).unwrap().denial("a.b.c");
            (reply.code().as_u16(), reply.to_value()["reason"].clone(), reply.message)
        };
        let denied = "admission webhook \"a.b.c\" denied the request";
        assert_eq!(denial(Value::Null), (400, Value::Null, format!("{denied} without explanation")));
        assert_eq!(
            denial(json!({"code": 200, "status": "Success", "message": "no"})),
            (400, Value::Null, format!("{denied}: no"))
        );
        assert_eq!(
            denial(json!({"code": 403, "reason": "Forbidden"})),
            (403, json!("Forbidden"), format!("{denied}: Forbidden"))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_refused_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reply::read(&body, "u", true);
        }

        #[test]
        fn whatever_an_answer_says_a_refusal_is_an_error(
            uid in "[uv]", allowed: bool, code: i64, text in "\\PC{0,20}",
            patch in prop::option::of("[A-Za-z0-9+/=]{0,12}"), kind in prop::option::of("(JSONPatch)?"), mutating: bool,
        ) {
            let response = json!({
                "uid": uid, "allowed": allowed, "patch": patch, "patchType": kind, "warnings": [text],
                "status": {"code": code, "message": text, "reason": text, "details": {"causes": [text], "retryAfterSeconds": code}},
            });
            if let Ok(reply) = read(response, mutating) {
                prop_assert_eq!(uid, "u");
                prop_assert!(mutating || reply.patch.is_none());
                let denial = reply.denial("a.b.c");
                prop_assert!(denial.code().as_u16() >= 400);
                prop_assert!(denial.message.starts_with("admission webhook \"a.b.c\" denied the request"));
            }
        }
    }
}
