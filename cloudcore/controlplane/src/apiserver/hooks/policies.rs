//! Admission policies: expressions instead of webhooks.
//!
//! Source: Kubernetes v1.36 `apiserver/pkg/admission/plugin/policy/validating/dispatcher.go`.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::policy::{Binding, Policy};
use super::verdict::{Denial, judge};
use super::{Question, params};
use crate::apiserver::Api;
use crate::apiserver::admission::one;
use crate::schema::custom::Documents;
use crate::status::Status;

/// A longer value is not told to the audit log.
const LONGEST_NOTE: usize = 10 * 1024;
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A denial, and whose it is.
struct Denied<'p> {
    policy: &'p str,
    binding: Option<&'p str>,
    denial: Denial,
}

impl Api {
    /// The first refusal by a policy. Warnings and annotations go to the notes of the request.
    pub(super) fn policies_refuse(
        &self,
        question: &Question<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Status>, Status> {
        // Questions about who is who and who may what are not for policies.
        if matches!(&*question.target.resource.group, "authentication.k8s.io" | "authorization.k8s.io") {
            return Ok(None);
        }
        let policies = self.registrations.policies(&self.store);
        let mut denied = Vec::new();
        for (policy, bindings) in &policies {
            self.consult(policy, bindings, question, object, &mut denied)?;
        }
        Ok(denied.into_iter().next().map(|first| first.status(question, object)))
    }

    fn consult<'p>(
        &self,
        policy: &'p Policy,
        bindings: &'p [std::sync::Arc<Binding>],
        question: &Question<'_>,
        object: Option<&Value>,
        denied: &mut Vec<Denied<'p>>,
    ) -> Result<(), Status> {
        let misconfigured = |binding: Option<&'p str>, why: String| {
            let what = if binding.is_some() { "binding" } else { "policy" };
            let denial =
                Denial { message: format!("failed to configure {what}: {why}"), ..Denial::default() };
            policy.fails.then_some(Denied { policy: &policy.name, binding, denial })
        };
        let asked = match policy.matcher.matches(self, question, object) {
            Ok(Some(asked)) => asked,
            Ok(None) => return Ok(()),
            Err(status) => {
                denied.extend(misconfigured(None, status.message));
                return Ok(());
            }
        };
        let kind = match params::kind_of(self, policy) {
            Ok(kind) => kind,
            Err(why) => {
                denied.extend(misconfigured(None, why));
                return Ok(());
            }
        };
        let shown = |object: Option<&Value>| object.map(|object| question.convert(&asked, object));
        let (new, old) = (shown(object), shown(question.old));
        let request = question.attributes(&asked, object);
        let namespace = self.namespace_of(question)?;
        let documents = Documents::new(&[
            ("object", new.as_ref()),
            ("oldObject", old.as_ref()),
            ("request", Some(&request)),
            ("namespaceObject", namespace.as_ref()),
        ]);
        let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in bindings {
            let bound = match &binding.matcher {
                Some(matcher) => matcher.matches(self, question, object).map(|asked| asked.is_some()),
                None => Ok(true),
            };
            let bound = bound.map_err(|status| status.message);
            if bound == Ok(false) {
                continue;
            }
            let within = question.namespace(object);
            let params = bound.and_then(|_| params::collect(self, kind.as_ref(), binding, within));
            let params = match params {
                Ok(params) => params,
                Err(why) => {
                    denied.extend(misconfigured(Some(&binding.name), why));
                    continue;
                }
            };
            for one in params {
                let verdict = judge(policy, &mut documents.with("params", one.as_ref()));
                for denial in verdict.denials {
                    act(question, policy, binding, denial, denied);
                }
                for denial in verdict.failures {
                    denied.push(Denied { policy: &policy.name, binding: Some(&binding.name), denial });
                }
                for (key, mut value) in verdict.notes {
                    value.truncate(value.floor_char_boundary(LONGEST_NOTE));
                    let known = notes.entry(key).or_default();
                    if !known.contains(&value) {
                        known.push(value);
                    }
                }
            }
        }
        for (key, values) in notes {
            question.target.notes.annotate(format!("{}/{key}", policy.name), values.join(", "));
        }
        Ok(())
    }

    /// The namespace that the object is in. A namespace is in none here.
    fn namespace_of(&self, question: &Question<'_>) -> Result<Option<Value>, Status> {
        let name = question.target.namespace.as_str();
        if name.is_empty() || question.is_namespace() {
            return Ok(None);
        }
        let found = one(self, "", "namespaces", "", name);
        found.map(Some).ok_or_else(|| Status::not_found("", "namespaces", name))
    }
}

/// Does what the binding wants to be done about a denial.
fn act<'p>(
    question: &Question<'_>,
    policy: &'p Policy,
    binding: &'p Binding,
    denial: Denial,
    denied: &mut Vec<Denied<'p>>,
) {
    let notes = &question.target.notes;
    for action in &binding.actions {
        match action.as_str() {
            "Deny" => denied.push(Denied {
                policy: &policy.name,
                binding: Some(&binding.name),
                denial: denial.clone(),
            }),
            "Warn" => notes.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                policy.name, binding.name, denial.message
            )),
            _ => {
                let failure = json!([{
                    "message": denial.message, "policy": policy.name, "binding": binding.name,
                    "expressionIndex": denial.index, "validationActions": binding.actions,
                }]);
                notes.annotate(FAILURE.to_owned(), failure.to_string());
            }
        }
    }
}

// === impl Denied ===

impl Denied<'_> {
    fn status(self, question: &Question<'_>, object: Option<&Value>) -> Status {
        let Self { policy, binding, denial } = self;
        let binding = binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
        let message =
            format!("ValidatingAdmissionPolicy '{policy}'{binding} denied request: {}", denial.message);
        let resource = &question.target.resource;
        let status = Status::forbidden(&resource.group, &resource.plural, question.name(object), &message);
        let (code, reason) = match denial.reason.as_str() {
            "Forbidden" => (StatusCode::FORBIDDEN, "Forbidden"),
            "Unauthorized" => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            "RequestEntityTooLarge" => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        };
        let mut status = status.with_cause("", &message, "");
        status.details.said = Some((code, reason.to_owned()));
        status
    }
}
