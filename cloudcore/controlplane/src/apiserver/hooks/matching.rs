//! Whether a webhook or a policy has a say in a request.
//!
//! Source: Kubernetes v1.36 `apiserver/pkg/admission/plugin/webhook/predicates`.

use std::sync::Arc;

use serde_json::Value;

use super::{Operation, Question};
use crate::apiserver::Api;
use crate::registry::Resource;
use crate::schema::Json;
use crate::selector::LabelSelector;
use crate::status::Status;
use crate::store::{Collection, ObjectId};

/// What a registration is about.
#[derive(Debug)]
pub(super) struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether a rule about one version takes requests about all.
    equivalent: bool,
    /// Whether no rules mean everything.
    all: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

/// Which operations on which resources.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Plural and subresource.
    resources: Vec<(String, String)>,
    scope: Scope,
    /// All when it is empty.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

// === impl Matcher ===

impl Matcher {
    /// Of a webhook: its rules are its own, and without any it is never called.
    pub(super) fn of_webhook(webhook: &Value) -> Self {
        Self::compile(webhook, "/rules", false)
    }

    /// Of a policy, or of what binds it: without rules it is about everything.
    pub(super) fn of_policy(resources: &Value) -> Self {
        Self::compile(resources, "/resourceRules", true)
    }

    fn compile(document: &Value, rules: &str, all: bool) -> Self {
        let compiled = |pointer: &str| document.list(pointer).iter().map(Rule::compile).collect();
        // Validated when it was written; one that is none all the same selects everything, so nothing slips through.
        let selector = |field: &str| {
            LabelSelector::parse(&LabelSelector::notation(&document[field])).unwrap_or_default()
        };
        Self {
            rules: compiled(rules),
            excluded: compiled("/excludeResourceRules"),
            equivalent: document.text("/matchPolicy") != "Exact",
            all,
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The version of the resource in which to ask about the request; none when it is not this one's business.
    pub(super) fn matches(
        &self,
        api: &Api,
        question: &Question<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Arc<Resource>>, Status> {
        let within = self.takes_namespace(api, question, object);
        if within == Ok(false) {
            return Ok(None);
        }
        if self.find(&self.excluded, api, question, object).is_some() {
            return Ok(None);
        }
        let found = if self.all && self.rules.is_empty() {
            Some(Arc::clone(&question.target.resource))
        } else {
            self.find(&self.rules, api, question, object)
        };
        if found.is_none() {
            return Ok(None);
        }
        // Only those whom it concerns are told that the namespace is not there.
        within?;
        let takes = |object: Option<&Value>| object.is_some_and(|object| labelled(&self.objects, object));
        let taken = self.objects.is_empty() || takes(object) || takes(question.old);
        Ok(found.filter(|_| taken))
    }

    fn takes_namespace(
        &self,
        api: &Api,
        question: &Question<'_>,
        object: Option<&Value>,
    ) -> Result<bool, Status> {
        let name = question.namespace(object);
        if self.namespaces.is_empty() || (name.is_empty() && !question.is_namespace()) {
            return Ok(true);
        }
        let written = matches!(question.operation, Operation::Create | Operation::Update);
        if question.is_namespace() && question.subresource.is_empty() && written {
            return Ok(object.is_some_and(|object| labelled(&self.namespaces, object)));
        }
        let there = api.store.get(&ObjectId::new(&Collection::new("", "namespaces"), "", name));
        let namespace = there.ok_or_else(|| Status::not_found("", "namespaces", name))?;
        Ok(self.namespaces.matches(&namespace.index))
    }

    /// The version that one of the rules is about.
    fn find(
        &self,
        rules: &[Rule],
        api: &Api,
        question: &Question<'_>,
        object: Option<&Value>,
    ) -> Option<Arc<Resource>> {
        let own = &question.target.resource;
        let fits = |resource: &Resource, rule: &Rule| rule.takes(resource, question, object);
        if rules.iter().any(|rule| fits(own, rule)) {
            return Some(Arc::clone(own));
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let snapshot = api.registry.snapshot();
        let others = snapshot
            .resources
            .iter()
            .filter(|other| other.stored_as() == own.stored_as() && other.api_version() != own.api_version());
        let others: Vec<_> = others.collect();
        rules
            .iter()
            .find_map(|rule| others.iter().find(|other| fits(other, rule)).map(|found| Arc::clone(found)))
    }
}

fn labelled(selector: &LabelSelector, object: &Value) -> bool {
    selector.takes(|key| object.get("metadata")?.get("labels")?.get(key)?.as_str())
}

// === impl Rule ===

impl Rule {
    fn compile(rule: &Value) -> Self {
        let texts = |pointer: &str| -> Vec<String> {
            rule.list(pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let split = |text: String| match text.split_once('/') {
            Some((plural, subresource)) => (plural.to_owned(), subresource.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts("/operations"),
            groups: texts("/apiGroups"),
            versions: texts("/apiVersions"),
            resources: texts("/resources").into_iter().map(split).collect(),
            scope: match rule.text("/scope") {
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::All,
            },
            names: texts("/resourceNames"),
        }
    }

    fn takes(&self, resource: &Resource, question: &Question<'_>, object: Option<&Value>) -> bool {
        let has = |list: &[String], one: &str| list.iter().any(|known| known == "*" || known == one);
        let part = |(plural, subresource): &(String, String)| {
            (plural == "*" || *plural == resource.plural)
                && (subresource == "*" || subresource == question.subresource)
        };
        let namespaced = resource.namespaced;
        (match self.scope {
            Scope::All => true,
            Scope::Cluster => !namespaced,
            Scope::Namespaced => namespaced,
        }) && has(&self.operations, question.operation.as_str())
            && has(&self.groups, &resource.group)
            && has(&self.versions, &resource.version)
            && self.resources.iter().any(part)
            && (self.names.is_empty() || self.names.iter().any(|name| name == question.name(object)))
    }
}
