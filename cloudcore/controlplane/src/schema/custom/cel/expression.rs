//! Expressions about whole documents whose schema does not matter: the conditions of webhooks, and policies.

use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Value as Cel};
use serde_json::Value;

use super::cost::Sizes;
use super::rule::{BUDGET, Expression, LONGEST_MESSAGE, compile, pay, words};
use super::value::dynamic;
use super::{check, library};

/// Values that expressions define for those after them.
pub(super) const VARIABLES: &str = "variables";

const EXHAUSTED: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// A compiled expression about documents.
#[derive(Debug)]
pub(crate) struct Condition {
    expression: Expression,
}

/// What an expression came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Yes or no.
    Truth(bool),
    /// A text.
    Text(String),
    /// Nothing.
    Null,
    /// Something else.
    Other,
}

/// What expressions look at, by name; within a budget that all of them share.
#[derive(Clone)]
pub(crate) struct Documents {
    values: Vec<(&'static str, Cel, Sizes)>,
    variables: HashMap<Key, Cel>,
    sizes: Sizes,
    /// Variables that came to nothing, and why: said only to those who ask for them.
    failed: Vec<(String, String)>,
    budget: u64,
}

impl Condition {
    /// # Errors
    /// When it is no expression, or speaks of what is not among `variables`; in Kubernetes' words.
    pub(crate) fn compile(source: &str, variables: &[&'static str]) -> Result<Self, String> {
        let expression = compile(source)?;
        match check::names(&expression, variables, None) {
            Some(wrong) => Err(wrong),
            None => Ok(Self { expression }),
        }
    }

    /// What is wrong with an expression after others that defined these `variables.NAME`.
    pub(crate) fn wrong(source: &str, variables: &[&'static str], defined: &[&str]) -> Option<String> {
        match compile(source) {
            Ok(expression) => check::names(&expression, variables, Some(defined)),
            Err(wrong) => Some(wrong),
        }
    }
}

impl Documents {
    /// Absent documents are null.
    pub(crate) fn new(documents: &[(&'static str, Option<&Value>)]) -> Self {
        let values = documents.iter().map(|(name, document)| {
            let document = document.unwrap_or(&Value::Null);
            (*name, dynamic(document), Sizes::of(document))
        });
        let values: Vec<_> = values.collect();
        let sizes = values.iter().fold(Sizes::default(), |all, (.., one)| all.max(*one));
        Self { values, variables: HashMap::new(), sizes, failed: Vec::new(), budget: BUDGET }
    }

    /// The same with one more document, and a budget of their own.
    pub(crate) fn with(&self, name: &'static str, document: Option<&Value>) -> Self {
        let mut more = Self { budget: BUDGET, ..self.clone() };
        let document = document.unwrap_or(&Value::Null);
        let sizes = Sizes::of(document);
        more.sizes = more.sizes.max(sizes);
        more.values.push((name, dynamic(document), sizes));
        more
    }

    /// Lets later expressions say `variables.NAME`.
    pub(crate) fn define(&mut self, name: &str, condition: &Result<Condition, String>) {
        match condition.as_ref().map_err(Clone::clone).and_then(|condition| self.run(condition)) {
            Ok((value, sizes)) => {
                // What is made of what was made can grow with every step.
                self.sizes = self.sizes.max(sizes);
                self.variables.insert(Key::from(name), value);
            }
            Err(why) => self.failed.push((name.to_owned(), why)),
        }
    }

    /// # Errors
    /// When it cannot be evaluated, in Kubernetes' words.
    pub(crate) fn ask(&mut self, condition: &Condition) -> Result<Answer, String> {
        Ok(match self.run(condition)?.0 {
            Cel::Bool(truth) => Answer::Truth(truth),
            Cel::String(text) => Answer::Text(text.chars().take(LONGEST_MESSAGE).collect()),
            Cel::Null => Answer::Null,
            _ => Answer::Other,
        })
    }

    fn run(&mut self, condition: &Condition) -> Result<(Cel, Sizes), String> {
        let mut sizes: Vec<_> = self.values.iter().map(|(name, _, sizes)| (*name, *sizes)).collect();
        sizes.push((VARIABLES, self.sizes));
        let Some(made) = pay(&condition.expression, &sizes, &mut self.budget) else {
            return Err(EXHAUSTED.to_owned());
        };
        let mut context = Context::with_env(Arc::clone(&library::ENVIRONMENT));
        for (name, value, _) in &self.values {
            context.add_variable_from_value(*name, value.clone());
        }
        let map = Map { map: Arc::new(self.variables.clone()) };
        context.add_variable_from_value(VARIABLES, Cel::Map(map));
        condition.expression.0.execute(&context).map(|value| (value, made)).map_err(|error| {
            let failed = self.failed.iter().find(
                |(name, _)| matches!(&error, cel::ExecutionError::NoSuchKey(key) if key.as_str() == name),
            );
            match failed {
                Some((name, why)) => format!("composited variable \"{name}\" fails to evaluate: {why}"),
                None => words(&error),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAMES: &[&str] = &["object", "oldObject", "variables"];

    fn ask(source: &str, object: &Value) -> Result<Answer, String> {
        let mut documents = Documents::new(&[("object", Some(object)), ("oldObject", None)]);
        documents.define("replicas", &Condition::compile("object.spec.replicas", NAMES));
        documents.define("none", &Condition::compile("object.spec.none", NAMES));
        documents.ask(&Condition::compile(source, NAMES)?)
    }

    #[test]
    fn a_document_is_looked_at_as_it_is_written() {
        let object = json!({"metadata": {"labels": {"a-b": "c"}}, "spec": {"replicas": 3, "share": 0.5, "in": [1, 2]}});
        for yes in [
            "object.metadata.labels['a-b'] == 'c'",
            "has(object.spec.replicas) && !has(object.spec.nope)",
            "oldObject == null",
            "variables.replicas > 2",
            "object.spec.share < 1.0",
            "object.spec['in'].all(n, n > 0)",
            "!has(variables.none) || true",
        ] {
            assert_eq!(ask(yes, &object), Ok(Answer::Truth(true)), "{yes}");
        }
        assert_eq!(ask("'n: ' + string(variables.replicas)", &object), Ok(Answer::Text("n: 3".to_owned())));
        assert_eq!(ask("object.spec.nope == 1", &object), Err("no such key: nope".to_owned()));
        assert_eq!(
            ask("variables.none == 1", &object),
            Err("composited variable \"none\" fails to evaluate: no such key: none".to_owned())
        );
        let undeclared = ask("authorizer.path('/x').check('get').allowed()", &object);
        assert_eq!(undeclared, Err("undeclared reference to 'authorizer' (in container '')".to_owned()));
    }

    #[test]
    fn what_would_take_too_long_is_not_begun() {
        let many: Vec<_> = (0..3000).collect();
        let nested = "object.all(a, object.all(b, object.all(c, a + b + c >= 0)))";
        assert!(ask(nested, &json!(many)).unwrap_err().contains("cost budget"));
    }

    #[test]
    fn variables_that_double_each_other_end_at_the_budget() {
        let object = json!({"name": "x".repeat(100)});
        let mut documents = Documents::new(&[("object", Some(&object))]);
        documents.define("v0", &Condition::compile("object.name", NAMES));
        for n in 1..60 {
            let source = format!("variables.v{0} + variables.v{0}", n - 1);
            documents.define(&format!("v{n}"), &Condition::compile(&source, NAMES));
        }
        let last = Condition::compile("size(variables.v59) > 0", NAMES).unwrap();
        assert!(documents.ask(&last).unwrap_err().contains("cost budget"));
    }
}
