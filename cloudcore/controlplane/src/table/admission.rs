//! The group `admissionregistration.k8s.io`.

use serde_json::{Value, json};

use super::age::age;
use super::format::{NONE, name, or};
use super::{AGE, NAME, Printer, int, text};
use crate::schema::Json;

pub(crate) const WEBHOOKS: Printer = Printer::new(&[NAME, int("Webhooks"), AGE], |one, now| {
    vec![name(one), json!(one.list("/webhooks").len()), age(one, now)]
});

pub(crate) const ADMISSION_POLICY: Printer =
    Printer::new(&[NAME, int("Validations"), text("ParamKind"), AGE], |policy, now| {
        let kind = match (policy.text("/spec/paramKind/apiVersion"), policy.text("/spec/paramKind/kind")) {
            ("", "") => "<unset>".to_owned(),
            (version, kind) => format!("{version}/{kind}"),
        };
        vec![name(policy), json!(policy.list("/spec/validations").len()), json!(kind), age(policy, now)]
    });

pub(crate) const ADMISSION_BINDING: Printer =
    Printer::new(&[NAME, text("PolicyName"), text("ParamRef"), AGE], |binding, now| {
        vec![
            name(binding),
            json!(or(binding.text("/spec/policyName"), NONE)),
            json!(param(binding)),
            age(binding, now),
        ]
    });

fn param(binding: &Value) -> String {
    let (namespace, name) = (binding.text("/spec/paramRef/namespace"), binding.text("/spec/paramRef/name"));
    match (binding.has("/spec/paramRef"), name, namespace) {
        (false, ..) => "<unset>".to_owned(),
        (true, "", _) => "*".to_owned(),
        (true, name, "") => name.to_owned(),
        (true, name, namespace) => format!("{namespace}/{name}"),
    }
}
