//! Whether the rules of a CRD can work at all: asked when the CRD is written.

use cel::common::ast::{Expr, IdedExpr};
use serde_json::Value;

use super::super::Schema;
use super::expression::VARIABLES;
use super::library;
use super::rule::{self, Expression};
use super::value::escape;
use crate::schema::{Errors, Json, Path};

const REASONS: &[&str] =
    &["FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate"];
/// What an embedded or whole object has besides its own fields.
const IDENTITY: &[&str] = &["apiVersion", "kind", "metadata"];

/// Checks `x-kubernetes-validations` of one schema node.
pub(in crate::schema::custom) fn check(
    node: &Value,
    is_resource: bool,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let Some(rules) = node.get("x-kubernetes-validations").and_then(Value::as_array) else { return };
    if rules.is_empty() {
        return;
    }
    let schema = Schema::compile(node);
    let list = path.field("x-kubernetes-validations");
    for (index, rule) in rules.iter().enumerate() {
        let here = list.index(index);
        let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
        let (source, message, expression) = (text("rule"), text("message"), text("messageExpression"));
        if source.trim().is_empty() {
            errors.required(&here.field("rule"), "rule is not specified");
            continue;
        }
        if rule.get("message").is_some_and(Value::is_string) && message.trim().is_empty() {
            errors.invalid(&here.field("message"), message, "message must be non-empty if specified");
        } else if message.contains(['\n', '\r']) {
            errors.invalid(&here.field("message"), message, "message must not contain line breaks");
        } else if message.is_empty() && source.contains(['\n', '\r']) && expression.is_empty() {
            errors.required(&here.field("message"), "message must be specified if rule contains line breaks");
        }
        if rule.get("messageExpression").is_some_and(Value::is_string) && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.required(&here.field("messageExpression"), detail);
        }
        let reason = text("reason");
        if !reason.is_empty() && !REASONS.contains(&reason) {
            errors.not_supported(&here.field("reason"), reason, REASONS);
        }
        let field = text("fieldPath");
        if !field.is_empty() && !leads_somewhere(&schema, field) {
            let detail = "fieldPath must be a valid path: does not refer to a valid field";
            errors.invalid(&here.field("fieldPath"), field, detail);
        }
        compiles(&schema, is_resource, source, &here.field("rule"), errors);
        if !expression.trim().is_empty() {
            let here = here.field("messageExpression");
            compiles(&schema, is_resource, expression, &here, errors);
        }
        let uses_old = rule::compile(source).is_ok_and(|rule| rule.0.references().has_variable("oldSelf"));
        if rule.flag("/optionalOldSelf") && !uses_old {
            errors.invalid(
                &here.field("optionalOldSelf"),
                true,
                "may not be set to true when `oldSelf` is not used in rule",
            );
        }
    }
}

fn compiles(schema: &Schema, is_resource: bool, source: &str, path: &Path<'_>, errors: &mut Errors) {
    let wrong = match rule::compile(source) {
        Ok(Expression(program)) => {
            let variables = vec!["self", "oldSelf"];
            let mut names = Names { schema, is_resource, variables, defined: None, wrong: None };
            names.walk(program.expression());
            names.wrong
        }
        Err(error) => Some(error),
    };
    if let Some(wrong) = wrong {
        errors.invalid(path, source, &format!("compilation failed: {wrong}"));
    }
}

/// What is wrong with an expression about these variables, of whose shape nothing is known; but perhaps the fields of
/// `variables`.
pub(super) fn names(
    Expression(program): &Expression,
    variables: &[&'static str],
    defined: Option<&[&str]>,
) -> Option<String> {
    let (schema, variables) = (Schema::anything(), variables.to_vec());
    let mut names = Names { schema: &schema, is_resource: false, variables, defined, wrong: None };
    names.walk(program.expression());
    names.wrong
}

/// `.spec.list` or `['odd.name']`, from the node on.
fn leads_somewhere(schema: &Schema, path: &str) -> bool {
    let mut schema = schema;
    let mut rest = path;
    while !rest.is_empty() {
        let name;
        if let Some(tail) = rest.strip_prefix("['") {
            let Some((quoted, tail)) = tail.split_once("']") else { return false };
            (name, rest) = (quoted, tail);
        } else if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            (name, rest) = tail.split_at(end);
        } else {
            return false;
        }
        let Some(below) = schema.property(name).or_else(|| schema.additional_schema()) else { return false };
        schema = below;
    }
    true
}

