//! Which rule a path of the REST port means: segment by segment. KubeEdge compares with a pattern that need not end where a segment does.

/// What follows a rule's path, or nothing if the path is not the rule's. `{x}` stands for one segment.
pub(super) fn rest<'a>(rule: &[String], path: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let (head, rest) = path.split_at_checked(rule.len())?;
    let fits = rule.iter().zip(head).all(|(want, segment)| is_hole(want) || want == segment);
    fits.then_some(rest)
}

/// The better of two rules that fit: the longer one, and of equals the one that says more.
pub(super) fn weight(rule: &[String]) -> (usize, usize) {
    (rule.len(), rule.iter().filter(|segment| !is_hole(segment)).count())
}

fn is_hole(segment: &str) -> bool {
    segment.len() > 2 && segment.starts_with('{') && segment.ends_with('}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(path: &str) -> Vec<String> {
        path.split('/').map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_rule_takes_its_segments_and_what_is_below_and_no_more() {
        let after = |pattern: &str, path: &str| {
            let path: Vec<&str> = path.split('/').collect();
            rest(&rule(pattern), &path).map(|rest| rest.join("/"))
        };
        assert_eq!(after("a", "a").unwrap(), "");
        assert_eq!(after("a", "a/kitchen/x").unwrap(), "kitchen/x");
        assert_eq!(after("a", "abc"), None);
        assert_eq!(after("a/b", "a"), None);
        assert_eq!(after("room/{id}/cmd", "room/7/cmd/on").unwrap(), "on");
        assert_eq!(after("a.c", "abc"), None);
        assert!(weight(&rule("a/b")) > weight(&rule("a/{x}")) && weight(&rule("a/{x}")) > weight(&rule("a")));
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(pattern in "[a-c{}/]{0,20}", path in "\\PC{0,40}") {
            let path: Vec<&str> = path.split('/').collect();
            if let Some(rest) = rest(&rule(&pattern), &path) {
                prop_assert!(rest.len() <= path.len());
            }
        }
    }
}
