//! Which topics a client may read and write: a file as mosquitto's `acl_file`, read again when it changes.

mod parse;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use tracing::info;

use super::filter::{self, Filter};
use super::watched::{Named, Watched};

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AclError {
    /// Missing, or not ours to read.
    #[error(
        "cannot read the access rules of the MQTT broker from {path} (modules.eventBus.mqttAclFile): {source}; write it as \
         mosquitto's acl_file"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A line is not understood.
    #[error("{path}:{line}: {what} (modules.eventBus.mqttAclFile, as mosquitto's acl_file)")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// The rules of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acl {
    /// For who has not logged in.
    anonymous: Vec<Rule>,
    users: HashMap<Box<str>, Vec<Rule>>,
    /// For everybody, with `%u` and `%c` in them.
    patterns: Vec<Rule>,
}

/// What is allowed, or denied, for some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    access: Access,
    /// In a pattern with `%u` and `%c` where names will be.
    topics: Filter,
}

/// As mosquitto calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// Whom the rules are asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    /// `None`: they have not logged in.
    pub(super) user: Option<&'a str>,
    pub(super) client: &'a str,
}

/// What somebody wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    Write,
}

/// The rules, as the file has them now.
pub(super) fn watch(path: &Path) -> Result<Watched<Acl, AclError>, AclError> {
    let name = Named { what: "the access rules of the MQTT broker", cure: "" };
    let file = path.to_owned();
    let rules = Watched::open(name, vec![file.clone()], move || read(&file))?;
    info!(path = %path.display(), "MQTT clients may read and write what the rules say");
    Ok(rules)
}

fn read(path: &Path) -> Result<Acl, AclError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| AclError::Read { path: path.to_owned(), source })?;
    parse::parse(&text).map_err(|(line, what)| AclError::Line { path: path.to_owned(), line, what })
}

impl Access {
    fn allows(self, deed: Deed) -> bool {
        match deed {
            Deed::Read => matches!(self, Self::Read | Self::ReadWrite),
            Deed::Write => matches!(self, Self::Write | Self::ReadWrite),
        }
    }
}

impl Acl {
    /// Whether there are rules for users who log in.
    pub(super) fn names_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// In mosquitto's order: first the user's own rules, then the patterns, and in each denials first. What no rule
    /// speaks of is denied.
    pub(super) fn allows(&self, who: Who<'_>, deed: Deed, topic: &str) -> bool {
        let own = verdict(self.own(who), deed, |filter| filter.matches(topic));
        let patterns = || {
            verdict(&self.patterns, deed, |pattern| {
                who.fill(pattern.as_str()).is_some_and(|filter| filter::matches(&filter, topic))
            })
        };
        own.or_else(patterns).unwrap_or(false)
    }

    /// Whether some topic that the filter matches may be readable. Each message is looked at once more.
    pub(super) fn may_subscribe(&self, who: Who<'_>, filter: &Filter) -> bool {
        let readable = |access: Access| access.allows(Deed::Read);
        self.own(who).iter().any(|rule| readable(rule.access) && filter.overlaps(rule.topics.as_str()))
            || self.patterns.iter().any(|rule| {
                readable(rule.access)
                    && who.fill(rule.topics.as_str()).is_some_and(|topics| filter.overlaps(&topics))
            })
    }

    fn own(&self, who: Who<'_>) -> &[Rule] {
        match who.user {
            Some(user) => self.users.get(user).map_or(&[], Vec::as_slice),
            None => &self.anonymous,
        }
    }
}

/// `None`: none of the rules speaks of it.
fn verdict(rules: &[Rule], deed: Deed, speaks: impl Fn(&Filter) -> bool) -> Option<bool> {
    let some =
        |fits: &dyn Fn(Access) -> bool| rules.iter().any(|rule| fits(rule.access) && speaks(&rule.topics));
    if some(&|access| access == Access::Deny) {
        return Some(false);
    }
    some(&|access| access.allows(deed)).then_some(true)
}

impl Who<'_> {
    /// The pattern for this client. `None`: it is not for them, or their name would reach beyond their place: clients
    /// choose their ids themselves.
    fn fill(self, pattern: &str) -> Option<String> {
        let plain = |name: &&str| !name.is_empty() && !name.contains(['+', '#', '/']);
        let filled = |wanted, name: Option<&'_ str>| {
            if pattern.contains(wanted) { name.filter(plain).map(str::to_owned) } else { Some(String::new()) }
        };
        let (user, client) = (filled("%u", self.user)?, filled("%c", Some(self.client))?);
        // A name with %c in it is no place for the client's id.
        let parts: Vec<String> = pattern.split("%c").map(|part| part.replace("%u", &user)).collect();
        Some(parts.join(&client))
    }
}

#[cfg(test)]
mod tests;
