//! InfluxDB's line protocol.

use std::collections::BTreeMap;

use super::Sample;

/// A line. The value is a text, as KubeEdge's framework writes it.
pub(super) fn line(measurement: &str, tags: &str, field: &str, sample: &Sample) -> String {
    let value = sample.value.replace('\\', "\\\\").replace('"', "\\\"");
    let field = if field.is_empty() { &sample.property } else { field };
    let (measurement, field) = (escaped(measurement, &[',', ' ']), escaped(field, &[',', '=', ' ']));
    format!("{measurement}{tags} {field}=\"{value}\" {}", sample.at_ms)
}

/// `,key=value` of each.
pub(super) fn tags(tags: &BTreeMap<String, String>) -> String {
    let special = [',', '=', ' '];
    let all = tags.iter().filter(|(key, value)| !key.is_empty() && !value.is_empty());
    all.map(|(key, value)| format!(",{}={}", escaped(key, &special), escaped(value, &special))).collect()
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => out.push(' '),
            _ => {
                if special.contains(&letter) {
                    out.push('\\');
                }
                out.push(letter);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_is_escaped() {
        let sample = Sample {
            namespace: "d".into(),
            device: "b".into(),
            property: "t".into(),
            kind: String::new(),
            value: "say \"hi\"".into(),
            at_ms: 5,
        };
        let tags = tags(&[("room no".to_owned(), "a,b=c".to_owned())].into());
        assert_eq!(line("my plant", &tags, "", &sample), r#"my\ plant,room\ no=a\,b\=c t="say \"hi\"" 5"#);
    }
}
