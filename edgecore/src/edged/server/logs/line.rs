//! One line of a log file, as CRI runtimes and as Docker write them (Kubernetes v1.36
//! `staging/src/k8s.io/cri-client/pkg/logs`).

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

/// Where a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// What a container wrote at once.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) stream: Stream,
    /// With the line's end, if it has one.
    pub(super) text: Cow<'a, [u8]>,
}

impl Line<'_> {
    /// Whether what comes next begins a line.
    pub(super) fn is_whole(&self) -> bool {
        self.text.ends_with(b"\n")
    }
}

/// Reads a line of a file with its end; `None` if it is of neither form.
pub(super) fn parse(bytes: &[u8]) -> Option<Line<'_>> {
    match bytes.first()? {
        b'{' => docker(bytes),
        _ => cri(bytes),
    }
}

impl Stream {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Self::Stdout),
            b"stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// `2026-01-01T00:00:00.5Z stdout F text`; the tag is `P` for a part of a line, and may be followed by others after colons.
fn cri(bytes: &[u8]) -> Option<Line<'_>> {
    let mut words = bytes.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let stream = Stream::named(words.next()?)?;
    let tag = words.next()?;
    let mut text = words.next()?;
    if tag.split(|byte| *byte == b':').next()? == b"P" {
        text = text.strip_suffix(b"\n").unwrap_or(text);
    }
    Some(Line { time, stream, text: Cow::Borrowed(text) })
}

fn docker(bytes: &[u8]) -> Option<Line<'_>> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        log: String,
        stream: String,
        time: Timestamp,
    }
    let entry: Entry = serde_json::from_slice(bytes).ok()?;
    let stream = Stream::named(entry.stream.as_bytes())?;
    Some(Line { time: entry.time, stream, text: Cow::Owned(entry.log.into_bytes()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(line: &str) -> Option<(String, bool)> {
        let line = parse(line.as_bytes())?;
        Some((String::from_utf8(line.text.to_vec()).unwrap(), line.is_whole()))
    }

    #[test]
    fn both_forms_are_read_and_parts_of_lines_are_joined() {
        assert_eq!(text("2026-01-01T00:00:00.123456789Z stdout F a b\n"), Some(("a b\n".into(), true)));
        assert_eq!(text("2026-01-01T01:00:00+01:00 stderr P a b\n"), Some(("a b".into(), false)));
        assert_eq!(text("2026-01-01T01:00:00+01:00 stderr F:x \n"), Some(("\n".into(), true)));
        let docker =
            |log: &str| format!(r#"{{"log":"{log}","stream":"stdout","time":"2026-01-01T00:00:00Z"}}"#);
        assert_eq!(text(&docker("a\\n")), Some(("a\n".into(), true)));
        assert_eq!(text(&docker("a")), Some(("a".into(), false)));
    }

    #[test]
    fn what_is_of_neither_form_is_no_line() {
        for junk in
            ["", "\n", "hello\n", "2026-01-01T00:00:00Z stdout F", "2026-01-01T00:00:00Z x F a\n", "{}\n"]
        {
            assert_eq!(text(junk), None, "{junk:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            parse(&bytes);
        }

        #[test]
        fn what_a_runtime_wrote_is_what_is_read(log: String, whole: bool) {
            let log: String = log.replace('\n', "");
            let tag = if whole { 'F' } else { 'P' };
            let line = format!("2026-01-01T00:00:00Z stdout {tag} {log}\n");
            let expected = if whole { format!("{log}\n") } else { log };
            prop_assert_eq!(text(&line), Some((expected, whole)));
        }
    }
}
