//! `metadata.name=x,spec.nodeName!=y`

use std::cell::LazyCell;

use serde_json::Value;

use super::SelectorError;
use super::index::{Index, selectable};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    /// Place in `selectable`.
    Indexed(usize),
    /// Names from the root of the document, which must be read for it.
    Document(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: Field,
    equal: bool,
    value: String,
}

/// All terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

impl FieldSelector {
    /// Parses `text` for a collection of a built-in kind.
    ///
    /// # Errors
    /// When it is not a selector, or names a field that the collection cannot be selected by.
    pub fn parse(text: &str, collection: &str) -> Result<Self, SelectorError> {
        Self::parse_with(text, collection, &[])
    }

    /// The same where the kind has selectable fields of its own, as dotted paths.
    ///
    /// # Errors
    /// When it is not a selector, or names a field that the collection cannot be selected by.
    pub fn parse_with(text: &str, collection: &str, own: &[String]) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let wrong = || SelectorError::Field(text.to_owned(), part.to_owned());
            let (name, equal, value) = operator(part).ok_or_else(wrong)?;
            let value = unescape(value).ok_or_else(wrong)?;
            let field = if own.iter().any(|path| path == name) {
                Field::Document(name.split('.').map(ToOwned::to_owned).collect())
            } else {
                resolve(name, collection, own)?
            };
            terms.push(Term { field, equal, value });
        }
        Ok(Self(terms))
    }

    /// Selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with this index is selected; fields that are not in the index count as empty.
    pub fn matches(&self, index: &Index) -> bool {
        self.matches_document(index, || Value::Null)
    }

    /// Whether an object is selected. Its document is only read if the selector asks for more than the index has.
    pub fn matches_document(&self, index: &Index, document: impl Fn() -> Value) -> bool {
        let document = LazyCell::new(document);
        self.0.iter().all(|term| {
            let equal = match &term.field {
                Field::Name => *index.name == *term.value,
                Field::Namespace => *index.namespace == *term.value,
                Field::Indexed(at) => index.field(*at) == term.value,
                Field::Document(path) => {
                    let found = path.iter().fold(&*document, |value, key| &value[key]);
                    match found {
                        Value::Null => term.value.is_empty(),
                        Value::String(text) => *text == term.value,
                        other => {
                            let text = other.to_string();
                            text == term.value
                        }
                    }
                }
            };
            equal == term.equal
        })
    }
}

fn resolve(name: &str, collection: &str, own: &[String]) -> Result<Field, SelectorError> {
    let indexed = selectable(collection);
    let name = match (collection, name) {
        (_, "metadata.name") => return Ok(Field::Name),
        (_, "metadata.namespace") => return Ok(Field::Namespace),
        ("nodes" | "namespaces", "name") => return Ok(Field::Name),
        ("pods", "spec.host") => "spec.nodeName",
        ("pods", "status.podIPs") => "status.podIP",
        // The same objects seen as events.k8s.io/v1.
        ("events", "reportingController") => "reportingComponent",
        ("events", name) => match name.strip_prefix("regarding.") {
            Some(rest) => {
                let same = indexed.iter().position(|path| path.strip_prefix("involvedObject.") == Some(rest));
                return same.map(Field::Indexed).ok_or_else(|| SelectorError::Unsupported(name.to_owned()));
            }
            None => name,
        },
        (_, name) => name,
    };
    match indexed.iter().position(|path| *path == name) {
        Some(at) => Ok(Field::Indexed(at)),
        None if indexed.is_empty() && own.is_empty() => Err(SelectorError::Unknown(name.to_owned())),
        None => Err(SelectorError::Unsupported(name.to_owned())),
    }
}

/// Splits at commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Takes a term apart at its first operator.
fn operator(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (name, rest) = term.split_at(at);
    for (sign, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(sign) {
            return Some((name, equal, value));
        }
    }
    None
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next()? {
                escaped @ ('\\' | ',' | '=') => out.push(escaped),
                _ => return None,
            },
            '=' | ',' => return None,
            plain => out.push(plain),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_selects_its_own_pods_that_are_not_finished() {
        let selector =
            FieldSelector::parse("spec.nodeName=n,status.phase!=Succeeded,status.phase!=Failed", "pods")
                .unwrap();
        let pod = |node: &str, phase: &str| {
            Index::of(
                "pods",
                &json!({"metadata":{"name":"p"},"spec":{"nodeName":node},"status":{"phase":phase}}),
            )
        };
        assert!(selector.matches(&pod("n", "Running")));
        assert!(!selector.matches(&pod("n", "Failed")));
        assert!(!selector.matches(&pod("m", "Running")));
    }

    #[test]
    fn events_are_selected_by_either_of_their_two_names() {
        let event = Index::of(
            "events",
            &json!({"metadata":{"name":"e"},"involvedObject":{"name":"x"},"reportingComponent":"kubelet"}),
        );
        for text in
            ["involvedObject.name=x", "regarding.name=x", "source=kubelet", "reportingController=kubelet"]
        {
            assert!(FieldSelector::parse(text, "events").unwrap().matches(&event), "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_refused_in_kubernetes_words() {
        assert_eq!(
            FieldSelector::parse("spec.foo=1", "pods").unwrap_err().to_string(),
            "field label not supported: spec.foo"
        );
        assert_eq!(
            FieldSelector::parse("spec.replicas=1", "deployments.apps").unwrap_err().to_string(),
            "\"spec.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in "\\PC{0,80}") {
            let _ = FieldSelector::parse(&text, "pods");
        }

        #[test]
        fn any_value_can_be_asked_for_when_it_is_escaped(value in "[a-z,=\\\\]{0,20}") {
            let escaped: String = value.chars().flat_map(|c| if ",=\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
            let selector = FieldSelector::parse(&format!("metadata.name={escaped}"), "pods").unwrap();
            let index = Index::of("pods", &json!({"metadata":{"name":value}}));
            prop_assert!(selector.matches(&index));
        }
    }
}
