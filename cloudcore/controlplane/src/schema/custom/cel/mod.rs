//! `x-kubernetes-validations`: rules in the Common Expression Language about custom objects.
//!
//! `rule` is one rule and its evaluation, `walk` finds the rules that apply to an object, `value` turns JSON into CEL values, `cost`
//! bounds what an evaluation may take before it starts, `library` adds Kubernetes' functions to the language, `check` refuses rules
//! that could never work. Semantics and messages are those of `apiextensions-apiserver/pkg/apiserver/schema/cel`.
//!
//! Missing beside Kubernetes: the libraries `format`, `semver`, `jsonpatch`, `authorizer` and two-variable comprehensions; the order
//! of lists that are sets or maps counts in `==`; types are checked as far as fields and names go.

mod check;
mod cost;
mod expression;
mod library;
mod rule;
mod value;
mod walk;

pub(super) use check::check;
pub(crate) use expression::{Answer, Condition, Documents};
pub(super) use rule::Rule;

#[cfg(test)]
mod tests;
