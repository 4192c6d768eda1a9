//! What a caller wants of a log: Kubernetes' `PodLogOptions` in a query.

use jiff::{SignedDuration, Timestamp};

use super::line::Stream;

/// The part of a log that is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    /// Go on while the container runs.
    pub(super) follow: bool,
    /// The container before this one.
    pub(super) previous: bool,
    /// Nothing older.
    pub(super) since: Option<Timestamp>,
    /// Each line begins with its time.
    pub(super) timestamps: bool,
    /// So many lines at the end.
    pub(super) tail: Option<u64>,
    /// Not more bytes.
    pub(super) limit: Option<u64>,
    /// This stream only.
    pub(super) stream: Option<Stream>,
}

/// A query that makes no sense.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum OptionsError {
    /// A value is of the wrong type.
    #[error("Unable to decode query: {key}: {value:?} is no {expected}")]
    Undecodable {
        /// The parameter.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A value is out of bounds, or two exclude each other.
    #[error("Invalid request: {0}")]
    Invalid(&'static str),
}

impl Options {
    /// Reads a query; parameters that are not known are ignored, as a kubelet does.
    pub(super) fn parse(pairs: &[(String, String)], now: Timestamp) -> Result<Self, OptionsError> {
        let get = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        // Kubernetes v1.36 `apimachinery/pkg/runtime/conversion.go`: all but these two is true, nothing included.
        let flag = |key: &str| {
            get(key).is_some_and(|value| !matches!(value, "0") && !value.eq_ignore_ascii_case("false"))
        };
        let number = |key: &'static str| match get(key) {
            None => Ok(None),
            Some(text) => text.parse::<i64>().map(Some).map_err(|_| OptionsError::Undecodable {
                key,
                value: text.to_owned(),
                expected: "whole number",
            }),
        };
        let (seconds, tail, limit) = (number("sinceSeconds")?, number("tailLines")?, number("limitBytes")?);
        let time = match get("sinceTime").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| OptionsError::Undecodable {
                key: "sinceTime",
                value: text.to_owned(),
                expected: "time such as 2026-01-01T00:00:00Z",
            })?),
        };
        let stream = match get("stream") {
            None | Some("All") => None,
            Some("Stdout") => Some(Stream::Stdout),
            Some("Stderr") => Some(Stream::Stderr),
            Some(_) => return Err(OptionsError::Invalid("stream must be one of All, Stdout, Stderr")),
        };
        let invalid =
            |wrong: bool, why: &'static str| if wrong { Err(OptionsError::Invalid(why)) } else { Ok(()) };
        invalid(tail.is_some_and(|lines| lines < 0), "tailLines must be greater than or equal to 0")?;
        invalid(limit.is_some_and(|bytes| bytes < 1), "limitBytes must be greater than 0")?;
        invalid(seconds.is_some_and(|seconds| seconds < 1), "sinceSeconds must be greater than 0")?;
        invalid(
            seconds.is_some() && time.is_some(),
            "at most one of sinceTime or sinceSeconds may be specified",
        )?;
        invalid(
            stream.is_some() && tail.is_some(),
            "tailLines and a specific stream are mutually exclusive",
        )?;
        let ago = seconds
            .map(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN));
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Ok(Self {
            follow: flag("follow"),
            previous: flag("previous"),
            since: time.or(ago),
            timestamps: flag("timestamps"),
            tail: count(tail),
            limit: count(limit),
            stream,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<Options, OptionsError> {
        let pairs: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::parse(&pairs, Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn a_query_of_kubectl_is_understood() {
        let all = [
            ("follow", "true"),
            ("previous", "false"),
            ("sinceSeconds", "10"),
            ("timestamps", "true"),
            ("tailLines", "5"),
        ];
        let options = parse(&all).unwrap();
        assert!(options.follow && options.timestamps && !options.previous);
        assert_eq!((options.tail, options.since), (Some(5), Some(Timestamp::from_second(990).unwrap())));
        assert_eq!(parse(&[("container", "c")]).unwrap(), Options::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let said = |query: &[(&str, &str)]| parse(query).unwrap_err().to_string();
        assert_eq!(
            said(&[("tailLines", "x")]),
            "Unable to decode query: tailLines: \"x\" is no whole number"
        );
        assert!(said(&[("tailLines", "-1")]).contains("tailLines"));
        assert!(said(&[("limitBytes", "0")]).contains("limitBytes"));
        assert!(
            said(&[("sinceSeconds", "1"), ("sinceTime", "2026-01-01T00:00:00Z")]).contains("at most one")
        );
        assert!(said(&[("stream", "Stdout"), ("tailLines", "1")]).contains("mutually exclusive"));
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(value: String, which in 0..7_usize) {
            let keys = ["follow", "previous", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"];
            parse(&[(keys[which], &value)]).ok();
        }

        #[test]
        fn no_number_makes_it_panic(seconds: i64) {
            parse(&[("sinceSeconds", &seconds.to_string())]).ok();
        }
    }
}
