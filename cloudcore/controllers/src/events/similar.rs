//! Events that differ in nothing but their words: an object of which ten things are told within ten minutes is told of in one event
//! from then on, whose words are the newest. Source: Kubernetes v1.36 `client-go/tools/record/events_cache.go` (`EventAggregator`).

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::memory::REMEMBERED;
use super::{Note, Severity};

/// From so many different messages on they are combined (client-go: `defaultAggregateMaxEvents`).
const DIFFERENT: usize = 10;
/// Unless nothing was told for this long (client-go: `defaultAggregateIntervalInSeconds`).
const PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// How the words of such an event begin.
const PREFIX: &str = "(combined from similar events): ";

/// What similar events share.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Topic {
    component: &'static str,
    uid: Option<String>,
    object: (Option<String>, Option<String>, Option<String>),
    severity: Severity,
    reason: &'static str,
}

struct Told {
    messages: HashSet<String>,
    last: Timestamp,
}

/// What was told of late.
#[derive(Default)]
pub(super) struct Similar(HashMap<Topic, Told>);

impl Similar {
    /// Combines a note with those before it, if there were many.
    pub(super) fn combine(&mut self, note: &mut Note) {
        // The newer style has series instead.
        if note.act.is_some() {
            return;
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, told| note.at.duration_since(told.last) <= PAUSE);
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
        }
        let about = &note.about;
        let topic = Topic {
            component: note.component,
            uid: about.uid.clone(),
            object: (about.kind.clone(), about.namespace.clone(), about.name.clone()),
            severity: note.severity,
            reason: note.reason,
        };
        let told = self.0.entry(topic).or_insert_with(|| Told { messages: HashSet::new(), last: note.at });
        if note.at.duration_since(told.last) > PAUSE {
            told.messages.clear();
        }
        told.last = note.at;
        told.messages.insert(note.message.clone());
        if told.messages.len() >= DIFFERENT {
            // The first nine go on counting for themselves.
            told.messages.remove(&note.message);
            note.message.insert_str(0, PREFIX);
            note.combined = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::note;
    use super::*;

    fn said(similar: &mut Similar, message: &str, second: i64) -> String {
        let mut note = Note { message: message.to_owned(), ..note("loud", second) };
        similar.combine(&mut note);
        assert_eq!(note.combined, note.message.starts_with(PREFIX));
        note.message
    }

    #[test]
    fn the_tenth_different_message_and_those_after_it_are_combined_until_it_is_quiet() {
        let mut similar = Similar::default();
        for n in 0..9 {
            assert_eq!(said(&mut similar, &format!("m{n}"), n), format!("m{n}"));
        }
        assert_eq!(said(&mut similar, "m9", 9), format!("{PREFIX}m9"));
        assert_eq!(said(&mut similar, "m10", 10), format!("{PREFIX}m10"));
        assert_eq!(said(&mut similar, "m3", 11), "m3", "one that was told before is only counted");
        let mut other = Note { reason: "Another", message: "m11".to_owned(), ..note("loud", 12) };
        similar.combine(&mut other);
        assert_eq!(other.message, "m11");
        assert_eq!(said(&mut similar, "m11", 11 + 600), format!("{PREFIX}m11"));
        assert_eq!(said(&mut similar, "m12", 11 + 600 + 601), "m12");
    }
}
