//! Reads the promises of SPECIFICATION.md and measures them.
//!
//! Owns: the table format of `SPECIFICATION.md` ([`Promise::all`]) and where documents' tests are ([`evidence`]). `main.rs` measures what is promised with the
//! crate `bench`; the tests of this crate see that no promise names a measurement or a test that does not exist.

pub mod evidence;

use thiserror::Error;

/// One row of a table of promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// What is promised, in words.
    pub text: String,
    /// The measurement's or the test's name, as in `edgecore.rss` or `faults::devices_offline`.
    pub evidence: String,
    /// For measured promises, the bound in base units (bytes, seconds, per second, percent).
    pub bound: Option<Bound>,
    /// Whether the document says that the promise is kept today.
    pub met: bool,
}

/// A limit in base units: bytes, seconds, per second, percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The number may not be larger.
    AtMost(f64),
    /// The number may not be smaller.
    AtLeast(f64),
}

impl Bound {
    /// Whether `value` keeps the bound.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    /// Parses `≤ 20 MB`, `≤ 5 ms`, `≥ 1000 /s`, `≤ 2 s`, `≤ 100 kB`, `≤ 0.3 %`.
    fn parse(text: &str) -> Option<Self> {
        let (side, rest): (fn(f64) -> Self, _) = match text.trim().split_at_checked('≤'.len_utf8())? {
            ("≤", rest) => (Self::AtMost, rest),
            ("≥", rest) => (Self::AtLeast, rest),
            _ => return None,
        };
        let (number, unit) = rest.trim().split_once(' ')?;
        let factor = match unit.trim() {
            "MB" => 1e6,
            "kB" => 1e3,
            "s" | "/s" | "%" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        Some(side(number.replace(',', "").parse::<f64>().ok()? * factor))
    }
}

/// Why a table of promises cannot be read.
#[derive(Debug, Error, PartialEq)]
pub enum Error {
    /// A row has not the five columns `Promise | Bound | Evidence | Measured | Met`.
    #[error(
        "SPECIFICATION.md line {line}: a promise has five columns (Promise, Bound, Evidence, Measured, Met), this has {found}"
    )]
    Columns {
        /// Line in the file, from 1.
        line: usize,
        /// How many columns it has.
        found: usize,
    },
    /// The last column is neither `yes` nor `not yet`.
    #[error("SPECIFICATION.md line {line}: the column Met says {found:?}; write `yes` or `not yet`")]
    Met {
        /// Line in the file, from 1.
        line: usize,
        /// What it says.
        found: String,
    },
    /// The bound is not of a known form.
    #[error(
        "SPECIFICATION.md line {line}: the bound {found:?} is not like `≤ 20 MB`, `≤ 5 ms`, `≥ 1000 /s` or `–`"
    )]
    Bound {
        /// Line in the file, from 1.
        line: usize,
        /// What it says.
        found: String,
    },
}

impl Promise {
    /// All promises of a document: the rows of every table whose first heading is `Promise`.
    ///
    /// # Errors
    /// At the first row that cannot be read.
    pub fn all(document: &str) -> Result<Vec<Self>, Error> {
        let mut promises = Vec::new();
        let mut inside = false;
        for (index, text) in document.lines().enumerate() {
            let line = index + 1;
            let Some(row) = text.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
                inside = false;
                continue;
            };
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            if cells.first() == Some(&"Promise") {
                inside = true;
            } else if inside && !cells.iter().all(|cell| cell.chars().all(|c| matches!(c, '-' | ':'))) {
                promises.push(Self::row(line, &cells)?);
            }
        }
        Ok(promises)
    }

    fn row(line: usize, cells: &[&str]) -> Result<Self, Error> {
        let &[text, bound, evidence, _measured, met] = cells else {
            return Err(Error::Columns { line, found: cells.len() });
        };
        let bound = match bound {
            "–" | "" => None,
            text => Some(Bound::parse(text).ok_or_else(|| Error::Bound { line, found: text.to_owned() })?),
        };
        let met = match met {
            "yes" => true,
            "not yet" => false,
            other => return Err(Error::Met { line, found: other.to_owned() }),
        };
        Ok(Self { text: text.to_owned(), evidence: evidence.trim_matches('`').to_owned(), bound, met })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_a_bound_and_one_without_are_read() {
        let document = "\
| Promise | Bound | Evidence | Measured | Met |
|---|---|---|---|---|
| Small | ≤ 20 MB | `edgecore.rss` | 14.1 MB | yes |
| Kept | – | `faults::devices_offline` | – | not yet |

| Other | table |
|---|---|
| is | left |
";
        let promises = Promise::all(document).unwrap();
        assert_eq!(promises.len(), 2);
        assert_eq!(promises[0].bound, Some(Bound::AtMost(20e6)));
        assert_eq!((promises[1].bound, promises[1].met), (None, false));
    }

    #[test]
    fn a_bound_without_a_unit_is_refused_with_its_line() {
        let document = "| Promise | Bound | Evidence | Measured | Met |\n| Small | ≤ 20 | `a` | | yes |\n";
        assert_eq!(Promise::all(document), Err(Error::Bound { line: 2, found: "≤ 20".to_owned() }));
    }

    #[test]
    fn bounds_hold_on_their_own_side() {
        assert!(Bound::parse("≤ 5 ms").unwrap().holds(0.004));
        assert!(!Bound::parse("≥ 1,000 /s").unwrap().holds(999.0));
    }
}
