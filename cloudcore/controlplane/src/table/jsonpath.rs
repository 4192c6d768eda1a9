//! Kubernetes' JSON paths (`.status.conditions[?(@.type=="Ready")].status`) on an RFC 9535 engine: they differ in the leading
//! `$`, in braces, and in names with dashes or escaped dots.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug)]
pub struct JsonPath(JpQuery);

/// The path cannot be read. A CRD with such a path is refused.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} is not a JSON path: {reason}")]
pub struct JsonPathError {
    path: String,
    reason: String,
}

impl JsonPath {
    /// Reads a path as it stands in a CRD.
    pub fn parse(path: &str) -> Result<Self, JsonPathError> {
        let standard = standard_form(path);
        parse_json_path(&standard)
            .map(Self)
            .map_err(|error| JsonPathError { path: path.to_owned(), reason: error.to_string() })
    }

    /// What the path finds.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        js_path_process(&self.0, value)
            .map(|found| found.into_iter().map(jsonpath_rust::query::QueryRef::val).collect())
            .unwrap_or_default()
    }
}

fn standard_form(path: &str) -> String {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    let mut out = String::from("$");
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            let (name, tail) = take_name(tail);
            match name.as_str() {
                // `..` looks at all levels.
                "" => out.push('.'),
                "*" => out.push_str(".*"),
                name if out.ends_with('.') || is_plain(name) => {
                    out.push('.');
                    out.push_str(name);
                }
                name => {
                    let escaped = name.replace('\\', "\\\\").replace('\'', "\\'");
                    out.push_str(&format!("['{escaped}']"));
                }
            }
            rest = tail;
        } else if rest.starts_with('[') {
            let end = bracket_end(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            // A path may start without its dot.
            let (name, tail) = take_name(rest);
            if name.is_empty() {
                out.push_str(rest);
                break;
            }
            out.push('.');
            out.push_str(&name);
            rest = tail;
        }
    }
    out
}

fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn take_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Behind the bracket that closes the first one, quotes respected.
fn bracket_end(text: &str) -> usize {
    let (mut depth, mut quote) = (0usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_real_crds_find_what_they_name() {
        let object = json!({"spec": {"n": 3, "some-key": "v", "list": [{"a": 1}, {"a": 2}]},
            "metadata": {"annotations": {"example.com/x": "y"}},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, found) in [
            (".spec.n", json!([3])),
            ("{.spec.n}", json!([3])),
            ("spec.n", json!([3])),
            (".spec.some-key", json!(["v"])),
            (r".metadata.annotations.example\.com/x", json!(["y"])),
            (".metadata.annotations['example.com/x']", json!(["y"])),
            (".spec.list[0].a", json!([1])),
            (".spec.list[*].a", json!([1, 2])),
            (".spec.list[-1].a", json!([2])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type=='Synced')].status", json!(["False"])),
            (".spec.missing.deep", json!([])),
        ] {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(json!(parsed.find(&object)), found, "{path}");
        }
        assert!(JsonPath::parse(".spec[").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_an_error(path in r#"[.\[\]a-z*@?()='"\\${}0-9-]{0,20}"#) {
            let _ = JsonPath::parse(&path);
        }
    }
}
