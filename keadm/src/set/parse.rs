use serde_json::{Map, Number, Value};

use super::{Assignment, Segment, SetError};

/// Parses one `--set` argument: pairs separated by commas that are outside braces and quotes.
pub(crate) fn parse(argument: &str) -> Result<Vec<Assignment>, SetError> {
    split(argument, ',')?.into_iter().filter(|pair| !pair.trim().is_empty()).map(assignment).collect()
}

fn assignment(pair: &str) -> Result<Assignment, SetError> {
    let (path, raw) = pair.split_once('=').ok_or_else(|| SetError::NoValue(pair.to_owned()))?;
    let path = path.trim();
    Ok(Assignment { path: segments(path)?, value: value(raw.trim())?, text: path.to_owned() })
}

fn segments(path: &str) -> Result<Vec<Segment>, SetError> {
    let wrong = || SetError::Path(path.to_owned());
    let mut segments = Vec::new();
    for part in path.split('.') {
        let (name, mut indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() || name.contains([']', '"', ' ']) {
            return Err(wrong());
        }
        segments.push(Segment::Key(name.to_owned()));
        while !indexes.is_empty() {
            let (number, rest) =
                indexes.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(wrong)?;
            segments.push(Segment::Index(number.parse().map_err(|_| wrong())?));
            indexes = rest;
        }
    }
    Ok(segments)
}

fn value(raw: &str) -> Result<Value, SetError> {
    if let Some(inner) = raw.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return braces(raw, inner);
    }
    Ok(scalar(raw))
}

/// `{x,y}` is a list, `{k:v,k2:v2}` a map; `{}` an empty map, which also clears a list.
fn braces(raw: &str, inner: &str) -> Result<Value, SetError> {
    let entries = split(inner, ',')?;
    let pairs: Vec<Option<(&str, &str)>> = entries.iter().map(|entry| key_and_value(entry)).collect();
    if inner.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    if pairs.iter().all(Option::is_none) {
        return entries
            .into_iter()
            .map(|entry| value(entry.trim()))
            .collect::<Result<_, _>>()
            .map(Value::Array);
    }
    let mut map = Map::new();
    for pair in pairs {
        let (key, text) = pair.ok_or_else(|| SetError::Mixed(raw.to_owned()))?;
        map.insert(unquoted(key.trim()).to_owned(), value(text.trim())?);
    }
    Ok(Value::Object(map))
}

/// Splits at the first colon that is not part of an address or a URL: those hold `//`, or digits and dots only.
fn key_and_value(entry: &str) -> Option<(&str, &str)> {
    let entry = entry.trim();
    if entry.starts_with('"') && entry.ends_with('"') && entry.matches('"').count() == 2 {
        return None;
    }
    let (key, text) = entry.split_once(':')?;
    let is_address = text.starts_with("//")
        || text.contains(':')
        || key.contains('.')
            && key.parse::<f64>().is_err()
            && key.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    (!is_address).then_some((key, text))
}

fn scalar(raw: &str) -> Value {
    if raw.len() >= 2 && raw.starts_with('"') && raw.ends_with('"') {
        return Value::String(unquoted(raw).to_owned());
    }
    match raw {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(integer) = raw.parse::<i64>() {
        return Value::Number(integer.into());
    }
    let looks_numeric = raw.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-');
    if looks_numeric && let Some(number) = raw.parse::<f64>().ok().and_then(Number::from_f64) {
        return Value::Number(number);
    }
    Value::String(raw.to_owned())
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// Splits at `separator` where no brace and no quote is open.
fn split(text: &str, separator: char) -> Result<Vec<&str>, SetError> {
    let (mut parts, mut begin, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth = depth.saturating_sub(1),
            _ if letter == separator && !quoted && depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    if quoted {
        return Err(SetError::Unclosed(text.to_owned(), '"'));
    }
    if depth > 0 {
        return Err(SetError::Unclosed(text.to_owned(), '{'));
    }
    parts.push(&text[begin..]);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(argument: &str) -> Vec<(String, Value)> {
        parse(argument).unwrap().into_iter().map(|one| (one.text, one.value)).collect()
    }

    #[test]
    fn several_pairs_are_separated_by_commas_outside_braces_and_quotes() {
        assert_eq!(
            values(r#"a.b=1,c={x,y},d="p,q",e=true"#),
            [
                ("a.b".to_owned(), json!(1)),
                ("c".to_owned(), json!(["x", "y"])),
                ("d".to_owned(), json!("p,q")),
                ("e".to_owned(), json!(true)),
            ]
        );
    }

    #[test]
    fn values_are_numbers_and_booleans_where_they_look_like_it_and_strings_where_quoted() {
        let one = |argument: &str| values(argument).remove(0).1;
        assert_eq!(one("a=-3"), json!(-3));
        assert_eq!(one("a=0.5"), json!(0.5));
        assert_eq!(one("a=false"), json!(false));
        assert_eq!(one(r#"a="123""#), json!("123"));
        assert_eq!(one("a=10s"), json!("10s"));
        assert_eq!(one("a=nan"), json!("nan"));
        assert_eq!(one("a="), json!(""));
    }

    #[test]
    fn braces_are_lists_or_maps() {
        let one = |argument: &str| values(argument).remove(0).1;
        assert_eq!(one("a={169.254.96.16}"), json!(["169.254.96.16"]));
        assert_eq!(one("a={k:v,n:2}"), json!({"k": "v", "n": 2}));
        assert_eq!(one("a={example.com/zone:b}"), json!({"example.com/zone": "b"}));
        assert_eq!(one("a={https://x.y,10.0.0.1:53}"), json!(["https://x.y", "10.0.0.1:53"]));
        assert_eq!(one("a={}"), json!({}));
        assert_eq!(parse("a={k:v,x}"), Err(SetError::Mixed("{k:v,x}".to_owned())));
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(values("a=b=c"), [("a".to_owned(), json!("b=c"))]);
    }

    #[test]
    fn indexes_follow_a_name() {
        let path = parse("a.b[0].c[1][2]=x").unwrap().remove(0).path;
        let key = |name: &str| Segment::Key(name.to_owned());
        let expected =
            [key("a"), key("b"), Segment::Index(0), key("c"), Segment::Index(1), Segment::Index(2)];
        assert_eq!(path, expected);
    }

    #[test]
    fn nonsense_is_refused_with_what_is_wrong() {
        assert_eq!(parse("modules.edged"), Err(SetError::NoValue("modules.edged".to_owned())));
        for path in ["", ".a", "a..b", "a[", "a[x]", "[0]", "a[0]b", "a b"] {
            assert_eq!(parse(&format!("{path}=1")), Err(SetError::Path(path.to_owned())), "{path}");
        }
        assert!(matches!(parse("a={b"), Err(SetError::Unclosed(_, '{'))));
        assert!(matches!(parse("a=\"b"), Err(SetError::Unclosed(_, '"'))));
    }
}
