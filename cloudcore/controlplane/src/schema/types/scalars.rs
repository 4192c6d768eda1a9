//! Texts with a form of their own, and what Go says when they do not have it.

use serde_json::Value;

/// How Go's JSON decoder names what it found.
pub(super) fn json_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.as_i64().is_none() => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

/// Standard base64 with padding; Go ignores line breaks.
pub(super) fn base64(text: &str) -> Result<(), String> {
    let illegal = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let mut digits = 0usize;
    let mut padding = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if (digits % 4) + padding >= 2 && padding < 2 => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return illegal(at),
        }
    }
    if (digits + padding).is_multiple_of(4) { Ok(()) } else { illegal(text.len()) }
}

/// RFC 3339, the only form in which Kubernetes reads times.
pub(super) fn time(text: &str) -> Result<(), String> {
    if text.parse::<jiff::Timestamp>().is_ok() && text.as_bytes().get(10) == Some(&b'T') {
        return Ok(());
    }
    Err(format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_checked_as_go_does() {
        for good in ["", "aGk=", "aGVsbG8=", "aGVs\nbG8=", "aGVsbG93", "YQ=="] {
            assert_eq!(base64(good), Ok(()), "{good}");
        }
        for bad in ["a", "aGk", "a=Gk", "====", "aGk=x", "aG=k", "a*k="] {
            assert!(base64(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        assert!(time("2026-11-21T06:12:18Z").is_ok());
        assert!(time("2026-11-21T06:12:18.123456Z").is_ok());
        assert!(time("2026-11-21T06:12:18+02:00").is_ok());
        assert!(time("yesterday").is_err());
        assert!(time("2026-11-21").is_err());
    }
}
