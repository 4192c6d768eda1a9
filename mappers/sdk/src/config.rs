//! `configData` of devices and properties: free-form, written by users, read with errors that name the key.

use serde_json::{Map, Value};

/// What a device or a property is configured with. Keys are found in any letter case, as KubeEdge's mappers find them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(Map<String, Value>);

/// A key that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It must be there.
    #[error("configData.{0} is missing")]
    Missing(String),
    /// It is not what it should be.
    #[error("configData.{key}: {found} is not {wanted}")]
    Wrong {
        /// Which.
        key: String,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: String,
    },
}

// === impl Config ===

impl Config {
    /// Of an object.
    #[must_use]
    pub fn new(data: Map<String, Value>) -> Self {
        Self(data)
    }

    /// What is there; `null` is nothing.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let found = self.0.get(key).or_else(|| {
            self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    /// A text, if it is there.
    ///
    /// # Errors
    /// It is there and no text.
    pub fn text(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(found) => Err(wrong(key, found, "a text")),
        }
    }

    /// A number, if it is there. Users quote numbers in YAML: a text that is one counts.
    ///
    /// # Errors
    /// It is there and no such number.
    pub fn number<T: std::str::FromStr>(&self, key: &str, wanted: &str) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let text = match found {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        text.parse().map(Some).map_err(|_| wrong(key, found, wanted))
    }

    /// A truth value, if it is there.
    ///
    /// # Errors
    /// It is there and neither true nor false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.number(key, "true or false")
    }

    /// One of a few words, in any letter case.
    ///
    /// # Errors
    /// It is there and none of them.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            wrong(key, &Value::from(text), &format!("one of {}", known.join(", ")))
        })
    }

    /// What must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn need<T>(key: &str, found: Option<T>) -> Result<T, ConfigError> {
        found.ok_or_else(|| ConfigError::Missing(key.to_owned()))
    }
}

fn wrong(key: &str, found: &Value, wanted: &str) -> ConfigError {
    ConfigError::Wrong { key: key.to_owned(), found: found.to_string(), wanted: wanted.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: &Value) -> Config {
        Config::new(value.as_object().unwrap().clone())
    }

    #[test]
    fn keys_are_found_in_any_letter_case_and_quoted_numbers_are_numbers() {
        let config = config(&json!({"slaveid": "1", "port": 502, "isSwap": true}));
        assert_eq!(config.number::<u8>("slaveID", "a byte"), Ok(Some(1)));
        assert_eq!(config.number::<u16>("Port", "a port"), Ok(Some(502)));
        assert_eq!(config.flag("isswap"), Ok(Some(true)));
        assert_eq!(config.text("none"), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        let config = config(&json!({"port": "many", "register": "Coil"}));
        let said = |error: ConfigError| error.to_string();
        assert_eq!(
            said(config.number::<u16>("port", "a port").unwrap_err()),
            r#"configData.port: "many" is not a port"#
        );
        let words = [("CoilRegister", 1), ("InputRegister", 2)];
        assert_eq!(
            said(config.word("register", &words).unwrap_err()),
            r#"configData.register: "Coil" is not one of CoilRegister, InputRegister"#
        );
        assert_eq!(said(Config::need::<u8>("ip", None).unwrap_err()), "configData.ip is missing");
    }
}
