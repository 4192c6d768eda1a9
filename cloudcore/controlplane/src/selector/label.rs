//! `k=v,k!=v,k in (a,b),k notin (a,b),k,!k,k>1,k<1`

use serde_json::Value;

use super::{Index, SelectorError};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    Greater(i64),
    Less(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// The notation of query parameters for the `matchLabels` and `matchExpressions` of a document.
    pub fn notation(selector: &Value) -> String {
        let mut parts = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default();
            let values: Vec<&str> =
                expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            parts.push(match expression["operator"].as_str() {
                Some("In") => format!("{key} in ({})", values.join(",")),
                Some("NotIn") => format!("{key} notin ({})", values.join(",")),
                Some("DoesNotExist") => format!("!{key}"),
                _ => key.to_owned(),
            });
        }
        parts.join(",")
    }

    /// Parses the text of a `labelSelector` parameter.
    ///
    /// # Errors
    /// When it is not one; the text says what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let mut requirements = Vec::new();
        if parser.peek().is_none() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.take() {
                None => return Ok(Self(requirements)),
                Some(Token::Comma) => {}
                Some(other) => return wrong(&other, "',' or 'end of string'"),
            }
        }
    }

    /// Selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with this index is selected.
    pub fn matches(&self, index: &Index) -> bool {
        self.takes(|key| index.label(key))
    }

    /// Whether an object with these labels is selected.
    pub fn takes<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = label(&requirement.key);
            let number = || value.and_then(|text| text.parse::<i64>().ok());
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
                Operator::NotIn(values) => !value.is_some_and(|value| values.iter().any(|one| one == value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
                Operator::Less(bound) => number().is_some_and(|number| number < *bound),
            }
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
}

fn describe(token: &Token) -> &str {
    match token {
        Token::Word(word) => word,
        Token::Comma => ",",
        Token::Open => "(",
        Token::Close => ")",
        Token::Not => "!",
        Token::Equal => "=",
        Token::NotEqual => "!=",
        Token::Greater => ">",
        Token::Less => "<",
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut then = |expected: char| letters.next_if_eq(&expected).is_some();
        out.push(match letter {
            ' ' | '\t' | '\r' | '\n' => continue,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '>' => Token::Greater,
            '<' => Token::Less,
            '!' => {
                if then('=') {
                    Token::NotEqual
                } else {
                    Token::Not
                }
            }
            '=' => {
                then('=');
                Token::Equal
            }
            first => {
                let mut word = String::from(first);
                while let Some(next) = letters.next_if(|next| !" \t\r\n,()><!=".contains(*next)) {
                    word.push(next);
                }
                Token::Word(word)
            }
        });
    }
    out
}

fn wrong<T>(found: &Token, expected: &str) -> Result<T, SelectorError> {
    Err(SelectorError::Label(format!("found '{}', expected: {expected}", describe(found))))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn expect(&mut self, expected: &str) -> Result<Token, SelectorError> {
        self.take().ok_or_else(|| SelectorError::Label(format!("found '', expected: {expected}")))
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        match self.expect("identifier")? {
            Token::Word(key) if is_key(&key) => Ok(key),
            Token::Word(key) => Err(SelectorError::Label(format!(
                "invalid label key {key:?}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            ))),
            other => wrong(&other, "identifier"),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == Some(&Token::Not) {
            self.take();
            return Ok(Requirement { key: self.key()?, operator: Operator::DoesNotExist });
        }
        let key = self.key()?;
        if matches!(self.peek(), None | Some(Token::Comma)) {
            return Ok(Requirement { key, operator: Operator::Exists });
        }
        let operator = match self.expect("operator")? {
            Token::Equal => Operator::In(vec![self.value()?]),
            Token::NotEqual => Operator::NotIn(vec![self.value()?]),
            Token::Greater => Operator::Greater(self.number()?),
            Token::Less => Operator::Less(self.number()?),
            Token::Word(word) if word == "in" => Operator::In(self.values()?),
            Token::Word(word) if word == "notin" => Operator::NotIn(self.values()?),
            other => return wrong(&other, "in, notin, =, ==, !=, gt, lt"),
        };
        Ok(Requirement { key, operator })
    }

    /// A value; nothing before the next comma or bracket is the empty one.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            None | Some(Token::Comma | Token::Close) => Ok(String::new()),
            Some(_) => match self.expect("value")? {
                Token::Word(value) if is_value(&value) => Ok(value),
                Token::Word(value) => Err(SelectorError::Label(format!(
                    "invalid label value {value:?}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
                ))),
                other => wrong(&other, "identifier"),
            },
        }
    }

    fn number(&mut self) -> Result<i64, SelectorError> {
        let value = self.value()?;
        value.parse().map_err(|_| {
            SelectorError::Label(format!("for 'Gt', 'Lt' operators, the value must be an integer: {value:?}"))
        })
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.expect("'('")? {
            Token::Open => {}
            other => return wrong(&other, "'('"),
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.expect("',' or ')'")? {
                Token::Comma => {}
                Token::Close => return Ok(values),
                other => return wrong(&other, "',' or ')'"),
            }
        }
    }
}

fn is_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.is_empty()
        || (text.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| inner(*byte)))
}

fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let good_prefix = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            })
    });
    good_prefix && !name.is_empty() && is_value(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: serde_json::Value) -> bool {
        let index = Index::of("pods", &json!({"metadata": {"labels": labels}}));
        LabelSelector::parse(selector).unwrap().matches(&index)
    }

    #[test]
    fn each_operator_selects_what_kubernetes_selects() {
        let labels = json!({"app": "web", "n": "5", "empty": ""});
        for yes in [
            "",
            "app",
            "app=web",
            "app==web",
            "!gone",
            "app!=db",
            "gone!=x",
            "app in (db, web)",
            "gone notin (a)",
            "n>4",
            "n<6",
            "empty=",
            "app=web,n=5",
            " app = web , n ",
            "app in (web)",
        ] {
            assert!(selects(yes, labels.clone()), "{yes}");
        }
        for no in ["gone", "app=db", "!app", "app!=web", "app notin (web)", "n>5", "app<1", "app=web,n=6"] {
            assert!(!selects(no, labels.clone()), "{no}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        for text in ["=x", "a=b=c", "a in b", "a in (b", "a,,b", "a>x", "-a=b", "a=b c", "a=-"] {
            let error = LabelSelector::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("unable to parse requirement: "), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in "\\PC{0,80}") {
            let _ = LabelSelector::parse(&text);
        }

        #[test]
        fn text_of_operators_is_parsed_or_refused_without_a_panic(text in "[ab=!,() <>in-]{0,40}") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
