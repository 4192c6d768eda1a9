//! What an evaluation may take at most, from the expression and the sizes of what it looks at. Asked before evaluating: the
//! interpreter cannot be stopped.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::parser::Expression;
use serde_json::Value;

/// More bytes than this are not made, whatever they cost.
const MOST_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
/// Bytes that are looked at in one step.
const BYTES_PER_STEP: f64 = 10.0;
/// What compiling a regular expression costs.
const PATTERN: f64 = 100.0;
/// The same for one that an object brings.
const FOREIGN_PATTERN: f64 = 10_000.0;
/// Nesting that is followed; deeper expressions are refused.
const DEEPEST: usize = 200;

/// Upper bounds of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sizes {
    /// Items of its largest list or map.
    items: f64,
    /// Bytes of its text form.
    bytes: f64,
}

impl Sizes {
    /// The bounds of a JSON value.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self { items: 0.0, bytes: text.len() as f64 },
            Value::Array(items) => Self::around(items.len(), items.iter()),
            Value::Object(map) => {
                let keys: usize = map.keys().map(String::len).sum();
                let all = Self::around(map.len(), map.values());
                Self { bytes: all.bytes + keys as f64, ..all }
            }
            _ => Self { items: 0.0, bytes: 8.0 },
        }
    }

    fn around<'a>(count: usize, below: impl Iterator<Item = &'a Value>) -> Self {
        let start = Self { items: count as f64, bytes: 0.0 };
        below
            .map(Self::of)
            .fold(start, |sum, one| Self { items: sum.items.max(one.items), bytes: sum.bytes + one.bytes })
    }

    /// The bounds of either of two.
    pub(super) fn max(self, other: Self) -> Self {
        Self { items: self.items.max(other.items), bytes: self.bytes.max(other.bytes) }
    }

    fn plus(self, other: Self) -> Self {
        Self { items: self.items + other.items, bytes: self.bytes + other.bytes }
    }
}

/// Steps, and how large the result can be; nothing if there is no bound worth speaking of.
pub(super) fn of(expression: &Expression, variables: &[(&str, Sizes)]) -> Option<(u64, Sizes)> {
    let (cost, sizes) = walk(expression, &mut variables.to_vec(), DEEPEST)?;
    // Saturates; a cost beyond it is refused all the same.
    Some((cost.min(1e18) as u64, sizes))
}

type Bound = (f64, Sizes);

fn walk<'e>(expression: &'e IdedExpr, variables: &mut Vec<(&'e str, Sizes)>, depth: usize) -> Option<Bound> {
    let depth = depth.checked_sub(1)?;
    let (cost, sizes) = match &expression.expr {
        Expr::Unspecified => (0.0, Sizes::default()),
        Expr::Literal(LiteralValue::String(text)) => {
            (1.0, Sizes { items: 0.0, bytes: text.inner().len() as f64 })
        }
        Expr::Literal(LiteralValue::Bytes(bytes)) => {
            (1.0, Sizes { items: 0.0, bytes: bytes.inner().len() as f64 })
        }
        Expr::Literal(_) => (1.0, Sizes { items: 0.0, bytes: 8.0 }),
        Expr::Ident(name) => {
            let known = variables.iter().rev().find(|(known, _)| known == name);
            (1.0, known.map_or_else(Sizes::default, |(_, sizes)| *sizes))
        }
        Expr::Select(select) => {
            let (cost, sizes) = walk(&select.operand, variables, depth)?;
            (cost + 1.0, sizes)
        }
        Expr::List(list) => all(list.elements.iter(), variables, depth, list.elements.len())?,
        Expr::Map(map) => {
            let values = map.entries.iter().flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => [&entry.key, &entry.value],
                EntryExpr::StructField(field) => [&field.value, &field.value],
            });
            all(values, variables, depth, map.entries.len())?
        }
        Expr::Struct(_) => return None,
        Expr::Call(call) => {
            let parts: Option<Vec<Bound>> = call
                .target
                .as_deref()
                .into_iter()
                .chain(&call.args)
                .map(|one| walk(one, variables, depth))
                .collect();
            let pattern_is_literal =
                call.args.first().is_some_and(|one| matches!(one.expr, Expr::Literal(_)));
            function(&call.func_name, &parts?, pattern_is_literal)
        }
        Expr::Comprehension(one) => {
            let (range_cost, range) = walk(&one.iter_range, variables, depth)?;
            let (start_cost, start) = walk(&one.accu_init, variables, depth)?;
            let turns = range.items.max(1.0);
            let before = variables.len();
            variables.push((&one.iter_var, range));
            if let Some(second) = &one.iter_var2 {
                variables.push((second, range));
            }
            // As large as it can have become when the last turn begins.
            let grown = Sizes { items: turns, bytes: start.bytes + range.bytes };
            variables.push((&one.accu_var, grown));
            let (cond_cost, _) = walk(&one.loop_cond, variables, depth)?;
            let (step_cost, step) = walk(&one.loop_step, variables, depth)?;
            let (result_cost, result) = walk(&one.result, variables, depth)?;
            variables.truncate(before);
            let own = (step.bytes - grown.bytes).max(0.0);
            let made = Sizes { items: turns.max(step.items), bytes: grown.bytes + own * turns };
            (range_cost + start_cost + turns * (cond_cost + step_cost) + result_cost, made.max(result))
        }
    };
    (sizes.bytes <= MOST_BYTES && cost.is_finite()).then_some((cost, sizes))
}

