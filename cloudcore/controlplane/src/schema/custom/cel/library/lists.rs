//! Lists (`isSorted`, `sum`, `min`, `max`, `indexOf`, `lastIndexOf`) and sets (`sets.contains`, `sets.equivalent`,
//! `sets.intersects`).

use std::cmp::Ordering;

use cel::common::types::{DYN_TYPE, LIST_TYPE};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError, Value as Cel};

use super::{Registered, made, owned};

type Arguments<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Result<'b, 'v> = std::result::Result<CowVal<'b, 'v>, ExecutionError>;

pub(super) fn library(env: &mut Env) -> Registered {
    env.add_member_overload("isSorted", "list.isSorted()", LIST_TYPE, vec![], is_sorted)?;
    env.add_member_overload("sum", "list.sum()", LIST_TYPE, vec![], sum)?;
    env.add_member_overload("min", "list.min()", LIST_TYPE, vec![], min)?;
    env.add_member_overload("max", "list.max()", LIST_TYPE, vec![], max)?;
    env.add_member_overload("indexOf", "list.indexOf(dyn)", LIST_TYPE, vec![DYN_TYPE], index_of)?;
    env.add_member_overload(
        "lastIndexOf",
        "list.lastIndexOf(dyn)",
        LIST_TYPE,
        vec![DYN_TYPE],
        last_index_of,
    )?;
    let two = || vec![LIST_TYPE, LIST_TYPE];
    env.add_overload("sets.contains", "sets.contains(list,list)", two(), contains)?;
    env.add_overload("sets.equivalent", "sets.equivalent(list,list)", two(), equivalent)?;
    env.add_overload("sets.intersects", "sets.intersects(list,list)", two(), intersects)?;
    Ok(())
}

fn value(arguments: &Arguments<'_, '_>, at: usize) -> std::result::Result<Cel, ExecutionError> {
    owned(arguments.get(at).ok_or(ExecutionError::MissingArgumentOrTarget)?.as_ref())
}

fn items(arguments: &Arguments<'_, '_>, at: usize) -> std::result::Result<Vec<Cel>, ExecutionError> {
    match value(arguments, at)? {
        Cel::List(items) => Ok(items.to_vec()),
        other => {
            Err(ExecutionError::UnexpectedType { got: other.type_of().to_string(), want: "list".to_owned() })
        }
    }
}

fn is_sorted<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    let items = items(&arguments, 0)?;
    let sorted = items.windows(2).all(|pair| match pair {
        [a, b] => matches!(a.partial_cmp(b), Some(Ordering::Less | Ordering::Equal)),
        _ => true,
    });
    made(Cel::Bool(sorted))
}

fn sum<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    let mut items = items(&arguments, 0)?.into_iter();
    let Some(first) = items.next() else { return made(Cel::Int(0)) };
    made(items.try_fold(first, |sum, one| sum + one)?)
}

fn min<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    extreme(&arguments, "min", Ordering::Less)
}

fn max<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    extreme(&arguments, "max", Ordering::Greater)
}

fn extreme<'b, 'v>(arguments: &Arguments<'b, 'v>, name: &str, wanted: Ordering) -> Result<'b, 'v> {
    let found = items(arguments, 0)?
        .into_iter()
        .reduce(|best, one| if one.partial_cmp(&best) == Some(wanted) { one } else { best });
    made(found.ok_or_else(|| ExecutionError::function_error(name, format!("{name} called on empty list")))?)
}

fn index_of<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    let wanted = value(&arguments, 1)?;
    position(items(&arguments, 0)?.iter().position(|item| *item == wanted))
}

fn last_index_of<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    let wanted = value(&arguments, 1)?;
    position(items(&arguments, 0)?.iter().rposition(|item| *item == wanted))
}

fn position<'b, 'v>(found: Option<usize>) -> Result<'b, 'v> {
    made(Cel::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn all_in(some: &[Cel], all: &[Cel]) -> bool {
    some.iter().all(|one| all.contains(one))
}

fn contains<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    made(Cel::Bool(all_in(&items(&arguments, 1)?, &items(&arguments, 0)?)))
}

fn equivalent<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    let (a, b) = (items(&arguments, 0)?, items(&arguments, 1)?);
    made(Cel::Bool(all_in(&a, &b) && all_in(&b, &a)))
}

fn intersects<'b, 'v>(arguments: Arguments<'b, 'v>) -> Result<'b, 'v> {
    let (a, b) = (items(&arguments, 0)?, items(&arguments, 1)?);
    made(Cel::Bool(a.iter().any(|one| b.contains(one))))
}
