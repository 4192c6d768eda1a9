//! Topics that rules name, in the form in which both ends use them.

use std::fmt;

/// Topics longer than this cannot be published.
const LONGEST: usize = 65_535;

/// A topic or a filter without empty levels: KubeEdge cleans it like a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Box<str>);

/// Text that no topic can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic {text:?}: {what}")]
pub struct InvalidTopic {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub what: &'static str,
}

// === impl Topic ===

impl Topic {
    /// A topic to publish on: no wildcards.
    ///
    /// # Errors
    /// If MQTT does not allow it.
    pub fn to_publish(text: &str) -> Result<Self, InvalidTopic> {
        let topic = Self::to_subscribe(text)?;
        if topic.0.contains(['+', '#']) {
            return Err(wrong(text, "+ and # may only stand in topics that are subscribed"));
        }
        Ok(topic)
    }

    /// A topic to subscribe to: `+` and `#` stand for levels.
    ///
    /// # Errors
    /// If MQTT does not allow it.
    pub fn to_subscribe(text: &str) -> Result<Self, InvalidTopic> {
        let levels: Vec<&str> = text.split('/').filter(|level| !level.is_empty() && *level != ".").collect();
        let clean = levels.join("/");
        if clean.is_empty() {
            return Err(wrong(text, "it is empty"));
        }
        if clean.len() > LONGEST || clean.contains('\0') {
            return Err(wrong(text, "it is longer than 65535 bytes or has a NUL in it"));
        }
        if levels.contains(&"..") {
            return Err(wrong(text, ".. is no level"));
        }
        let last = levels.len() - 1;
        for (at, level) in levels.iter().enumerate() {
            if level.len() > 1 && level.contains(['+', '#']) {
                return Err(wrong(text, "+ and # must stand alone in their level"));
            }
            if *level == "#" && at != last {
                return Err(wrong(text, "# may only be the last level"));
            }
        }
        Ok(Self(clean.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a filter of MQTT fits a topic. A wildcard never stands for a level that begins with `$` at the start.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

fn wrong(text: &str, what: &'static str) -> InvalidTopic {
    InvalidTopic { text: text.chars().take(200).collect(), what }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_are_cleaned_like_paths_and_wildcards_keep_their_places() {
        assert_eq!(Topic::to_subscribe("/room//t/").unwrap().as_str(), "room/t");
        assert_eq!(Topic::to_subscribe("a/+/b/#").unwrap().as_str(), "a/+/b/#");
        for text in ["", "//", "a/#/b", "a+/b", "a/../b", "a\0"] {
            assert!(Topic::to_subscribe(text).is_err(), "{text:?}");
        }
        assert!(Topic::to_publish("a/+").is_err() && Topic::to_publish("a/b").is_ok());
    }

    #[test]
    fn filters_fit_as_mqtt_says() {
        for (filter, topic, fits) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "$hw/x", false),
            ("+/x", "$hw/x", false),
        ] {
            assert_eq!(matches(filter, topic), fits, "{filter} {topic}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_clean_stays(text in "[a-c/+#.$\\PC]{0,40}") {
            if let Ok(topic) = Topic::to_subscribe(&text) {
                prop_assert_eq!(Topic::to_subscribe(topic.as_str()).unwrap(), topic.clone());
            }
            if let Ok(topic) = Topic::to_publish(&text) {
                prop_assert!(matches(topic.as_str(), topic.as_str()));
            }
        }
    }
}
