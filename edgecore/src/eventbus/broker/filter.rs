//! Topic filters by the rules of MQTT 3.1.1 §4.7 and MQTT 5 §4.7, §4.8.

/// A valid topic filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter(Box<str>);

/// The text is no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topic filter: + and # stand alone between slashes, # only at the end")]
pub struct InvalidFilter(String);

impl Filter {
    /// Checks the places of the wildcards.
    pub fn new(text: &str) -> Result<Self, InvalidFilter> {
        let mut levels = text.split('/').peekable();
        let mut valid = !text.is_empty() && text.len() <= usize::from(u16::MAX) && !text.contains('\0');
        while let Some(level) = levels.next() {
            valid &= match level {
                "#" => levels.peek().is_none(),
                "+" => true,
                level => !level.contains(['#', '+']),
            };
        }
        if valid { Ok(Self(text.into())) } else { Err(InvalidFilter(text.chars().take(128).collect())) }
    }

    /// Reads a filter that may be shared: `$share/GROUP/FILTER` (MQTT 5 §4.8.2). Also says whether it is.
    pub fn shared(text: &str) -> Result<(bool, Self), InvalidFilter> {
        let Some(rest) = text.strip_prefix("$share/") else { return Ok((false, Self::new(text)?)) };
        match rest.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !group.contains(['+', '#']) => {
                Ok((true, Self::new(filter)?))
            }
            _ => Err(InvalidFilter(text.chars().take(128).collect())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message on `topic` is meant. A leading wildcard does not reach topics that start with `$`.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        matches(&self.0, topic)
    }

    /// Whether there is a topic that both filters match.
    pub(super) fn overlaps(&self, other: &str) -> bool {
        let wild = |text: &str| text.starts_with(['+', '#']);
        if (wild(&self.0) && other.starts_with('$')) || (wild(other) && self.0.starts_with('$')) {
            return false;
        }
        let (mut one, mut two) = (self.0.split('/'), other.split('/'));
        loop {
            match (one.next(), two.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some(one), Some(two)) if one == two || one == "+" || two == "+" => {}
                _ => return false,
            }
        }
    }
}

/// As [`Filter::matches`], for a text that is a valid filter.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        // `a/#` includes `a` itself.
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (filter, topic, matches) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("$hw/events/device/+/+/twin/+", "$hw/events/device/default/s/twin/update", true),
            ("ACCOUNTS", "Accounts", false),
        ] {
            assert_eq!(Filter::new(filter).unwrap().matches(topic), matches, "{filter} {topic}");
        }
        for invalid in ["", "sport/tennis#", "sport/tennis/#/ranking", "sport+", "a/+b", "##", "a\0"] {
            assert!(Filter::new(invalid).is_err(), "{invalid}");
        }
        for (text, shared) in [
            ("$share/g/a/#", Some(true)),
            ("$share/g", None),
            ("$share//a", None),
            ("$share/+/a", None),
            ("$share/g/", None),
            ("$shared/g/a", Some(false)),
        ] {
            assert_eq!(Filter::shared(text).ok().map(|(shared, _)| shared), shared, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_filter_without_wildcards_matches_itself_only(a in "[a-c/$é]{1,8}", b in "[a-c/$é]{1,8}") {
            let filter = Filter::new(&a).unwrap();
            prop_assert_eq!(filter.matches(&b), a == b);
        }

        #[test]
        fn filters_that_match_the_same_topic_overlap(
            one in "([ab+]/){0,2}[ab+#$]", two in "([ab+]/){0,2}[ab+#$]", topic in "([ab]/){0,2}[ab$]",
        ) {
            let (one, two) = (Filter::new(&one).unwrap(), Filter::new(&two).unwrap());
            prop_assert_eq!(one.overlaps(two.as_str()), two.overlaps(one.as_str()));
            prop_assert!(!(one.matches(&topic) && two.matches(&topic)) || one.overlaps(two.as_str()));
        }

        #[test]
        fn no_text_makes_filters_panic(a in "\\PC{0,20}", b in "[+#/$a\u{e9}]{0,12}", topic in "\\PC{0,20}") {
            for text in [a, b] {
                if let Ok(filter) = Filter::new(&text) {
                    let _ = filter.matches(&topic);
                }
            }
        }
    }
}
