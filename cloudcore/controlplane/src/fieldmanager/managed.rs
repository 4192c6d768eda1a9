//! `metadata.managedFields`: who owns what.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::set::Set;

/// As many entries of updates as an object keeps; older ones are put together.
const MOST_UPDATES: usize = 10;
/// In whose name old updates are put together.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// Who owns: the entries of `managedFields` differ in this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for appliers: they are one, whatever version they apply in.
    pub(super) version: String,
    pub(super) subresource: String,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) owner: Owner,
    pub(super) api_version: String,
    pub(super) time: Option<String>,
    pub(super) fields: Set,
}

impl Entry {
    pub(super) fn new(
        manager: &str,
        operation: Operation,
        api_version: &str,
        subresource: &str,
        time: Option<String>,
        fields: Set,
    ) -> Self {
        let version = if operation == Operation::Apply { "" } else { api_version };
        let owner = Owner {
            manager: manager.to_owned(),
            operation,
            version: version.to_owned(),
            subresource: subresource.to_owned(),
        };
        Self { owner, api_version: api_version.to_owned(), time, fields }
    }

    fn seconds(&self) -> i64 {
        let time = self.time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
        time.map_or(0, Timestamp::as_second)
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err("missing fieldsType in managed fields entry".to_owned()),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry")),
        }
        let fields = match value.get("fieldsV1") {
            None | Some(Value::Null) => Set::default(),
            Some(fields) => Set::parse(fields)?,
        };
        let time = text("time").parse::<Timestamp>().ok();
        let time = time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        Ok(Self::new(text("manager"), operation, text("apiVersion"), text("subresource"), time, fields))
    }

    fn print(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
        if !self.owner.manager.is_empty() {
            put("manager", json!(self.owner.manager));
        }
        let operation = match self.owner.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        put("operation", json!(operation));
        put("apiVersion", json!(self.api_version));
        if let Some(time) = &self.time {
            put("time", json!(time));
        }
        put("fieldsType", json!("FieldsV1"));
        put("fieldsV1", self.fields.print());
        if !self.owner.subresource.is_empty() {
            put("subresource", json!(self.owner.subresource));
        }
        Value::Object(map)
    }
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// Reads `metadata.managedFields`; what is not there is empty.
    pub(super) fn parse(list: Option<&Value>) -> Result<Self, String> {
        let mut managed = Self::default();
        for value in list.and_then(Value::as_array).into_iter().flatten() {
            managed.set(Entry::parse(value)?);
        }
        Ok(managed)
    }

    /// What goes into `metadata.managedFields`; none when nobody owns anything.
    pub(super) fn print(mut self) -> Option<Value> {
        self.0.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.owner.operation, entry.seconds());
            key(a)
                .cmp(&key(b))
                .then_with(|| a.owner.manager.cmp(&b.owner.manager))
                .then_with(|| a.api_version.cmp(&b.api_version))
                .then_with(|| a.owner.subresource.cmp(&b.owner.subresource))
        });
        (!self.0.is_empty()).then(|| self.0.iter().map(Entry::print).collect())
    }

    pub(super) fn get(&self, owner: &Owner) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.owner == *owner)
    }

    /// Puts the entry in the place of its owner's.
    pub(super) fn set(&mut self, entry: Entry) {
        match self.0.iter_mut().find(|one| one.owner == entry.owner) {
            Some(old) => *old = entry,
            None => self.0.push(entry),
        }
    }

    /// Adds the fields to what the entry's owner has.
    pub(super) fn add(&mut self, entry: Entry) {
        match self.0.iter_mut().find(|one| one.owner == entry.owner) {
            Some(old) => {
                let fields = old.fields.union(&entry.fields);
                *old = Entry { fields, ..entry };
            }
            None => self.0.push(entry),
        }
    }

    /// Puts the oldest updates of a version together until there are not too many.
    pub(super) fn cap(&mut self) {
        let updates =
            |all: &[Entry]| all.iter().filter(|one| one.owner.operation == Operation::Update).count();
        if updates(&self.0) <= MOST_UPDATES {
            return;
        }
        self.0.sort_by(|a, b| a.seconds().cmp(&b.seconds()).then_with(|| a.owner.cmp(&b.owner)));
        let mut at = 0;
        let mut firsts: Vec<(String, usize)> = Vec::new();
        while updates(&self.0) > MOST_UPDATES {
            let Some(entry) = self.0.get(at) else { return };
            if entry.owner.operation == Operation::Apply {
                at += 1;
                continue;
            }
            let known =
                firsts.iter().find(|(version, _)| *version == entry.api_version).map(|(_, first)| *first);
            let Some(first) = known else {
                firsts.push((entry.api_version.clone(), at));
                at += 1;
                continue;
            };
            let merged = self.0.remove(at);
            if let Some(bucket) = self.0.get_mut(first) {
                *bucket = Entry::new(
                    ANCIENT,
                    Operation::Update,
                    &merged.api_version,
                    "",
                    merged.time,
                    bucket.fields.union(&merged.fields),
                );
            }
        }
        // An older bucket may have been among them.
        let all = std::mem::take(&mut self.0);
        all.into_iter().for_each(|entry| self.add(entry));
    }
}

/// Whether the client wants all ownership forgotten: `[]` or `[{}]`.
pub(super) fn is_reset(list: Option<&Value>) -> bool {
    match list.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Whether two lists say the same but for the times.
pub(super) fn same_but_times(old: Option<&Value>, new: Option<&Value>) -> bool {
    let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new) else { return old == new };
    let mut rest: Vec<&Value> = new.iter().collect();
    let same = |a: &Value, b: &Value| match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let covers = |a: &Map<String, Value>, b: &Map<String, Value>| {
                a.iter().all(|(key, value)| key == "time" || b.get(key) == Some(value))
            };
            covers(a, b) && covers(b, a)
        }
        (a, b) => a == b,
    };
    old.len() == new.len()
        && old.iter().all(|one| {
            let at = rest.iter().position(|other| same(one, other));
            at.map(|at| rest.swap_remove(at)).is_some()
        })
}
