//! Sets of completion indexes and their text, `1,3-5,7`.

use std::collections::BTreeSet;

/// Completion indexes. Bounded by what a text may name: Kubernetes allows 100 000 completions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Indexes(BTreeSet<i32>);

const MOST: i32 = 100_000;

impl Indexes {
    /// Reads a status' text as far as it names indexes below `completions`; what is no index is left out.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let below = completions.clamp(0, MOST);
        let mut indexes = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.trim().parse::<i32>(), last.trim().parse::<i32>()) else {
                continue;
            };
            indexes.extend(first.max(0)..last.saturating_add(1).min(below));
        }
        Self(indexes)
    }

    pub(super) fn extend(&mut self, indexes: impl IntoIterator<Item = i32>) {
        self.0.extend(indexes);
    }

    pub(super) fn contains(&self, index: i32) -> bool {
        self.0.contains(&index)
    }

    pub(super) fn len(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i32> {
        self.0.iter().copied()
    }

    /// Those that `other` has not.
    pub(super) fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// Kubernetes' text: three and more in a row become a range.
    pub(super) fn text(&self) -> String {
        let mut parts = Vec::new();
        let mut rest = self.iter().peekable();
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            match last - first {
                0 => parts.push(first.to_string()),
                1 => parts.extend([first.to_string(), last.to_string()]),
                _ => parts.push(format!("{first}-{last}")),
            }
        }
        parts.join(",")
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Self {
        Self(indexes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_in_a_row_are_a_range_and_nonsense_is_left_out() {
        assert_eq!(Indexes::from_iter([1, 3, 4, 5, 7, 8]).text(), "1,3-5,7,8");
        assert_eq!(Indexes::parse("1,x,3-5,,9-2,-4,7", 7).text(), "1,3-5");
        assert_eq!(Indexes::parse("0-2147483647", 3).text(), "0-2");
        assert_eq!(Indexes::parse("", 5).len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(set in prop::collection::btree_set(0..200_i32, 0..60)) {
            let indexes: Indexes = set.into_iter().collect();
            prop_assert_eq!(Indexes::parse(&indexes.text(), 200), indexes);
        }

        #[test]
        fn no_text_names_an_index_beyond_the_completions(text in "[0-9,-]{0,40}", completions in 0..50_i32) {
            prop_assert!(Indexes::parse(&text, completions).iter().all(|index| index < completions));
        }
    }
}
