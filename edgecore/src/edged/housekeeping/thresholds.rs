//! When a resource counts as short: `evictionHard`, `evictionSoft` and what belongs to them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto::config::KubeletConfig;
use tokio::time::Instant;

use super::pressure::Signal;
use crate::edged::node::{Amount, Floor, SettingsError};

/// When a resource counts as short.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Which.
    pub signal: Signal,
    /// How little is too little.
    pub floor: Floor,
    /// As it was configured, for messages.
    pub text: String,
    /// How long it must be short before pods have to go; `None` for a hard threshold: at once.
    pub lasting: Option<Duration>,
    /// How much more than the floor there must be before evicting ends.
    pub reclaim: Option<Floor>,
}

impl Threshold {
    /// All thresholds, hard ones first: those given, and the kubelet's defaults where nothing is said.
    ///
    /// # Errors
    /// When one is neither a quantity nor a percentage, is of nothing that can run short, or has no grace period.
    pub fn all(kubelet: &KubeletConfig) -> Result<Vec<Self>, SettingsError> {
        let hard = kubelet.eviction_hard.clone().unwrap_or_default();
        let soft = kubelet.eviction_soft.clone().unwrap_or_default();
        let graces = kubelet.eviction_soft_grace_period.clone().unwrap_or_default();
        let reclaims = kubelet.eviction_minimum_reclaim.clone().unwrap_or_default();
        known("evictionSoft", soft.keys())?;
        known("evictionSoftGracePeriod", graces.keys())?;
        known("evictionMinimumReclaim", reclaims.keys())?;
        if let Some(key) = graces.keys().find(|key| !soft.contains_key(*key)) {
            let reason = "evictionSoft has no such threshold: write one, or leave this out".to_owned();
            return Err(SettingsError::Eviction {
                field: "evictionSoftGracePeriod",
                key: key.clone(),
                reason,
            });
        }
        let reclaim = |key: &'static str| -> Result<Option<Floor>, SettingsError> {
            reclaims.get(key).map(|text| Floor::of("evictionMinimumReclaim", key, text)).transpose()
        };
        let mut all = Vec::new();
        for (signal, key, default) in Signal::ALL {
            let text = hard.get(key).map_or(default, String::as_str);
            let floor = Floor::of("evictionHard", key, text)?;
            all.push(Self { signal, floor, text: text.to_owned(), lasting: None, reclaim: reclaim(key)? });
        }
        for (signal, key, _) in Signal::ALL {
            let Some(text) = soft.get(key) else { continue };
            let floor = Floor::of("evictionSoft", key, text)?;
            let grace = graces.get(key).ok_or_else(|| SettingsError::Eviction {
                field: "evictionSoft",
                key: key.to_owned(),
                reason: "grace period must be specified for the soft eviction threshold: write how long it must last into \
                         evictionSoftGracePeriod, such as 1m30s"
                    .to_owned(),
            })?;
            let lasting = Some(grace.get());
            all.push(Self { signal, floor, text: text.clone(), lasting, reclaim: reclaim(key)? });
        }
        Ok(all)
    }

    /// Whether there is too little, or, once pods had to go, not enough more than that.
    fn is_met(&self, amount: Amount, evicting: bool) -> bool {
        let extra = self.reclaim.filter(|_| evicting).map_or(0, |reclaim| reclaim.amount(amount.capacity));
        let least = self.floor.amount(amount.capacity).saturating_add(extra);
        // File systems without inodes count none at all.
        amount.capacity > 0 && amount.available < least
    }
}

fn known<'a>(field: &'static str, keys: impl Iterator<Item = &'a String>) -> Result<(), SettingsError> {
    for key in keys {
        if !Signal::ALL.iter().any(|(_, known, _)| known == key) {
            let all: Vec<&str> = Signal::ALL.iter().map(|(_, known, _)| *known).collect();
            let reason = format!("nothing of that name can run short here: write one of {}", all.join(", "));
            return Err(SettingsError::Eviction { field, key: key.clone(), reason });
        }
    }
    Ok(())
}

/// What was seen of the thresholds so far, each by its place in the list.
#[derive(Debug, Default)]
pub(super) struct Observer {
    /// Since when each is met.
    since: BTreeMap<usize, Instant>,
    /// Those that pods had to go for at the last look.
    evicting: BTreeSet<usize>,
}

/// What a look has found.
#[derive(Debug, PartialEq)]
pub(super) struct Seen<'a> {
    /// What is short, lasting or not.
    pub short: Vec<Signal>,
    /// What pods have to go for, the first first, and how much there is.
    pub due: Vec<(&'a Threshold, Amount)>,
}

