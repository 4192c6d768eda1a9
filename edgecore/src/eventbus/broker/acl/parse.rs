//! The file's lines: `user NAME`, `topic [read|write|readwrite|deny] FILTER`, `pattern [..] FILTER`, comments.

use super::{Access, Acl, Rule};
use crate::eventbus::broker::filter::Filter;

/// The line that is not understood, counted from 1, and why.
type Wrong = (usize, String);

/// Reads the whole file.
pub(super) fn parse(text: &str) -> Result<Acl, Wrong> {
    let mut acl = Acl::default();
    let mut user: Option<Box<str>> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: String| (at + 1, what);
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "user" if rest.is_empty() => return Err(wrong("user is without a name: write user NAME".into())),
            "user" => {
                acl.users.entry(rest.into()).or_default();
                user = Some(rest.into());
            }
            "topic" => {
                let (access, text) = rule(word, rest).map_err(wrong)?;
                let rule = Rule { access, topics: filter(text).map_err(wrong)? };
                match &user {
                    Some(user) => acl.users.entry(user.clone()).or_default().push(rule),
                    None => acl.anonymous.push(rule),
                }
            }
            "pattern" => {
                let (access, text) = rule(word, rest).map_err(wrong)?;
                acl.patterns.push(Rule { access, topics: filter(text).map_err(wrong)? });
            }
            _ => {
                let word: String = word.chars().take(40).collect();
                return Err(wrong(format!("{word:?} is none of user, topic, pattern")));
            }
        }
    }
    Ok(acl)
}

/// `read a/b`, or `a/b` alone for both.
fn rule<'a>(word: &str, rest: &'a str) -> Result<(Access, &'a str), String> {
    let missing = || format!("{word} is without a topic: write {word} read|write|readwrite|deny TOPIC");
    if rest.is_empty() {
        return Err(missing());
    }
    let Some((first, topic)) = rest.split_once([' ', '\t']) else {
        // A topic may be called so, but who writes that has forgotten it.
        return if access(rest).is_some() { Err(missing()) } else { Ok((Access::ReadWrite, rest)) };
    };
    let topic = topic.trim_start();
    match access(first) {
        Some(access) => Ok((access, topic)),
        None => {
            let first: String = first.chars().take(40).collect();
            Err(format!("{first:?} is none of read, write, readwrite, deny"))
        }
    }
}

fn access(word: &str) -> Option<Access> {
    Some(match word {
        "read" => Access::Read,
        "write" => Access::Write,
        "readwrite" => Access::ReadWrite,
        "deny" => Access::Deny,
        _ => return None,
    })
}

fn filter(text: &str) -> Result<Filter, String> {
    Filter::new(text).map_err(|invalid| invalid.to_string())
}
