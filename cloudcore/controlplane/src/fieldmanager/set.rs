//! Sets of fields, as a tree: what `fieldsV1` says.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::element::Element;

/// A set of paths. Invariants: sorted, no element twice, every node is a member or has members below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Vec<Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) element: Element,
    /// Whether the path to here is itself in the set.
    pub(super) member: bool,
    pub(super) below: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// From nodes in any order; nodes of the same element become one.
    pub(super) fn from_nodes(mut nodes: Vec<Node>) -> Self {
        nodes.retain(|node| !node.is_empty());
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        nodes.dedup_by(|later, kept| {
            let same = later.element == kept.element;
            if same {
                kept.member |= later.member;
                kept.below = kept.below.union(&later.below);
            }
            same
        });
        Self(nodes)
    }

    /// Of one path of field names.
    pub fn of_names(path: &[&str]) -> Self {
        match path {
            [] => Self::default(),
            [name, rest @ ..] => Self(vec![Node {
                element: Element::field(name),
                member: rest.is_empty(),
                below: Self::of_names(rest),
            }]),
        }
    }

    fn find(&self, element: &Element) -> Option<&Node> {
        let at = self.0.binary_search_by(|node| node.element.cmp(element)).ok()?;
        self.0.get(at)
    }

    /// Whether the element itself is a member.
    pub(super) fn has(&self, element: &Element) -> bool {
        self.find(element).is_some_and(|node| node.member)
    }

    /// What is below an element.
    pub(super) fn below(&self, element: &Element) -> Option<&Set> {
        self.find(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// Goes through both sets in step; `join` makes the node of what is in one or both.
    fn zip(&self, other: &Self, join: impl Fn(Option<&Node>, Option<&Node>) -> Option<Node>) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut nodes = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Self(nodes),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order.is_le() { left.next() } else { None };
            let b = if order.is_ge() { right.next() } else { None };
            nodes.extend(join(a, b).filter(|node| !node.is_empty()));
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(Node {
                element: a.element.clone(),
                member: a.member || b.member,
                below: a.below.union(&b.below),
            }),
            (one, other) => one.or(other).cloned(),
        })
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |a, b| {
            let (a, b) = (a?, b?);
            let below = a.below.intersection(&b.below);
            Some(Node { element: a.element.clone(), member: a.member && b.member, below })
        })
    }

    /// What is in `self` and not in `other`, path by path.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| {
            let a = a?;
            let Some(b) = b else { return Some(a.clone()) };
            let below = a.below.difference(&b.below);
            Some(Node { element: a.element.clone(), member: a.member && !b.member, below })
        })
    }

    /// The same, and of what is in `other` everything below goes, too.
    #[must_use]
    pub fn without_trees(&self, other: &Self) -> Self {
        self.zip(other, |a, b| {
            let a = a?;
            match b {
                None => Some(a.clone()),
                Some(b) if b.member => None,
                Some(b) => {
                    let below = a.below.without_trees(&b.below);
                    Some(Node { element: a.element.clone(), member: a.member, below })
                }
            }
        })
    }

    /// Every path in it, the members of a level before what is below them.
    pub fn paths(&self) -> Vec<Vec<&Element>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect<'a>(&'a self, prefix: &mut Vec<&'a Element>, paths: &mut Vec<Vec<&'a Element>>) {
        for node in self.0.iter().filter(|node| node.member) {
            paths.push(prefix.iter().copied().chain([&node.element]).collect());
        }
        for node in &self.0 {
            prefix.push(&node.element);
            node.below.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// Reads `fieldsV1`. Elements of unknown sorts are skipped.
    ///
    /// # Errors
    /// When it is not a tree of objects, or an element is malformed.
    pub fn parse(fields: &Value) -> Result<Self, String> {
        let Value::Object(map) = fields else { return Err("fieldsV1 is not an object".to_owned()) };
        let mut nodes = Vec::with_capacity(map.len());
        for (text, inner) in map {
            if text == "." {
                continue;
            }
            let Some(element) = Element::parse(text)? else { continue };
            let below = Self::parse(inner)?;
            let member = below.is_empty() || inner.get(".").is_some();
            nodes.push(Node { element, member, below });
        }
        Ok(Self::from_nodes(nodes))
    }

    /// The form in `fieldsV1`.
    pub fn print(&self) -> Value {
        Value::Object(self.print_into(Map::new()))
    }

    fn print_into(&self, mut map: Map<String, Value>) -> Map<String, Value> {
        for node in &self.0 {
            let mut inner = Map::new();
            if node.member && !node.below.is_empty() {
                inner.insert(".".to_owned(), json!({}));
            }
            map.insert(node.element.print(), Value::Object(node.below.print_into(inner)));
        }
        map
    }
}

/// `.spec.containers[name="c"].image`
pub(super) fn path_text(path: &[&Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}
