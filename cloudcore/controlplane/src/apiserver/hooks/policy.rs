//! Admission policies and what binds them to requests, compiled.

use serde_json::Value;

use super::matching::Matcher;
use super::verdict::Rule;
use crate::registry::admission::POLICY_NAMES;
use crate::schema::Json;
use crate::selector::LabelSelector;

/// A `ValidatingAdmissionPolicy`.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    /// Whether a request fails when the policy cannot be evaluated.
    pub(super) fails: bool,
    pub(super) matcher: Matcher,
    /// Version and kind of its parameters.
    pub(super) params: Option<(String, String)>,
    pub(super) conditions: Vec<Rule>,
    pub(super) variables: Vec<(String, Rule)>,
    pub(super) validations: Vec<Validation>,
    /// For the audit log, by key.
    pub(super) notes: Vec<(String, Rule)>,
}

/// One entry of `validations`.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) rule: Rule,
    pub(super) message: String,
    pub(super) message_expression: Option<Rule>,
    pub(super) reason: String,
}

/// A `ValidatingAdmissionPolicyBinding`.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    /// Which of the policy's requests; all of them without one.
    pub(super) matcher: Option<Matcher>,
    pub(super) params: Option<Reference>,
    pub(super) actions: Vec<String>,
}

/// Which objects are the parameters.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) name: String,
    /// Empty for the namespace of the request.
    pub(super) namespace: String,
    pub(super) selector: Option<LabelSelector>,
    /// Whether a request is refused when there are none.
    pub(super) required: bool,
}

// === impl Policy ===

impl Policy {
    pub(super) fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let rule = |one: &Value, field: &str| Rule::compile(one.text(field), POLICY_NAMES);
        let named = |list: &str, name: &str, field: &str| {
            spec.list(list).iter().map(|one| (one.text(name).to_owned(), rule(one, field))).collect()
        };
        let validation = |one: &Value| Validation {
            rule: rule(one, "/expression"),
            message: one.text("/message").to_owned(),
            message_expression: one.has("/messageExpression").then(|| rule(one, "/messageExpression")),
            reason: one.text("/reason").to_owned(),
        };
        let kind = spec.get("paramKind").filter(|kind| kind.is_object());
        Self {
            name: policy.text("/metadata/name").to_owned(),
            fails: spec.text("/failurePolicy") != "Ignore",
            matcher: Matcher::of_policy(&spec["matchConstraints"]),
            params: kind.map(|kind| (kind.text("/apiVersion").to_owned(), kind.text("/kind").to_owned())),
            conditions: Rule::conditions(spec, POLICY_NAMES),
            variables: named("/variables", "/name", "/expression"),
            validations: spec.list("/validations").iter().map(validation).collect(),
            notes: named("/auditAnnotations", "/key", "/valueExpression"),
        }
    }
}

// === impl Binding ===

impl Binding {
    pub(super) fn compile(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let actions = spec.list("/validationActions").iter().filter_map(Value::as_str);
        let reference = |given: &Value| Reference {
            name: given.text("/name").to_owned(),
            namespace: given.text("/namespace").to_owned(),
            // Validated when it was written.
            selector: given
                .get("selector")
                .filter(|selector| selector.is_object())
                .map(|selector| LabelSelector::parse(&LabelSelector::notation(selector)).unwrap_or_default()),
            required: given.text("/parameterNotFoundAction") == "Deny",
        };
        Self {
            name: binding.text("/metadata/name").to_owned(),
            policy: spec.text("/policyName").to_owned(),
            matcher: spec.get("matchResources").filter(|one| one.is_object()).map(Matcher::of_policy),
            params: spec.get("paramRef").filter(|given| given.is_object()).map(reference),
            actions: actions.map(str::to_owned).collect(),
        }
    }
}
