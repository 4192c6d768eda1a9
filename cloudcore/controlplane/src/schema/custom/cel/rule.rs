//! One rule: compiled when it is first needed, evaluated within a budget.

use std::sync::{Arc, OnceLock};

use cel::objects::OptionalValue;
use cel::{Context, Program, Value as Cel};
use serde_json::{Value, json};

use super::cost::{self, Sizes};
use super::library;
use crate::schema::{Errors, Json, Path};
use crate::status::FieldError;

/// What all rules of one object may take together, in steps (Kubernetes v1.36 apiserver/pkg/apis/cel: RuntimeCELCostBudget).
pub(super) const BUDGET: u64 = 10_000_000;
/// A longer message is not shown.
pub(super) const LONGEST_MESSAGE: usize = 5 * 1024;

/// An entry of `x-kubernetes-validations`.
#[derive(Clone, Debug)]
pub(in crate::schema::custom) struct Rule {
    source: Box<str>,
    message: Box<str>,
    message_expression: Box<str>,
    reason: Box<str>,
    field_path: Box<str>,
    optional_old: bool,
    compiled: Arc<OnceLock<Result<Compiled, String>>>,
}

#[derive(Debug)]
struct Compiled {
    rule: Expression,
    message: Option<Expression>,
    uses_old: bool,
}

/// A compiled expression.
pub(super) struct Expression(pub(super) Program);

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expression")
    }
}

/// Compiles an expression; the error is one line.
pub(super) fn compile(source: &str) -> Result<Expression, String> {
    let program = library::ENVIRONMENT.compile(source).map_err(|errors| {
        let text = errors.to_string();
        text.lines().next().unwrap_or("cannot be parsed").to_owned()
    })?;
    Ok(Expression(program))
}

/// What a rule looks at.
pub(super) struct Scope<'a> {
    pub(super) this: &'a Cel,
    pub(super) old: Option<&'a Cel>,
    pub(super) sizes: Sizes,
    /// The JSON type, which stands for the value in messages.
    pub(super) kind: &'static str,
    /// Whether the value is as it was before: then it may stay as wrong as it is.
    pub(super) unchanged: bool,
}

/// No rule is evaluated after this.
pub(super) struct Exhausted;

impl Rule {
    pub(in crate::schema::custom) fn new(rule: &Value) -> Self {
        let own = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default().into();
        Self {
            source: own("rule"),
            message: own("message"),
            message_expression: own("messageExpression"),
            reason: own("reason"),
            field_path: own("fieldPath"),
            optional_old: rule.flag("/optionalOldSelf"),
            compiled: Arc::default(),
        }
    }

    fn compiled(&self) -> &Result<Compiled, String> {
        self.compiled.get_or_init(|| {
            let rule = compile(&self.source)?;
            let message = &*self.message_expression;
            let message = if message.is_empty() { None } else { Some(compile(message)?) };
            let uses_old = rule.0.references().has_variable("oldSelf");
            Ok(Compiled { rule, message, uses_old })
        })
    }

    /// Evaluates the rule and says what is wrong, if something is.
    pub(super) fn apply(
        &self,
        scope: &Scope<'_>,
        path: &Path<'_>,
        budget: &mut u64,
        errors: &mut Errors,
    ) -> Result<(), Exhausted> {
        let compiled = match self.compiled() {
            Ok(compiled) => compiled,
            Err(error) => {
                errors.invalid(path, scope.kind, &format!("rule compile error: {error}"));
                return Ok(());
            }
        };
        // A rule about a change needs something to compare with.
        if compiled.uses_old && scope.old.is_none() && !self.optional_old {
            return Ok(());
        }
        if !compiled.uses_old && scope.unchanged {
            return Ok(());
        }
        if !afford(&compiled.rule, scope, budget) {
            let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
            errors.invalid(path, scope.kind, detail);
            return Err(Exhausted);
        }
        let context = self.context(scope);
        let shown = if self.message.is_empty() { &self.source } else { &self.message };
        match compiled.rule.0.execute(&context) {
            Ok(Cel::Bool(true)) => return Ok(()),
            Ok(Cel::Bool(false)) => {}
            Ok(_) => {
                errors.invalid(path, scope.kind, &format!("the rule is no condition: {}", shown.trim()));
                return Ok(());
            }
            Err(error) => {
                errors.invalid(
                    path,
                    scope.kind,
                    &format!("{} evaluating rule: {}", words(&error), shown.trim()),
                );
                return Ok(());
            }
        }
        let spoken = compiled.message.as_ref().filter(|message| afford(message, scope, budget));
        let spoken = spoken.and_then(|message| match message.0.execute(&context) {
            Ok(Cel::String(text)) => Some(text.trim().to_owned()),
            _ => None,
        });
        let detail = spoken
            .filter(|text| !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n'))
            .unwrap_or_else(|| {
                if self.message.is_empty() {
                    format!("failed rule: {}", self.source.trim())
                } else {
                    self.message.trim().to_owned()
                }
            });
        errors.push(self.error(&format!("{path}{}", self.field_path), scope.kind, &detail));
        Ok(())
    }

    fn context(&self, scope: &Scope<'_>) -> Context<'static, 'static> {
        let mut context = Context::with_env(Arc::clone(&library::ENVIRONMENT));
        context.add_variable_from_value("self", scope.this.clone());
        if self.optional_old {
            let old = scope.old.cloned().map_or_else(OptionalValue::none, OptionalValue::of);
            context.add_variable_from_value("oldSelf", Cel::Opaque(Arc::new(old)));
        } else if let Some(old) = scope.old {
            context.add_variable_from_value("oldSelf", old.clone());
        }
        context
    }

    fn error(&self, path: &str, kind: &str, detail: &str) -> FieldError {
        let path = path.strip_prefix('.').unwrap_or(path);
        match &*self.reason {
            "FieldValueForbidden" => FieldError::forbidden(path, detail),
            "FieldValueRequired" => FieldError::required(path, detail),
            "FieldValueDuplicate" => FieldError::duplicate(path, &json!(kind)),
            _ => FieldError::invalid(path, &json!(kind), detail),
        }
    }
}

/// Takes from the budget what the expression may need at most.
fn afford(expression: &Expression, scope: &Scope<'_>, budget: &mut u64) -> bool {
    pay(expression, &[("self", scope.sizes), ("oldSelf", scope.sizes)], budget).is_some()
}

/// The same for variables of these sizes. How large the result can be; none if the budget is not enough.
pub(super) fn pay(expression: &Expression, variables: &[(&str, Sizes)], budget: &mut u64) -> Option<Sizes> {
    let cost = cost::of(expression.0.expression(), variables);
    let affordable = cost.filter(|(cost, _)| *cost <= *budget);
    *budget = budget.saturating_sub(cost.map_or(u64::MAX, |(cost, _)| cost));
    affordable.map(|(_, sizes)| sizes)
}

/// An error of the evaluation in the words of Kubernetes' interpreter.
pub(super) fn words(error: &cel::ExecutionError) -> String {
    use cel::ExecutionError as E;
    match error {
        E::NoSuchKey(key) => format!("no such key: {key}"),
        E::IndexOutOfBounds(Cel::Int(index)) => format!("index out of bounds: {index}"),
        E::DivisionByZero(_) => "division by zero".to_owned(),
        E::RemainderByZero(_) => "modulus by zero".to_owned(),
        E::Overflow(..) => "integer overflow".to_owned(),
        E::UndeclaredReference(name) => format!("undeclared reference to '{name}'"),
        // What the values are belongs to the user, and may be long.
        other => other.to_string().chars().take(200).collect(),
    }
}