impl Observer {
    pub(super) fn look<'a>(
        &mut self,
        thresholds: &'a [Threshold],
        level: impl Fn(Signal) -> Amount,
        now: Instant,
    ) -> Seen<'a> {
        let mut seen = Seen { short: Vec::new(), due: Vec::new() };
        let evicting = std::mem::take(&mut self.evicting);
        for (place, threshold) in thresholds.iter().enumerate() {
            let amount = level(threshold.signal);
            if !threshold.is_met(amount, evicting.contains(&place)) {
                self.since.remove(&place);
                continue;
            }
            seen.short.push(threshold.signal);
            let since = *self.since.entry(place).or_insert(now);
            if threshold.lasting.is_none_or(|lasting| now.duration_since(since) >= lasting) {
                self.evicting.insert(place);
                seen.due.push((threshold, amount));
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use proto::config::Span;

    use super::*;

    fn map(given: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        Some(given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn soft(key: &str, floor: &str, grace: Option<u64>) -> KubeletConfig {
        KubeletConfig {
            eviction_soft: map(&[(key, floor)]),
            eviction_soft_grace_period: grace.map(|grace| [(key.to_owned(), Span::seconds(grace))].into()),
            ..KubeletConfig::default()
        }
    }

    #[test]
    fn thresholds_are_the_kubelets_unless_said_otherwise() {
        let hard = |given| KubeletConfig { eviction_hard: map(given), ..KubeletConfig::default() };
        let all = Threshold::all(&hard(&[("memory.available", "1Gi")])).unwrap();
        assert_eq!((all[0].signal, all[0].floor), (Signal::Memory, Floor::Amount(1 << 30)));
        assert_eq!(all[1].floor, Floor::Percent(10.0));
        let error = Threshold::all(&hard(&[("nodefs.available", "some")])).unwrap_err().to_string();
        assert!(error.contains("evictionHard[\"nodefs.available\"]") && error.contains("some"), "{error}");
    }

    #[test]
    fn half_a_soft_threshold_is_refused_with_what_is_missing() {
        let said = |config: &KubeletConfig| Threshold::all(config).unwrap_err().to_string();
        let no_grace = said(&soft("memory.available", "1Gi", None));
        assert!(
            no_grace.contains("evictionSoft[\"memory.available\"]: grace period must be specified"),
            "{no_grace}"
        );
        let mut no_threshold = soft("memory.available", "1Gi", Some(30));
        no_threshold.eviction_soft = None;
        assert!(
            said(&no_threshold)
                .contains("evictionSoftGracePeriod[\"memory.available\"]: evictionSoft has no")
        );
        let unknown = said(&soft("memory.left", "1Gi", Some(30)));
        assert!(unknown.contains("evictionSoft[\"memory.left\"]: nothing of that name"), "{unknown}");
        let config = KubeletConfig {
            eviction_minimum_reclaim: map(&[("memory.available", "a lot")]),
            ..soft("memory.available", "1Gi", Some(1))
        };
        assert!(said(&config).contains("evictionMinimumReclaim[\"memory.available\"]: \"a lot\""));
    }

    #[test]
    fn a_soft_threshold_has_to_last_and_says_that_it_is_short_meanwhile() {
        let config = KubeletConfig {
            eviction_hard: map(&[("memory.available", "10")]),
            ..soft("memory.available", "100", Some(30))
        };
        let thresholds = Threshold::all(&config).unwrap();
        let thresholds: Vec<Threshold> =
            thresholds.into_iter().filter(|one| one.signal == Signal::Memory).collect();
        let mut observer = Observer::default();
        let start = Instant::now();
        let mut look = |available, after| {
            let amount = Amount { capacity: 1000, available };
            let seen = observer.look(&thresholds, |_| amount, start + Duration::from_secs(after));
            (seen.short.len(), seen.due.iter().map(|(one, _)| one.text.clone()).collect::<Vec<_>>())
        };
        assert_eq!(look(500, 0), (0, vec![]));
        assert_eq!(look(50, 10), (1, vec![]));
        assert_eq!(look(50, 39), (1, vec![]));
        // It was enough in between: the time begins anew.
        assert_eq!(look(500, 40), (0, vec![]));
        assert_eq!(look(50, 50), (1, vec![]));
        assert_eq!(look(50, 80), (1, vec!["100".into()]));
        assert_eq!(look(5, 81), (2, vec!["10".into(), "100".into()]));
    }

    #[test]
    fn evicting_goes_on_until_there_is_as_much_more_as_was_asked_for() {
        let config = KubeletConfig {
            eviction_hard: map(&[("memory.available", "100")]),
            eviction_minimum_reclaim: map(&[("memory.available", "5%")]),
            ..KubeletConfig::default()
        };
        let thresholds = Threshold::all(&config).unwrap();
        let memory = &thresholds[..1];
        let mut observer = Observer::default();
        let now = Instant::now();
        let mut due = |available| {
            let amount = Amount { capacity: 1000, available };
            observer.look(memory, |_| amount, now).due.len()
        };
        assert_eq!([due(120), due(90), due(120), due(149), due(150), due(120)], [0, 1, 1, 1, 0, 0]);
    }
}
