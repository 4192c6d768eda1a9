//! Regular expressions: `matches`, `find`, `findAll`. Bounded, because objects may bring patterns of their own.

use cel::common::types::{CelBool, CelInt, CelList, CelString};
use cel::common::value::Val;
use cel::{Env, ExecutionError};
use regex::Regex;

use super::Registered;
use crate::schema::custom::pattern;

pub(super) fn library(env: &mut Env) -> Registered {
    cel::add_overload!(env, fn matches: (CelString<'_>, CelString<'_>) -> Result<CelBool>, id = "matches")?;
    cel::add_member_overload!(env, fn matches: (CelString<'_>, CelString<'_>) -> Result<CelBool>)?;
    cel::add_member_overload!(env, fn find: (CelString<'_>, CelString<'_>) -> Result<CelString<'static>>)?;
    cel::add_member_overload!(env, fn find_all: (CelString<'_>, CelString<'_>) -> Result<CelList<'static>>)?;
    cel::add_member_overload!(env, fn find_some: (CelString<'_>, CelString<'_>, CelInt) -> Result<CelList<'static>>, name = "findAll")?;
    Ok(())
}

fn compiled(source: &CelString<'_>) -> Result<Regex, ExecutionError> {
    pattern::compile(source.inner()).map_err(|error| ExecutionError::function_error("matches", error))
}

fn matches(text: &CelString<'_>, source: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    Ok(CelBool::from(compiled(source)?.is_match(text.inner())))
}

fn find(text: &CelString<'_>, source: &CelString<'_>) -> Result<CelString<'static>, ExecutionError> {
    let found = compiled(source)?.find(text.inner()).map_or("", |found| found.as_str()).to_owned();
    Ok(CelString::from(found))
}

fn find_all(text: &CelString<'_>, source: &CelString<'_>) -> Result<CelList<'static>, ExecutionError> {
    some(text, source, usize::MAX)
}

fn find_some(
    text: &CelString<'_>,
    source: &CelString<'_>,
    most: &CelInt,
) -> Result<CelList<'static>, ExecutionError> {
    // Less than nothing is all.
    some(text, source, usize::try_from(*most.inner()).unwrap_or(usize::MAX))
}

fn some(
    text: &CelString<'_>,
    source: &CelString<'_>,
    most: usize,
) -> Result<CelList<'static>, ExecutionError> {
    let pattern = compiled(source)?;
    let found = pattern.find_iter(text.inner()).take(most);
    let all: Vec<Box<dyn Val>> =
        found.map(|one| Box::new(CelString::from(one.as_str().to_owned())) as Box<dyn Val>).collect();
    Ok(CelList::from(all))
}
