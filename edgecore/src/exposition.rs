//! Prometheus' text form 0.0.4 with times, which metrics-server needs and the registries of Prometheus' clients do not write.

use std::fmt::Display;

use jiff::Timestamp;

/// A page of families.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// Rows of one name.
pub(crate) struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Page {
    /// Begins a family. `kind` is `counter` or `gauge`.
    pub(crate) fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: self, name }
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// One row. `at` is when the value was so, if not now.
    pub(crate) fn row(&mut self, labels: &[(&str, &str)], value: impl Display, at: Option<Timestamp>) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let at = at.map(|at| format!(" {}", at.as_millisecond())).unwrap_or_default();
        self.page.0.push_str(&format!("{}{labels} {value}{at}\n", self.name));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_carry_labels_and_times() {
        let mut page = Page::default();
        let mut family = page.family("x", "gauge", "What it is");
        family.row(&[("a", "b\"\\\n"), ("c", "")], 1.5, None);
        family.row(&[], 2, Some(Timestamp::from_second(1).unwrap()));
        let rows = "x{a=\"b\\\"\\\\\\n\",c=\"\"} 1.5\nx 2 1000\n";
        assert_eq!(page.finish(), format!("# HELP x What it is\n# TYPE x gauge\n{rows}"));
    }
}
