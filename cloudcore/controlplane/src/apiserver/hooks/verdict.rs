//! What expressions come to: conditions, and the validations of a policy.
//!
//! Pure. Source: Kubernetes v1.36 `apiserver/pkg/admission/plugin/policy/validating/validator.go`.

use serde_json::Value;

use super::policy::{Policy, Validation};
use crate::schema::Json;
use crate::schema::custom::{Answer, Condition, Documents};

/// A message that an expression makes may have this many bytes; a longer one is not shown.
const LONGEST: usize = 5 * 1024;

/// A compiled expression, with its text.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) source: String,
    condition: Result<Condition, String>,
}

/// Why something is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Denial {
    /// Which of the validations it was.
    pub(super) index: usize,
    pub(super) message: String,
    /// As the policy has it; may be empty.
    pub(super) reason: String,
}

/// What a policy says about one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) denials: Vec<Denial>,
    /// For the audit log, by key.
    pub(super) notes: Vec<(String, String)>,
    /// Refusals because a note could not be made, whatever the binding's actions are.
    pub(super) failures: Vec<Denial>,
}

// === impl Rule ===

impl Rule {
    pub(super) fn compile(source: &str, names: &[&'static str]) -> Self {
        Self { source: source.trim().to_owned(), condition: Condition::compile(source, names) }
    }

    /// The `matchConditions` of a webhook or a policy.
    pub(super) fn conditions(document: &Value, names: &[&'static str]) -> Vec<Self> {
        let conditions = document.list("/matchConditions").iter();
        conditions.map(|one| Self::compile(one.text("/expression"), names)).collect()
    }

    /// Lets later expressions say `variables.NAME` for what it comes to.
    pub(super) fn define(&self, name: &str, documents: &mut Documents) {
        documents.define(name, &self.condition);
    }

    /// What it comes to, or why it comes to nothing.
    pub(super) fn ask(&self, documents: &mut Documents) -> Result<Answer, String> {
        let asked = self.condition.as_ref().map_err(Clone::clone);
        let answer = asked.and_then(|condition| documents.ask(condition));
        answer.map_err(|why| format!("expression '{}' resulted in error: {why}", self.source))
    }
}

/// Whether all conditions hold. One that does not weighs more than others that cannot be evaluated.
pub(super) fn met(documents: &mut Documents, conditions: &[Rule]) -> Result<bool, String> {
    let mut wrong = Vec::new();
    for condition in conditions {
        match condition.ask(documents) {
            Ok(Answer::Truth(true)) => {}
            Ok(_) => return Ok(false),
            Err(why) => wrong.push(why),
        }
    }
    match wrong.as_slice() {
        [] => Ok(true),
        [only] => Err(only.clone()),
        all => Err(format!("[{}]", all.join(", "))),
    }
}

/// Judges one request, with one of the policy's parameters.
pub(super) fn judge(policy: &Policy, documents: &mut Documents) -> Verdict {
    let mut verdict = Verdict::default();
    // What cannot be evaluated is refused, unless the policy says otherwise.
    let failed = |message: String, index| Denial { index, message, reason: String::new() };
    match met(documents, &policy.conditions) {
        Ok(true) => {}
        Ok(false) => return verdict,
        Err(why) => {
            verdict.denials.extend(policy.fails.then(|| failed(why, 0)));
            return verdict;
        }
    }
    for (name, variable) in &policy.variables {
        variable.define(name, documents);
    }
    for (index, validation) in policy.validations.iter().enumerate() {
        match validation.rule.ask(documents) {
            Ok(Answer::Truth(true)) => {}
            Ok(_) => verdict.denials.push(Denial {
                index,
                message: message(validation, documents),
                reason: validation.reason.clone(),
            }),
            Err(why) => verdict.denials.extend(policy.fails.then(|| failed(why, index))),
        }
    }
    for (key, rule) in &policy.notes {
        let why = match rule.ask(documents) {
            Ok(Answer::Text(text)) => {
                let text = text.trim();
                verdict.notes.extend((!text.is_empty()).then(|| (key.clone(), text.to_owned())));
                continue;
            }
            Ok(Answer::Null) => continue,
            Ok(_) => format!(
                "valueExpression '{}' resulted in unsupported return type. Return type must be either string or null.",
                rule.source
            ),
            Err(_) if !policy.fails => continue,
            Err(why) => why,
        };
        verdict.failures.push(failed(why, 0));
    }
    verdict
}

/// What the user is told: what the policy's expression makes, or its text, or the rule itself.
fn message(validation: &Validation, documents: &mut Documents) -> String {
    let made = match validation.message_expression.as_ref().map(|rule| rule.ask(documents)) {
        Some(Ok(Answer::Text(text))) => text.trim().to_owned(),
        _ => String::new(),
    };
    if !made.is_empty() && made.len() <= LONGEST && !made.contains('\n') {
        return made;
    }
    match validation.message.trim() {
        "" => format!("failed expression: {}", validation.rule.source),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(spec: Value, object: &Value) -> Verdict {
        let policy = Policy::compile(&json!({"metadata": {"name": "p"}, "spec": spec}));
        let documents =
            [("object", Some(object)), ("oldObject", None), ("request", None), ("namespaceObject", None)];
        judge(&policy, &mut Documents::new(&documents).with("params", None))
    }

    fn messages(spec: Value, object: &Value) -> Vec<String> {
        verdict(spec, object).denials.into_iter().map(|denial| denial.message).collect()
    }

    #[test]
    fn the_message_is_what_the_policy_makes_of_it() {
        let object = json!({"replicas": 7});
        let rule = |more: Value| {
            let mut validation = json!({"expression": " object.replicas <= variables.most "});
            validation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"variables": [{"name": "most", "expression": "5"}], "validations": [validation]})
        };
        assert_eq!(
            messages(rule(json!({})), &object),
            ["failed expression: object.replicas <= variables.most"]
        );
        assert_eq!(messages(rule(json!({"message": "too many"})), &object), ["too many"]);
        let made = json!({"message": "too many", "messageExpression": "'at most ' + string(variables.most)"});
        assert_eq!(messages(rule(made), &object), ["at most 5"]);
        for bad in ["'a\\nb'", "object.nope", "''"] {
            let made = json!({"message": "too many", "messageExpression": bad});
            assert_eq!(messages(rule(made), &object), ["too many"], "{bad}");
        }
        assert!(messages(rule(json!({})), &json!({"replicas": 5})).is_empty());
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_unless_the_policy_says_otherwise() {
        let spec = |policy: &str| json!({"failurePolicy": policy, "validations": [{"expression": "object.nope == 1"}]});
        let why = "expression 'object.nope == 1' resulted in error: no such key: nope";
        assert_eq!(messages(spec("Fail"), &json!({})), [why]);
        assert!(messages(spec("Ignore"), &json!({})).is_empty());
    }

    #[test]
    fn conditions_come_first_and_one_that_does_not_hold_outweighs_one_that_fails() {
        let spec = |conditions: &[&str]| {
            let conditions: Vec<_> =
                conditions.iter().map(|one| json!({"name": "c", "expression": one})).collect();
            json!({"matchConditions": conditions, "validations": [{"expression": "false"}]})
        };
        assert_eq!(messages(spec(&["true"]), &json!({})).len(), 1);
        assert!(messages(spec(&["object.nope", "false"]), &json!({})).is_empty());
        let failed = messages(spec(&["object.nope == 1", "true"]), &json!({}));
        assert_eq!(failed, ["expression 'object.nope == 1' resulted in error: no such key: nope"]);
    }

    #[test]
    fn notes_are_texts_or_nothing() {
        let spec = json!({"auditAnnotations": [
            {"key": "a", "valueExpression": "'x: ' + object.x"}, {"key": "b", "valueExpression": "null"},
            {"key": "c", "valueExpression": "7"},
        ]});
        let verdict = verdict(spec, &json!({"x": "y"}));
        assert_eq!(verdict.notes, [("a".to_owned(), "x: y".to_owned())]);
        assert_eq!(verdict.failures.len(), 1);
    }
}
