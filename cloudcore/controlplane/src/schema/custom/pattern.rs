//! `pattern`s: Go's regular expressions on Rust's engine. Both are RE2; what differs is that Go's `\d`, `\w` and `\s` are ASCII.

use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};

/// A pattern, compiled when it is first needed: many never are.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    source: Box<str>,
    compiled: Arc<OnceLock<Option<Regex>>>,
}

/// A compiled pattern may not be larger than this.
const SIZE_LIMIT: usize = 1 << 20;

impl Pattern {
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), compiled: Arc::default() }
    }

    /// As it stands in the schema.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether `text` contains a match. A pattern that cannot be compiled matches nothing: CRDs with such are refused.
    pub(super) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.source).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// Compiles a Go pattern; the error says what is wrong with it.
pub(super) fn compile(source: &str) -> Result<Regex, String> {
    RegexBuilder::new(&ascii_classes(source))
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())
}

fn ascii_classes(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\f\r ]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some('/') => out.push('/'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, yes, no) in [
            (r"^\d+$", "12", "１２"),
            (r"^[\w.]+$", "a.b_1", "ä"),
            ("^x", "xy", "yx"),
            (r"^(a|b)\/c$", "a/c", "ac"),
            (r"^.{3}$", "äöü", "äö"),
        ] {
            let pattern = Pattern::new(pattern);
            assert!(pattern.matches(yes), "{} {yes}", pattern.source());
            assert!(!pattern.matches(no), "{} {no}", pattern.source());
        }
        assert!(compile("(").is_err());
    }
}
