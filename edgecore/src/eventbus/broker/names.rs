//! Topics as the router sees them.
//!
//! The router never delivers a topic that begins with `$`. So inside it, every topic and filter stands below one of
//! two roots, one for `$`-topics and one for the rest; wildcards at the first level cannot cross from one to the
//! other, as MQTT 3.1.1 (4.7.2) wants it.

use bytes::Bytes;

/// Filters under which the router accepts every publish, subscribed or not.
pub(super) const ROOTS: [&str; 2] = ["s/#", "u/#"];

/// A topic or filter in the router's form.
pub(super) fn inside(name: &str) -> String {
    match name.strip_prefix('$') {
        Some(rest) => format!("s/{rest}"),
        None => format!("u/{name}"),
    }
}

/// A topic in the clients' form.
pub(super) fn outside(topic: &Bytes) -> Bytes {
    match topic.split_at_checked(2) {
        Some((b"s/", rest)) => [b"$", rest].concat().into(),
        Some((b"u/", _)) => topic.slice(2..),
        _ => topic.clone(),
    }
}

/// Whether `topic` may be published to (MQTT 3.1.1, 3.3.2-2 and 4.7.3).
pub(super) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// Whether `filter` may be subscribed to (MQTT 3.1.1, 4.7.1 and 4.7.3).
pub(super) fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').rev();
    let last = levels.next().unwrap_or_default();
    let level = |level: &str| level == "+" || !level.contains(['+', '#']);
    !filter.is_empty() && !filter.contains('\0') && (last == "#" || level(last)) && levels.all(level)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_stay_on_their_side_of_the_dollar() {
        assert_eq!(inside("#"), "u/#");
        assert_eq!(inside("$hw/events/#"), "s/hw/events/#");
        assert_eq!(inside("+/x"), "u/+/x");
    }

    #[test]
    fn filters_with_misplaced_wildcards_are_refused() {
        for good in ["#", "+", "a/+/b", "a/#", "/", "$hw/+/x"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a#", "#/a", "a/b+", "a\0"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_topic_comes_out_as_it_went_in(topic in ".*") {
            let through = outside(&Bytes::from(inside(&topic)));
            prop_assert_eq!(through, Bytes::from(topic));
        }
    }
}
