//! Which objects by their labels: selectors of pods, of namespaces and of nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, Selector, SelectorExt};

pub(crate) type Labels = BTreeMap<String, String>;

/// The labels of each namespace.
pub(crate) type Namespaces = HashMap<String, Labels>;

/// Selects pods. None selects nothing, which is what Kubernetes takes a missing selector for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodSelector(Option<Selector>);

impl PodSelector {
    /// Reads a selector and adds the pod's own values of `matching` (`matchLabelKeys`) and the contrary of those of
    /// `differing`. One that cannot be read selects nothing; the API does not let it in.
    pub(crate) fn new(
        selector: Option<&LabelSelector>,
        own: &Labels,
        matching: &[String],
        differing: &[String],
    ) -> Self {
        let Some(Ok(mut selector)) = selector.cloned().map(Selector::try_from) else { return Self(None) };
        let values = |keys: &[String]| -> Vec<(String, String)> {
            keys.iter().filter_map(|key| Some((key.clone(), own.get(key)?.clone()))).collect()
        };
        selector.extend(values(matching).into_iter().map(|(key, value)| Expression::In(key, [value].into())));
        selector
            .extend(values(differing).into_iter().map(|(key, value)| Expression::NotIn(key, [value].into())));
        Self(Some(selector))
    }

    /// Selects what `selector` does.
    pub(crate) fn of(selector: Selector) -> Self {
        Self(Some(selector))
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// A term of a pod's affinity or anti-affinity to other pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodTerm {
    selector: PodSelector,
    namespaces: BTreeSet<String>,
    namespace_selector: PodSelector,
    /// Nodes with the same value of this label are one place.
    pub(crate) topology_key: String,
}

impl PodTerm {
    /// Reads a term of a pod in `namespace` with the labels `own`.
    pub(crate) fn new(term: &PodAffinityTerm, namespace: &str, own: &Labels) -> Self {
        let keys = |keys: &Option<Vec<String>>| keys.clone().unwrap_or_default();
        let mut namespaces: BTreeSet<_> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let (matching, differing) = (keys(&term.match_label_keys), keys(&term.mismatch_label_keys));
        Self {
            selector: PodSelector::new(term.label_selector.as_ref(), own, &matching, &differing),
            namespaces,
            namespace_selector: PodSelector::new(term.namespace_selector.as_ref(), own, &[], &[]),
            topology_key: term.topology_key.clone(),
        }
    }

    /// Whether the term speaks of pods such as this.
    pub(crate) fn matches(&self, namespace: &str, labels: &Labels, namespaces: &Namespaces) -> bool {
        let there = || {
            let none = Labels::new();
            self.namespace_selector.matches(namespaces.get(namespace).unwrap_or(&none))
        };
        self.selector.matches(labels) && (self.namespaces.contains(namespace) || there())
    }
}

/// What a term of a node affinity requires of labels and the name. Without requirements it matches no node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeTerm {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

impl NodeTerm {
    /// None if it cannot be read; the API does not let such a term in.
    pub(crate) fn new(term: &NodeSelectorTerm) -> Option<Self> {
        let read = |list: &Option<Vec<NodeSelectorRequirement>>| {
            list.iter().flatten().map(Requirement::new).collect::<Option<Vec<_>>>()
        };
        Some(Self { labels: read(&term.match_expressions)?, fields: read(&term.match_fields)? })
    }

    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        (!self.labels.is_empty() || !self.fields.is_empty())
            && self.labels.iter().all(|one| one.matches(labels.get(&one.key).map(String::as_str)))
            && self.fields.iter().all(|one| one.key == "metadata.name" && one.matches(Some(name)))
    }

    /// The only nodes that it can match, if it names any.
    pub(crate) fn names(&self) -> Option<BTreeSet<String>> {
        self.fields
            .iter()
            .filter(|one| one.key == "metadata.name" && one.operator == Operator::In)
            .map(|one| one.values.iter().cloned().collect::<BTreeSet<_>>())
            .reduce(|one, other| one.intersection(&other).cloned().collect())
    }
}

