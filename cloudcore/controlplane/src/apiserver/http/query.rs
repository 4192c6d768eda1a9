//! Query parameters. Unknown ones are ignored, as Kubernetes does.

use url::form_urlencoded;

use crate::status::{FieldError, Status};

/// More than any client sends; the rest is ignored.
const MAX: usize = 64;

/// Bytes that the name of a field manager may have.
pub(in crate::apiserver) const MANAGER_MAX: usize = 128;

/// The parameters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::apiserver) struct Query(Vec<(String, String)>);

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apiserver) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl Query {
    pub(in crate::apiserver) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes()).take(MAX);
        Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
    }

    /// The first value of `key`, unless it is empty.
    pub(in crate::apiserver) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of `key`.
    pub(in crate::apiserver) fn all<'q>(&'q self, key: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether `key` is there at all, with or without a value.
    pub(in crate::apiserver) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    pub(in crate::apiserver) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("1" | "t" | "T" | "true" | "True" | "TRUE"))
    }

    /// A whole number; negative ones are there for the caller to judge.
    pub(in crate::apiserver) fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let parsed = text.parse().map_err(|_| {
            Status::bad_request(format!(
                "strconv.ParseInt: parsing \"{text}\": invalid syntax (parameter {key})"
            ))
        });
        parsed.map(Some)
    }

    /// Whether nothing shall be stored.
    pub(in crate::apiserver) fn dry_run(&self, kind: &str) -> Result<bool, Status> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                let wrong = FieldError::not_supported("dryRun", &other.into(), &["All"]);
                Err(Status::invalid("meta.k8s.io", kind, "", &[wrong]))
            }
        }
    }

    /// Who says that it writes, checked; `kind` are the options that the parameters are of.
    pub(in crate::apiserver) fn field_manager(&self, kind: &str) -> Result<Option<&str>, Status> {
        let Some(manager) = self.get("fieldManager") else { return Ok(None) };
        let mut wrong = Vec::new();
        if manager.len() > MANAGER_MAX {
            wrong.push(FieldError::too_long("fieldManager", MANAGER_MAX));
        }
        let unprintable = manager.chars().enumerate().filter(|(_, letter)| letter.is_control());
        wrong.extend(unprintable.take(1).map(|(at, letter)| {
            let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(letter));
            FieldError::invalid("fieldManager", &manager.into(), &detail)
        }));
        if wrong.is_empty() {
            Ok(Some(manager))
        } else {
            Err(Status::invalid("meta.k8s.io", kind, "", &wrong))
        }
    }

    pub(in crate::apiserver) fn field_validation(&self) -> Result<FieldValidation, Status> {
        match self.get("fieldValidation") {
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Warn") | None => Ok(FieldValidation::Warn),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => {
                let wrong = FieldError::not_supported(
                    "fieldValidation",
                    &other.into(),
                    &["Ignore", "Warn", "Strict"],
                );
                Err(Status::invalid("meta.k8s.io", "CreateOptions", "", &[wrong]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded_and_flags_know_their_spellings() {
        let query = Query::parse("labelSelector=a%3Db&watch=1&limit=abc&timeoutSeconds=-3&dryRun=All&empty=");
        assert_eq!(query.get("labelSelector"), Some("a=b"));
        assert!(query.flag("watch") && !query.flag("other"));
        assert_eq!(query.number("timeoutSeconds").unwrap(), Some(-3));
        assert!(query.number("limit").is_err());
        assert_eq!(query.get("empty"), None);
        assert!(query.dry_run("CreateOptions").unwrap());
        assert!(Query::parse("dryRun=x").dry_run("CreateOptions").is_err());
        let manager = |text: &str| {
            Query::parse(text).field_manager("PatchOptions").map(|name| name.map(ToOwned::to_owned))
        };
        assert_eq!(manager("fieldManager=a").unwrap().as_deref(), Some("a"));
        assert_eq!(manager("a=b").unwrap(), None);
        assert_eq!(
            manager("fieldManager=a%0A").unwrap_err().message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\n\": invalid character U+000A (at position 1)"
        );
        assert!(
            manager(&format!("fieldManager={}", "x".repeat(129)))
                .unwrap_err()
                .message
                .contains("fieldManager: Too long: may not be more than 128 bytes")
        );
    }

    proptest! {
        #[test]
        fn any_query_is_parsed_without_a_panic(text in "\\PC{0,100}") {
            let query = Query::parse(&text);
            let _ = (query.number("limit"), query.field_validation(), query.dry_run("x"));
        }
    }
}
