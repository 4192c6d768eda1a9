//! How a write is done: whether it is one at all, and in whose name.

use http::header;
use serde_json::{Value, json};

use super::call::Call;
use super::http::MANAGER_MAX;
use super::{Target, metadata};
use crate::fieldmanager::{self, Claim};
use crate::status::Status;

/// The name under which the server itself writes.
const SELF: &str = "skerry";

/// Whose the fields become that a write changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This manager's, through this subresource (empty for the object itself).
    Manager { name: String, subresource: &'static str },
    /// The new object says it already.
    Stated,
    /// Nobody's: all stays as it is.
    Nobody,
}

/// How a write is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Everything happens, but nothing is stored.
    pub(crate) dry_run: bool,
    pub(crate) owner: Owner,
    /// What the request's options say, for those who are asked about it.
    pub(crate) options: Value,
    /// The subresource through which the object is written, where that is not the part's own.
    pub(crate) through: &'static str,
}

impl Write {
    fn new(dry_run: bool, owner: Owner) -> Self {
        Self { dry_run, owner, options: Value::Null, through: "" }
    }

    /// By the server, for itself.
    pub(crate) fn by_server() -> Self {
        Self::new(false, Owner::Manager { name: SELF.to_owned(), subresource: "" })
    }

    /// By nobody who would own anything.
    pub(crate) fn by_nobody(dry_run: bool) -> Self {
        Self::new(dry_run, Owner::Nobody)
    }

    /// As the client asks for it; `options` is the kind of its query parameters.
    pub(super) fn of(call: &Call, options: &str, subresource: &'static str) -> Result<Self, Status> {
        let dry_run = call.query.dry_run(options)?;
        let name = match call.query.field_manager(options)? {
            Some(name) => name.to_owned(),
            None => agent(call),
        };
        let owner = Owner::Manager { name, subresource };
        Ok(Self { options: options_of(call), ..Self::new(dry_run, owner) })
    }

    /// The same for an object that says itself who owns what.
    pub(super) fn applied(call: &Call) -> Result<Self, Status> {
        let dry_run = call.query.dry_run("PatchOptions")?;
        Ok(Self { options: options_of(call), ..Self::new(dry_run, Owner::Stated) })
    }

    /// The same through a subresource.
    pub(super) fn through(self, subresource: &'static str) -> Self {
        Self { through: subresource, ..self }
    }

    /// Settles who owns what in `new`, which this write makes of `old`.
    pub(super) fn own(&self, target: &Target, old: Option<&Value>, new: &mut Value) {
        let before = || old.and_then(|old| old.pointer("/metadata/managedFields")).cloned();
        match &self.owner {
            Owner::Stated => {}
            Owner::Nobody => state(new, before()),
            Owner::Manager { name, subresource } => {
                let resource = &target.resource;
                let claim = Claim {
                    shape: resource.shape(),
                    manager: name,
                    api_version: &resource.api_version(),
                    subresource,
                    ignored: &resource.unreached(subresource, new),
                    now: &metadata::now(),
                };
                fieldmanager::update(&claim, old, new);
            }
        }
    }
}

/// The options in a query that clients give with writes of all kinds.
pub(super) fn options_of(call: &Call) -> Value {
    let mut options = json!({});
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(text) = call.query.get(field) {
            options[field] = json!(text);
        }
    }
    if let Some(text) = call.query.get("dryRun") {
        options["dryRun"] = json!([text]);
    }
    options
}

/// What a client that does not say who it is says about its program.
fn agent(call: &Call) -> String {
    let agent =
        call.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let name = agent.split('/').next().unwrap_or_default();
    name.chars().filter(|letter| !letter.is_control()).take(MANAGER_MAX).collect()
}

/// Takes the entries out of an object, to put them back when the rules have made what they make of it.
pub(super) fn stated(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.shift_remove("managedFields")
}

/// Puts entries into an object, or takes them out.
pub(super) fn state(object: &mut Value, entries: Option<Value>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match entries {
        Some(entries) => drop(metadata.insert("managedFields".to_owned(), entries)),
        None => drop(metadata.shift_remove("managedFields")),
    }
}
