//! What webhooks and policies are asked: one write, or one connection.

use serde_json::{Value, json};

use crate::apiserver::Target;
use crate::apiserver::show::user_info;
use crate::registry::Resource;
use crate::schema::Json;
use crate::status::Status;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apiserver) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// The text on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }

    /// The kind of its options. Patches and applies are updates, or creations.
    fn options(self) -> Option<&'static str> {
        match self {
            Self::Create => Some("CreateOptions"),
            Self::Update => Some("UpdateOptions"),
            Self::Delete => Some("DeleteOptions"),
            Self::Connect => None,
        }
    }
}

/// One write about which others are asked. The object itself goes beside it: webhooks change it on the way.
pub(in crate::apiserver) struct Question<'a> {
    pub(in crate::apiserver) target: &'a Target,
    pub(in crate::apiserver) operation: Operation,
    /// Empty for the object itself.
    pub(in crate::apiserver) subresource: &'a str,
    /// The object before.
    pub(in crate::apiserver) old: Option<&'a Value>,
    /// The fields of the request's options.
    pub(in crate::apiserver) options: &'a Value,
    pub(in crate::apiserver) dry_run: bool,
    /// What the server makes of an object that a webhook changed.
    pub(in crate::apiserver) settle: &'a (dyn Fn(&mut Value) -> Result<(), Status> + Sync),
}

/// For objects of which the server makes nothing.
pub(in crate::apiserver) fn as_it_is(_: &mut Value) -> Result<(), Status> {
    Ok(())
}

// === impl Question ===

impl Question<'_> {
    /// The object's name; empty when it is not known yet.
    pub(super) fn name<'n>(&'n self, object: Option<&'n Value>) -> &'n str {
        match self.target.name.as_str() {
            "" => object.map(|object| object.text("/metadata/name")).unwrap_or_default(),
            name => name,
        }
    }

    /// The namespace of the request. A namespace is in itself.
    pub(super) fn namespace<'n>(&'n self, object: Option<&'n Value>) -> &'n str {
        if self.is_namespace() { self.name(object) } else { &self.target.namespace }
    }

    /// Whether the object is a namespace.
    pub(super) fn is_namespace(&self) -> bool {
        self.target.is_core("namespaces")
    }

    /// Whether the body is of a kind of its own, which no other version has.
    pub(super) fn has_own_body(&self) -> bool {
        self.target.resource.subresource(self.subresource).is_some_and(|known| known.body.is_some())
    }

    /// An object of the request in the form of another version of its resource.
    pub(super) fn convert(&self, to: &Resource, object: &Value) -> Value {
        self.convert_between(&self.target.resource, to, object)
    }

    /// And back.
    pub(super) fn convert_back(&self, from: &Resource, object: &Value) -> Value {
        self.convert_between(from, &self.target.resource, object)
    }

    fn convert_between(&self, from: &Resource, to: &Resource, object: &Value) -> Value {
        let mut object = object.clone();
        if from.api_version() != to.api_version() && !self.has_own_body() {
            from.to_stored(&mut object);
            to.from_stored(&mut object);
        }
        object
    }

    /// An `AdmissionReview`, put in the version of `asked`.
    pub(super) fn review(&self, uid: &str, asked: &Resource, object: Option<&Value>) -> Value {
        let mut request = self.attributes(asked, object);
        let shown = |object: Option<&Value>| object.map(|object| self.convert(asked, object));
        request["uid"] = json!(uid);
        request["object"] = json!(shown(object));
        request["oldObject"] = json!(shown(self.old));
        for field in ["subResource", "requestSubResource", "name", "namespace"] {
            if request.text(&format!("/{field}")).is_empty() {
                request.as_object_mut().and_then(|fields| fields.shift_remove(field));
            }
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
    }

    /// All but the objects, with empty texts for what does not apply.
    pub(super) fn attributes(&self, asked: &Resource, object: Option<&Value>) -> Value {
        let own = &self.target.resource;
        let resource =
            |one: &Resource| json!({"group": one.group, "version": one.version, "resource": one.plural});
        json!({
            "kind": self.kind(asked), "resource": resource(asked), "subResource": self.subresource,
            "requestKind": self.kind(own), "requestResource": resource(own),
            "requestSubResource": self.subresource,
            "name": self.name(object), "namespace": self.namespace(object),
            "operation": self.operation.as_str(),
            "userInfo": self.target.who.as_deref().map(user_info),
            "dryRun": self.dry_run, "options": self.options(),
        })
    }

    fn kind(&self, resource: &Resource) -> Value {
        match resource.subresource(self.subresource).and_then(|known| known.body) {
            Some((group, version, kind)) => json!({"group": group, "version": version, "kind": kind}),
            None => json!({"group": resource.group, "version": resource.version, "kind": resource.kind}),
        }
    }

    fn options(&self) -> Option<Value> {
        let mut options = json!({"kind": self.operation.options()?, "apiVersion": "meta.k8s.io/v1"});
        for (field, value) in self.options.as_object().into_iter().flatten() {
            options.put(field, value.clone());
        }
        Some(options)
    }
}
