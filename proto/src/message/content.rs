use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The payload of a message: valid JSON, kept as text so that numbers, key order and unknown fields pass
/// through untouched.
#[derive(Clone)]
pub struct Content(Box<RawValue>);

/// The content is not what the reader needs, or a value cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Valid JSON, but not the expected shape.
    #[error("content{path}: {reason}")]
    Shape {
        /// Where in the content, with a leading dot; empty for the whole.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// A value of ours has no JSON form (a map whose keys are no strings).
    #[error("a value cannot be written as JSON: {0}")]
    Unwritable(#[source] serde_json::Error),
    /// Text that should have been JSON is not.
    #[error("the content is not valid JSON: {0}")]
    NotJson(#[source] serde_json::Error),
}

impl Content {
    /// `null`: a request that needs no payload.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// `"OK"`: the literal by which both ends say that all went well.
    pub fn ok() -> Self {
        Self::text("OK")
    }

    /// A JSON string. Patches travel like this: JSON text within a JSON string.
    pub fn text(text: &str) -> Self {
        Self::own(serde_json::Value::from(text).to_string())
    }

    /// Any value as JSON.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, ContentError> {
        serde_json::value::to_raw_value(value).map(Self).map_err(ContentError::Unwritable)
    }

    /// A JSON document that is already text.
    pub fn from_json_text(text: String) -> Result<Self, ContentError> {
        RawValue::from_string(text).map(Self).map_err(ContentError::NotJson)
    }

    /// The raw JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The text, if the content is a JSON string.
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        let raw = self.get();
        let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    }

    /// Reads the content as a type; the error names the field. A content that is a string holding JSON
    /// (some KubeEdge modules encode twice) is not unwrapped here: see [`Content::parse_lenient`].
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ContentError> {
        parse(self.get())
    }

    /// Like [`Content::parse`], and if the content is a string, reads the JSON within it.
    pub fn parse_lenient<T: DeserializeOwned>(&self) -> Result<T, ContentError> {
        match self.as_str() {
            Some(text) => parse(&text),
            None => self.parse(),
        }
    }

    /// True for `null`.
    pub fn is_null(&self) -> bool {
        self.get() == "null"
    }

    /// True for exactly `"OK"`, the success literal.
    pub fn is_ok_literal(&self) -> bool {
        self.get() == "\"OK\""
    }

    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }

    pub(crate) fn from_raw(raw: Box<RawValue>) -> Self {
        Self(raw)
    }

    /// For JSON text that serde_json itself has just written.
    fn own(json: String) -> Self {
        Self(RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, ContentError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path if path.starts_with('[') => path,
            path => format!(".{path}"),
        };
        ContentError::Shape { path, reason: error.into_inner().to_string() }
    })
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Content {}

impl std::fmt::Debug for Content {
    /// At most 256 characters: contents are whole objects, and secrets among them; logs use `trace` for it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let raw = self.get();
        match raw.char_indices().nth(256) {
            Some((end, _)) => write!(f, "{}… ({} bytes)", &raw[..end], raw.len()),
            None => f.write_str(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_went_in() {
        for text in ["", "OK", "a \"quoted\" \\ line\n", "{\"status\":{}}", "é😀"] {
            assert_eq!(Content::text(text).as_str().unwrap(), text);
        }
        assert!(Content::json(&serde_json::json!({"a": 1})).unwrap().as_str().is_none());
    }

    #[test]
    fn big_integers_and_key_order_survive() {
        let json = r#"{"z":9007199254740993,"a":1.10,"m":18446744073709551615}"#;
        assert_eq!(Content::from_json_text(json.into()).unwrap().get(), json);
    }

    #[test]
    fn a_wrong_shape_is_named_by_its_path() {
        #[derive(serde::Deserialize)]
        struct Twin {
            #[serde(rename = "twin")]
            _twin: std::collections::BTreeMap<String, Vec<u8>>,
        }
        let content = Content::from_json_text(r#"{"twin":{"t":[1,"x"]}}"#.into()).unwrap();
        let error = content.parse::<Twin>().err().unwrap().to_string();
        assert!(error.starts_with("content.twin.t[1]: invalid type: string \"x\""), "{error}");
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_stack_overflow() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let content = Content::from_json_text(deep).unwrap();
        assert!(content.parse::<serde_json::Value>().unwrap_err().to_string().contains("recursion limit"));
    }
}