fn all<'e>(
    parts: impl Iterator<Item = &'e IdedExpr>,
    variables: &mut Vec<(&'e str, Sizes)>,
    depth: usize,
    count: usize,
) -> Option<Bound> {
    let mut sum = (1.0, Sizes { items: count as f64, bytes: 0.0 });
    for part in parts {
        let (cost, sizes) = walk(part, variables, depth)?;
        sum = (sum.0 + cost, Sizes { items: sum.1.items.max(sizes.items), bytes: sum.1.bytes + sizes.bytes });
    }
    Some(sum)
}

/// What a call costs beside its arguments, and how large its result can be.
fn function(name: &str, parts: &[Bound], pattern_is_literal: bool) -> Bound {
    let paid: f64 = parts.iter().map(|(cost, _)| cost).sum();
    let sizes = |at: usize| parts.get(at).map_or_else(Sizes::default, |(_, sizes)| *sizes);
    let largest = parts.iter().fold(Sizes::default(), |largest, (_, one)| largest.max(*one));
    let together = parts.iter().fold(Sizes::default(), |sum, (_, one)| sum.plus(*one));
    let read = together.bytes / BYTES_PER_STEP;
    let (own, made) = match name {
        "_+_" | "format" => (read, together),
        "replace" => {
            let bytes = sizes(0).bytes * (sizes(2).bytes + 1.0) + sizes(2).bytes;
            (bytes / BYTES_PER_STEP, Sizes { items: 0.0, bytes })
        }
        "join" => {
            let bytes = sizes(0).bytes + sizes(0).items * sizes(1).bytes;
            (bytes / BYTES_PER_STEP, Sizes { items: 0.0, bytes })
        }
        "split" => (read, Sizes { items: sizes(0).bytes + 1.0, bytes: sizes(0).bytes }),
        "matches" | "find" | "findAll" => {
            let pattern = if pattern_is_literal { PATTERN } else { FOREIGN_PATTERN };
            let size = sizes(0).bytes;
            (pattern + size, Sizes { items: size + 1.0, bytes: size })
        }
        // Truth values and numbers.
        "_&&_" | "_||_" | "!_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "-_" | "_-_" | "_*_" | "_/_" | "_%_"
        | "size" => (1.0, Sizes { items: 0.0, bytes: 8.0 }),
        "_[_]" | "_?_:_" => (1.0, largest),
        _ => (read + largest.items, largest),
    };
    (paid + own.max(1.0), made)
}