/// Looks for names that mean nothing.
struct Names<'s, 'e> {
    schema: &'s Schema,
    is_resource: bool,
    variables: Vec<&'e str>,
    /// What expressions before this one defined, where that is known.
    defined: Option<&'s [&'s str]>,
    wrong: Option<String>,
}

impl<'s, 'e> Names<'s, 'e> {
    fn walk(&mut self, expression: &'e IdedExpr) {
        match &expression.expr {
            Expr::Ident(name) if !self.variables.contains(&name.as_str()) && !is_type(name) => {
                self.complain(format!("undeclared reference to '{name}' (in container '')"));
            }
            Expr::Select(select) => {
                if matches!(&select.operand.expr, Expr::Ident(name) if name == VARIABLES)
                    && self.defined.is_some_and(|defined| !defined.contains(&select.field.as_str()))
                {
                    self.complain(format!("undefined field '{}'", select.field));
                }
                if let Some((schema, is_resource)) = self.schema_of(&select.operand)
                    && !has_field(schema, is_resource, &select.field)
                {
                    self.complain(format!("undefined field '{}'", select.field));
                }
                // `optional.none` and its like are names of functions.
                if !matches!(&select.operand.expr, Expr::Ident(name) if self.is_namespace(name)) {
                    self.walk(&select.operand);
                }
            }
            Expr::Call(call) => {
                let mut name = call.func_name.clone();
                match call.target.as_deref() {
                    Some(IdedExpr { expr: Expr::Ident(space), .. }) if self.is_namespace(space) => {
                        name = format!("{space}.{name}");
                    }
                    Some(target) => self.walk(target),
                    None => {}
                }
                if !library::is_known(&name) {
                    self.complain(format!("undeclared reference to '{name}' (in container '')"));
                }
                call.args.iter().for_each(|argument| self.walk(argument));
            }
            Expr::List(list) => list.elements.iter().for_each(|one| self.walk(one)),
            Expr::Comprehension(one) => {
                self.walk(&one.iter_range);
                self.walk(&one.accu_init);
                let before = self.variables.len();
                self.variables.push(&one.iter_var);
                self.variables.extend(one.iter_var2.as_deref());
                self.variables.push(&one.accu_var);
                self.walk(&one.loop_cond);
                self.walk(&one.loop_step);
                self.walk(&one.result);
                self.variables.truncate(before);
            }
            _ => {}
        }
    }

    /// Whether this is the prefix of functions here.
    fn is_namespace(&self, name: &str) -> bool {
        library::NAMESPACES.contains(&name) && !self.variables.contains(&name)
    }

    fn complain(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
    }

    /// The schema of `self.a.b`, as far as it is known to have fields and nothing else.
    fn schema_of(&self, expression: &IdedExpr) -> Option<(&'s Schema, bool)> {
        let (schema, is_resource) = match &expression.expr {
            Expr::Ident(name) if name == "self" => (self.schema, self.is_resource),
            Expr::Select(select) if !select.test => {
                let (schema, _) = self.schema_of(&select.operand)?;
                let found =
                    schema.properties.iter().find(|(name, _)| escape(name).as_deref() == Some(&select.field));
                let (_, below) = found?;
                (below, below.embedded)
            }
            _ => return None,
        };
        let fixed = !schema.properties.is_empty() && schema.additional.is_none();
        fixed.then_some((schema, is_resource))
    }
}

fn has_field(schema: &Schema, is_resource: bool, field: &str) -> bool {
    (is_resource && IDENTITY.contains(&field))
        || schema.properties.keys().any(|name| escape(name).as_deref() == Some(field))
}

fn is_type(name: &str) -> bool {
    matches!(
        name,
        "bool"
            | "bytes"
            | "double"
            | "int"
            | "list"
            | "map"
            | "null_type"
            | "string"
            | "type"
            | "uint"
            | "dyn"
    )
}
