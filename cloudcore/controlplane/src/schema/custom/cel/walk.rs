//! Which rules apply to an object: those of every node of its schema that has a value.

use serde_json::{Map, Value};

use super::super::{ListType, Schema};
use super::cost::Sizes;
use super::rule::{BUDGET, Exhausted, Rule, Scope};
use super::value::convert;
use crate::schema::{Errors, Path};

impl Schema {
    /// Evaluates all rules about a new object, or about a change when there is an old one.
    pub(in crate::schema::custom) fn check_rules(
        &self,
        object: &Value,
        old: Option<&Value>,
        errors: &mut Errors,
    ) {
        let mut walk = Walk { budget: BUDGET, errors };
        // What was found so far is what is said.
        let _ = walk.node(self, object, old, true, &Path::Root);
    }
}

struct Walk<'e> {
    budget: u64,
    errors: &'e mut Errors,
}

impl Walk<'_> {
    fn node(
        &mut self,
        schema: &Schema,
        value: &Value,
        old: Option<&Value>,
        is_resource: bool,
        path: &Path<'_>,
    ) -> Result<(), Exhausted> {
        if value.is_null() || !schema.has_rules {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        let more = schema.rules.iter().flat_map(|rules| &rules.all_of).flat_map(|one| &one.validations);
        let rules: Vec<&Rule> = schema.validations.iter().chain(more).collect();
        if !rules.is_empty() {
            let this = convert(schema, value, is_resource);
            let before = old.map(|old| convert(schema, old, is_resource));
            let sizes = old.map_or_else(Sizes::default, Sizes::of).max(Sizes::of(value));
            let scope = Scope {
                this: &this,
                old: before.as_ref(),
                sizes,
                kind: schema.kind.map_or("", super::super::Kind::as_str),
                unchanged: old == Some(value),
            };
            for rule in rules {
                rule.apply(&scope, path, &mut self.budget, self.errors)?;
            }
        }
        match value {
            Value::Object(map) => self.map(schema, map, old, path),
            Value::Array(items) => self.list(schema, items, old, path),
            _ => Ok(()),
        }
    }

    fn map(
        &mut self,
        schema: &Schema,
        map: &Map<String, Value>,
        old: Option<&Value>,
        path: &Path<'_>,
    ) -> Result<(), Exhausted> {
        for (name, value) in map {
            let before = old.and_then(|old| old.get(name));
            if let Some(below) = schema.property(name) {
                self.node(below, value, before, below.embedded, &path.field(name))?;
            } else if let Some(below) = schema.additional_schema() {
                self.node(below, value, before, below.embedded, &path.key(name))?;
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        schema: &Schema,
        items: &[Value],
        old: Option<&Value>,
        path: &Path<'_>,
    ) -> Result<(), Exhausted> {
        let Some(below) = schema.items.as_deref() else { return Ok(()) };
        for (index, item) in items.iter().enumerate() {
            let before = old.and_then(|old| schema.same_item(item, old.as_array()?));
            self.node(below, item, before, below.embedded, &path.index(index))?;
        }
        Ok(())
    }
}

impl Schema {
    /// The item of an older list that is the same one as `item`: only lists that are maps can tell.
    pub(in crate::schema::custom) fn same_item<'v>(
        &self,
        item: &Value,
        old: &'v [Value],
    ) -> Option<&'v Value> {
        let ListType::Map(keys) = &self.list else { return None };
        old.iter().find(|other| keys.iter().all(|key| other.get(&**key) == item.get(&**key)))
    }
}