impl Requirement {
    fn new(requirement: &NodeSelectorRequirement) -> Option<Self> {
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            _ => return None,
        };
        let values = requirement.values.clone().unwrap_or_default();
        Some(Self { key: requirement.key.clone(), operator, values })
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|one| one == value));
        let ordered = |want: std::cmp::Ordering| {
            let number = |text: &str| text.parse::<i64>().ok();
            let limit = self.values.first().and_then(|limit| number(limit));
            value.and_then(number).zip(limit).is_some_and(|(value, limit)| value.cmp(&limit) == want)
        };
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => ordered(std::cmp::Ordering::Greater),
            Operator::Lt => ordered(std::cmp::Ordering::Less),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn node_terms_understand_every_operator() {
        let node = labels(&[("zone", "a"), ("cores", "8")]);
        let says = |key: &str, operator: &str, values: Value| {
            let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
            NodeTerm::new(&serde_json::from_value(term).unwrap()).unwrap().matches("n", &node)
        };
        for (key, operator, values, expected) in [
            ("zone", "In", json!(["a", "b"]), true),
            ("zone", "In", json!(["b"]), false),
            ("rack", "In", json!(["a"]), false),
            ("zone", "NotIn", json!(["a"]), false),
            ("rack", "NotIn", json!(["a"]), true),
            ("zone", "Exists", json!([]), true),
            ("rack", "Exists", json!([]), false),
            ("rack", "DoesNotExist", json!([]), true),
            ("zone", "DoesNotExist", json!([]), false),
            ("cores", "Gt", json!(["7"]), true),
            ("cores", "Gt", json!(["8"]), false),
            ("cores", "Lt", json!(["9"]), true),
            ("zone", "Lt", json!(["9"]), false),
            ("rack", "Gt", json!(["0"]), false),
        ] {
            assert_eq!(says(key, operator, values.clone()), expected, "{key} {operator} {values}");
        }
    }

    #[test]
    fn a_node_term_without_requirements_matches_nothing_and_names_are_found() {
        let read = |term: Value| NodeTerm::new(&serde_json::from_value(term).unwrap()).unwrap();
        assert!(!read(json!({})).matches("n", &Labels::new()));
        let named =
            read(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}));
        assert!(named.matches("n", &Labels::new()) && !named.matches("m", &Labels::new()));
        assert_eq!(named.names(), Some(["n".to_owned()].into()));
        assert_eq!(read(json!({})).names(), None);
    }

    #[test]
    fn pod_terms_speak_of_their_own_namespace_unless_they_say_otherwise() {
        let namespaces: Namespaces =
            [("one".to_owned(), labels(&[("team", "x")])), ("two".to_owned(), labels(&[("team", "y")]))]
                .into();
        let own = labels(&[("app", "web"), ("hash", "1")]);
        let read = |extra: Value| {
            let mut term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}});
            term.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            PodTerm::new(&serde_json::from_value(term).unwrap(), "one", &own)
        };
        let web = labels(&[("app", "web"), ("hash", "2")]);
        for (extra, one, two) in [
            (json!({}), true, false),
            (json!({"namespaces": ["two"]}), false, true),
            (json!({"namespaceSelector": {}}), true, true),
            (json!({"namespaceSelector": {"matchLabels": {"team": "y"}}}), false, true),
            (json!({"namespaceSelector": {"matchLabels": {"team": "y"}}, "namespaces": ["one"]}), true, true),
            (json!({"matchLabelKeys": ["hash"]}), false, false),
            (json!({"mismatchLabelKeys": ["hash"]}), true, false),
            (json!({"labelSelector": null}), false, false),
        ] {
            let term = read(extra.clone());
            let found = ["one", "two"].map(|namespace| term.matches(namespace, &web, &namespaces));
            assert_eq!(found, [one, two], "{extra}");
        }
    }
}
