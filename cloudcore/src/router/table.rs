//! All rules and what they mean together. Pure but for the counts that rules carry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use proto::pki::NodeName;
use proto::rules::{Endpoint, From, Orders, RuleSpec, Topic, Way, matches};
use tokio::sync::oneshot;

use super::path;
use super::tally::{RuleStatus, Tally};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A Rule as the API has it.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) uid: String,
    /// Seconds; of two rules for the same messages the older one gets them.
    pub(super) created: i64,
    pub(super) spec: RuleSpec,
    pub(super) status: RuleStatus,
}

/// What lasts as long as the rule does, whatever its spec.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) id: Id,
    pub(super) uid: String,
    pub(super) tally: Tally,
    /// Ends when the message before has been dealt with.
    pub(super) before: Mutex<Option<oneshot::Receiver<()>>>,
}

/// A rule that works.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) lasting: Arc<Lasting>,
    pub(super) way: Way,
}

/// The rules.
#[derive(Debug, Default)]
pub(super) struct Table {
    endpoints: HashMap<Id, Endpoint>,
    objects: BTreeMap<Id, (Object, Arc<Lasting>)>,
    /// Those that work.
    rules: Vec<Arc<Rule>>,
    by_node: HashMap<NodeName, Vec<Arc<Rule>>>,
    /// Node and filter of rules that do not work just now.
    broken: Vec<(NodeName, String)>,
}

// === impl Table ===

impl Table {
    pub(super) fn put_endpoint(&mut self, id: Id, endpoint: Endpoint) {
        self.endpoints.insert(id, endpoint);
    }

    pub(super) fn remove_endpoint(&mut self, id: &Id) {
        self.endpoints.remove(id);
    }

    /// Forgets the endpoints that are not among these.
    pub(super) fn keep_endpoints(&mut self, seen: impl Fn(&Id) -> bool) {
        self.endpoints.retain(|id, _| seen(id));
    }

    /// Whether it says something new: most changes of a rule are its status, which comes from here.
    pub(super) fn put_rule(&mut self, id: Id, object: Object) -> bool {
        let known = self.objects.get(&id);
        if known.is_some_and(|(known, _)| known.uid == object.uid && known.spec == object.spec) {
            return false;
        }
        let lasting = match self.objects.remove(&id) {
            Some((_, lasting)) if lasting.uid == object.uid => lasting,
            _ => Arc::new(Lasting {
                id: id.clone(),
                uid: object.uid.clone(),
                tally: Tally::from(object.status.clone()),
                before: Mutex::default(),
            }),
        };
        self.objects.insert(id, (object, lasting));
        true
    }

    pub(super) fn remove_rule(&mut self, id: &Id) {
        self.objects.remove(id);
    }

    /// Forgets the rules that are not among these.
    pub(super) fn keep_rules(&mut self, seen: impl Fn(&Id) -> bool) {
        self.objects.retain(|id, _| seen(id));
    }

    /// Finds out what all rules mean now. What is wrong with one is told in its status.
    pub(super) fn settle(&mut self) {
        let mut oldest: Vec<_> = self.objects.iter().collect();
        oldest.sort_by_key(|(id, (object, _))| (object.created, *id));
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        let mut broken = Vec::new();
        for (id, (object, lasting)) in oldest {
            let found = self.way(id, &object.spec).and_then(|way| {
                let mut others = rules.iter().filter(|other| other.lasting.id.namespace == id.namespace);
                let clash = others
                    .find_map(|other| way.from.clash(&other.way.from, &id.namespace, &other.lasting.id.name));
                clash.map_or(Ok(way), Err)
            });
            match found {
                Ok(way) => rules.push(Arc::new(Rule { lasting: Arc::clone(lasting), way })),
                Err(reason) => {
                    lasting.tally.trouble(&format!("the rule does not work: {reason}"));
                    let from = &object.spec.source_resource;
                    let node = from.get("node_name").and_then(|name| name.parse().ok());
                    let topic = from.get("topic").and_then(|topic| Topic::to_subscribe(topic).ok());
                    broken.extend(node.zip(topic.map(|topic| format!("{}/{topic}", id.namespace))));
                }
            }
        }
        self.broken = broken;
        self.by_node.clear();
        for rule in &rules {
            if let Some(node) = rule.way.from.node() {
                self.by_node.entry(node.clone()).or_default().push(Arc::clone(rule));
            }
        }
        self.rules = rules;
    }

    fn way(&self, id: &Id, spec: &RuleSpec) -> Result<Way, String> {
        let namespace = &id.namespace;
        let end = |side: &str, name: &str| {
            let id = Id { namespace: namespace.clone(), name: name.to_owned() };
            let found = self.endpoints.get(&id);
            found.ok_or_else(|| format!("{side} ruleEndpoint {namespace}/{name} has not been created"))
        };
        Way::of(spec, end("source", &spec.source)?, end("target", &spec.target)?)
    }

