//! Which part of which message is a property: `visitors.configData`.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use mapper::{Config, ConfigError, Property};
use serde_json::Value;

/// Where a property comes from and goes to.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// A topic filter.
    pub topic: String,
    path: Option<(String, JpQuery)>,
    write_topic: Option<String>,
    write_payload: String,
}

// === impl Source ===

impl Source {
    pub(crate) fn of(property: &Property) -> Result<Self, ConfigError> {
        let config = &property.config;
        let path = config.text("path")?.map(|path| {
            let wrong = |error: String| ConfigError::Wrong {
                key: "path".into(),
                found: path.to_owned(),
                wanted: format!("a JSONPath (RFC 9535): {error}"),
            };
            parse_json_path(path)
                .map(|query| (path.to_owned(), query))
                .map_err(|error| wrong(error.to_string()))
        });
        Ok(Self {
            topic: Config::need("topic", config.text("topic")?.filter(|topic| !topic.is_empty()))?.to_owned(),
            path: path.transpose()?,
            write_topic: config.text("writeTopic")?.map(str::to_owned),
            write_payload: config.text("writePayload")?.unwrap_or("{value}").to_owned(),
        })
    }

    /// The property's value in a message.
    pub(crate) fn value(&self, payload: &[u8]) -> Result<String, String> {
        let Some((path, query)) = &self.path else {
            let text = std::str::from_utf8(payload).map_err(|_| "the payload is no text".to_owned())?;
            return Ok(text.trim().to_owned());
        };
        let message: Value =
            serde_json::from_slice(payload).map_err(|error| format!("the payload is no JSON: {error}"))?;
        let found = js_path_process(query, &message).map_err(|error| format!("{path}: {error}"))?;
        match found.first().map(|found| found.clone().val()) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => Ok(value.to_string()),
            None => Err(format!("the message has nothing at {path}")),
        }
    }

    /// What is published to set it.
    pub(crate) fn written(&self, value: &str) -> Result<(String, String), String> {
        let topic = self.write_topic.clone();
        let topic = topic.ok_or("it cannot be set: visitors.configData.writeTopic is missing")?;
        Ok((topic, self.write_payload.replace("{value}", value)))
    }
}

/// Whether a topic is one of a filter's (MQTT 3.1.1, 4.7).
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    rumqttc::matches(topic, filter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(config: &Value) -> Result<Source, String> {
        let config = Config::new(config.as_object().unwrap().clone());
        let property = Property::of("p", mapper::Kind::Float, config);
        Source::of(&property).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_finds_the_value_in_any_shape() {
        let source = source(&json!({"topic": "a", "path": "$.data[?@.kind == 'temp'].v"})).unwrap();
        let payload = br#"{"data": [{"kind": "hum", "v": 40}, {"kind": "temp", "v": 21.5}]}"#;
        assert_eq!(source.value(payload), Ok("21.5".into()));
        assert_eq!(
            source.value(b"{}").unwrap_err(),
            "the message has nothing at $.data[?@.kind == 'temp'].v"
        );
        assert!(source.value(b"hot").unwrap_err().starts_with("the payload is no JSON"));
    }

    #[test]
    fn without_a_path_all_of_the_payload_is_the_value() {
        assert_eq!(source(&json!({"topic": "a"})).unwrap().value(b" 21.5\n"), Ok("21.5".into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(source(&json!({})).unwrap_err(), "configData.topic is missing");
        assert!(
            source(&json!({"topic": "a", "path": "data..["}))
                .unwrap_err()
                .starts_with("configData.path: data..[ is not a JSONPath")
        );
    }

    #[test]
    fn a_value_is_set_as_the_device_wants_it() {
        let set = source(&json!({"topic": "a", "writeTopic": "a/set", "writePayload": "{\"on\": {value}}"}));
        assert_eq!(set.unwrap().written("true"), Ok(("a/set".into(), "{\"on\": true}".into())));
        assert!(source(&json!({"topic": "a"})).unwrap().written("1").unwrap_err().contains("writeTopic"));
    }
}