    /// The rule for a path of the REST port, and what follows its own path.
    pub(super) fn rest<'a>(
        &self,
        namespace: &str,
        path: &'a [&'a str],
    ) -> Option<(Arc<Rule>, &'a [&'a str])> {
        let fits = self.rules.iter().filter_map(|rule| match &rule.way.from {
            From::Rest { path: own } if rule.lasting.id.namespace == namespace => {
                Some((path::weight(own), rule, path::rest(own, path)?))
            }
            _ => None,
        });
        let (_, rule, rest) = fits.max_by_key(|(weight, _, _)| *weight)?;
        Some((Arc::clone(rule), rest))
    }

    /// The rules for what was published on a node.
    pub(super) fn published(&self, node: &NodeName, topic: &str) -> Vec<Arc<Rule>> {
        let rules = self.by_node.get(node).into_iter().flatten();
        let fits = |rule: &&Arc<Rule>| match &rule.way.from {
            From::EventBus { topic: own, .. } => matches(&filter(rule, own.as_str()), topic),
            _ => false,
        };
        rules.filter(fits).cloned().collect()
    }

    /// Whether a rule that does not work just now would want it.
    pub(super) fn may_be_wanted(&self, node: &NodeName, topic: &str) -> bool {
        self.broken.iter().any(|(at, filter)| at == node && matches(filter, topic))
    }

    /// The rule for what a program on a node calls.
    pub(super) fn called(&self, node: &NodeName, url: &str) -> Option<Arc<Rule>> {
        let mut rules = self.by_node.get(node)?.iter();
        rules.find(|rule| matches!(&rule.way.from, From::ServiceBus { url: own, .. } if own == url)).cloned()
    }

    /// What rules want of a node.
    pub(super) fn orders(&self, node: &NodeName) -> Orders {
        let mut orders = Orders::default();
        for rule in self.by_node.get(node).into_iter().flatten() {
            match &rule.way.from {
                From::EventBus { topic, .. } => {
                    orders.topics.insert(filter(rule, topic.as_str()));
                }
                From::ServiceBus { url, .. } => {
                    orders.urls.insert(url.clone());
                }
                From::Rest { .. } => {}
            }
        }
        orders
    }

    /// What lasts of every rule, broken ones too.
    pub(super) fn all(&self) -> Vec<Arc<Lasting>> {
        self.objects.values().map(|(_, lasting)| Arc::clone(lasting)).collect()
    }
}

/// Topics of a rule lie below its namespace.
fn filter(rule: &Rule, topic: &str) -> String {
    format!("{}/{topic}", rule.lasting.id.namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(name: &str) -> Id {
        Id { namespace: "default".into(), name: name.into() }
    }

    fn put(table: &mut Table, name: &str, created: i64, spec: serde_json::Value) {
        let spec = serde_json::from_value(spec).unwrap();
        let object = Object { uid: name.into(), created, spec, status: RuleStatus::default() };
        table.put_rule(id(name), object);
    }

    fn table() -> Table {
        let mut table = Table::default();
        for kind in ["rest", "eventbus"] {
            let endpoint = serde_json::from_value(json!({"ruleEndpointType": kind})).unwrap();
            table.put_endpoint(id(kind), endpoint);
        }
        table
    }

    #[test]
    fn the_longest_path_wins_and_names_end_where_segments_end() {
        let mut table = table();
        for (name, path) in [("short", "a"), ("hole", "a/{x}"), ("long", "/a/b/")] {
            put(
                &mut table,
                name,
                1,
                json!({
                    "source": "rest", "sourceResource": {"path": path},
                    "target": "eventbus", "targetResource": {"topic": "t"},
                }),
            );
        }
        table.settle();
        let name = |path: &[&str]| table.rest("default", path).map(|(rule, _)| rule.lasting.id.name.clone());
        assert_eq!(name(&["a", "b"]).unwrap(), "long");
        assert_eq!(name(&["a", "c", "d"]).unwrap(), "hole");
        assert_eq!(name(&["a"]).unwrap(), "short");
        assert_eq!(name(&["ab"]), None);
        assert!(table.rest("other", &["a"]).is_none());
    }

    #[test]
    fn of_two_rules_for_the_same_messages_the_older_works_and_the_other_says_why_not() {
        let mut table = table();
        let spec = json!({
            "source": "eventbus", "sourceResource": {"topic": "room/t", "node_name": "edge1"},
            "target": "rest", "targetResource": {"resource": "http://h/x"},
        });
        put(&mut table, "young", 2, spec.clone());
        put(&mut table, "old", 1, spec);
        table.settle();
        let node: NodeName = "edge1".parse().unwrap();
        let found = table.published(&node, "default/room/t");
        assert_eq!(found.iter().map(|rule| rule.lasting.id.name.as_str()).collect::<Vec<_>>(), ["old"]);
        assert_eq!(table.orders(&node).topics.into_iter().collect::<Vec<_>>(), ["default/room/t"]);
        assert!(table.published(&"edge2".parse().unwrap(), "default/room/t").is_empty());
        let young = table.all().into_iter().find(|lasting| lasting.id.name == "young").unwrap();
        let errors = young.tally.news().unwrap().errors;
        assert!(errors[0].contains("source properties exist in Rule default/old."), "{errors:?}");

        table.remove_endpoint(&id("rest"));
        table.settle();
        assert!(table.published(&node, "default/room/t").is_empty());
        assert!(
            table.may_be_wanted(&node, "default/room/t") && !table.may_be_wanted(&node, "default/room/u")
        );
        let old = table.all().into_iter().find(|lasting| lasting.id.name == "old").unwrap();
        assert!(
            old.tally.news().unwrap().errors[0]
                .contains("target ruleEndpoint default/rest has not been created")
        );
    }
}
