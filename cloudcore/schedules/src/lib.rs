//! `spec.schedule` and `spec.timeZone`: when a cron job is due.
//!
//! Pure. Called by the API server, which refuses what cannot be read, and by the controller of cron jobs. Calls nothing of ours.
//!
//! The language is that of robfig/cron v3's `ParseStandard`, which Kubernetes uses: five fields with names, lists, ranges and steps, or
//! `@hourly` and the like, or `@every 90m`. Days of the month and of the week are alternatives unless one begins with a star.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// More missed starts than this and Kubernetes warns.
pub const MANY: usize = 100;

const NICKNAMES: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is to happen again and again.
#[derive(Clone, Debug)]
pub struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum Rule {
    Cron(Box<Cron>),
    /// Seconds between two times, counted from the last.
    Every(i64),
}

/// A cron job's place in time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Timing {
    /// The newest time that has come since the last start.
    pub due: Option<Timestamp>,
    /// How many times came since then, at most [`MANY`] and one.
    pub missed: usize,
    /// The first time that has not come yet; never, if there is none.
    pub next: Option<Timestamp>,
}

/// Why there is no schedule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// There is no zone of this name.
    #[error("unknown time zone {0}")]
    Zone(String),
    /// The schedule is none, in the words of robfig/cron.
    #[error("{0}")]
    Schedule(String),
}

impl Schedule {
    /// Reads a schedule; without a zone its times are UTC.
    ///
    /// # Errors
    /// What is wrong with it, in Kubernetes' words.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, Unreadable> {
        let zone = match zone {
            None | Some("") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| Unreadable::Zone(name.to_owned()))?,
        };
        let rule = rule(text.trim()).map_err(Unreadable::Schedule)?;
        Ok(Self { rule, zone })
    }

    /// A time as people write it in the schedule's zone.
    pub fn written(&self, time: Timestamp) -> String {
        let zoned = time.to_zoned(self.zone.clone());
        if zoned.offset().is_zero() {
            time.to_string()
        } else {
            zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        }
    }

    /// What has come after `since` and until `now`, and what comes next.
    pub fn timing(&self, since: Timestamp, now: Timestamp) -> Timing {
        match &self.rule {
            Rule::Every(seconds) => every(*seconds, since.as_second(), now.as_second()),
            Rule::Cron(cron) => self.cron(cron, since, now),
        }
    }

    fn cron(&self, cron: &Cron, since: Timestamp, now: Timestamp) -> Timing {
        let at = |time: Timestamp| time.to_zoned(self.zone.clone());
        // The search gives up where nothing matches for years, as on the 31st of February.
        let next = cron.find_next_occurrence(&at(now), false).ok().map(|time| time.timestamp());
        let last = cron.find_previous_occurrence(&at(now), true).ok().map(|time| time.timestamp());
        let Some(due) = last.filter(|last| *last > since) else {
            return Timing { next, ..Timing::default() };
        };
        let missed =
            cron.iter_after(at(since)).take(MANY + 1).take_while(|time| time.timestamp() <= due).count();
        Timing { due: Some(due), missed, next }
    }
}

fn every(seconds: i64, since: i64, now: i64) -> Timing {
    let passed = now.saturating_sub(since).max(0) / seconds;
    let time = |count: i64| Timestamp::from_second(since.saturating_add(count.saturating_mul(seconds))).ok();
    Timing {
        due: (passed > 0).then(|| time(passed)).flatten(),
        missed: usize::try_from(passed).unwrap_or(usize::MAX).min(MANY + 1),
        next: time(passed + 1),
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if let Some(pause) = text.strip_prefix("@every ") {
        let pause: SignedDuration = pause
            .trim()
            .parse()
            .map_err(|_| format!("failed to parse duration {text}: time: invalid duration {pause:?}"))?;
        return Ok(Rule::Every(pause.as_secs().max(1)));
    }
    let parser =
        CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).sloppy_ranges(true);
    let both_days = if text.starts_with('@') {
        if !NICKNAMES.contains(&text) {
            return Err(format!("unrecognized descriptor: {text}"));
        }
        false
    } else {
        let fields: Vec<_> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", fields.len()));
        };
        let fields = [
            (minute, Range::numbers(0, 59)),
            (hour, Range::numbers(0, 23)),
            (day, Range::numbers(1, 31)),
            (month, Range { min: 1, max: 12, names: MONTHS }),
            (weekday, Range { min: 0, max: 6, names: DAYS }),
        ];
        for (field, range) in fields {
            field.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range.check(part))?;
        }
        any(day) || any(weekday)
    };
    let cron = parser.dom_and_dow(both_days).build().parse(text).map_err(|error| error.to_string())?;
    Ok(Rule::Cron(Box::new(cron)))
}

/// Whether one of a field's alternatives begins with a star.
fn any(field: &str) -> bool {
    field.split(',').any(|part| part.starts_with(['*', '?']))
}

/// What a field may hold.
struct Range {
    min: u32,
    max: u32,
    /// Of the numbers from `min` on.
    names: &'static [&'static str],
}

impl Range {
    fn numbers(min: u32, max: u32) -> Self {
        Self { min, max, names: &[] }
    }

    /// Keeps out what other cron dialects know and Kubernetes does not, in the words of robfig/cron v3's `getRange`.
    fn check(&self, text: &str) -> Result<(), String> {
        let (range, step) = match text.split('/').collect::<Vec<_>>()[..] {
            [range] => (range, None),
            [range, step] => (range, Some(step)),
            _ => return Err(format!("too many slashes: {text}")),
        };
        let (low, high) = match range.split('-').collect::<Vec<_>>()[..] {
            ["*" | "?", ..] => (self.min, self.max),
            [only] => {
                let only = self.number(only)?;
                // `5/20` is from 5 on.
                (only, if step.is_some() { self.max } else { only })
            }
            [low, high] => (self.number(low)?, self.number(high)?),
            _ => return Err(format!("too many hyphens: {text}")),
        };
        let step = step.map_or(Ok(1), number)?;
        let Self { min, max, .. } = self;
        if low < *min {
            return Err(format!("beginning of range ({low}) below minimum ({min}): {text}"));
        }
        if high > *max {
            return Err(format!("end of range ({high}) above maximum ({max}): {text}"));
        }
        if low > high {
            return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        Ok(())
    }

    fn number(&self, word: &str) -> Result<u32, String> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(word));
        let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.min);
        named.map_or_else(|| number(word), Ok)
    }
}

fn number(word: &str) -> Result<u32, String> {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let parsed = word.parse().ok().filter(|_| is_number);
    parsed.ok_or_else(|| format!("failed to parse int from {word}: strconv.Atoi: parsing {word:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(schedule: &str, zone: Option<&str>, now: &str) -> String {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        let next = schedule.timing(at(now), at(now)).next;
        next.map_or("never".to_owned(), |next| schedule.written(next))
    }

    #[test]
    fn the_standard_language_is_understood() {
        let now = "2026-03-04T10:20:30Z";
        for (schedule, expected) in [
            ("* * * * *", "2026-03-04T10:21:00Z"),
            ("*/15 * * * *", "2026-03-04T10:30:00Z"),
            ("5/20 * * * *", "2026-03-04T10:25:00Z"),
            ("0 0-6/3,22 * * *", "2026-03-04T22:00:00Z"),
            ("30 6-16/4 * * 1-5", "2026-03-04T10:30:00Z"),
            ("0 12 ? JAN Mon", "2027-01-04T12:00:00Z"),
            ("0 0 13 * fri", "2026-03-06T00:00:00Z"),
            ("0 0 */13 * fri", "2026-03-27T00:00:00Z"),
            ("@hourly", "2026-03-04T11:00:00Z"),
            ("@weekly", "2026-03-08T00:00:00Z"),
            ("@every 1h30m", "2026-03-04T11:50:30Z"),
            ("0 0 31 2 *", "never"),
        ] {
            assert_eq!(next(schedule, None, now), expected, "{schedule}");
        }
    }

    #[test]
    fn what_kubernetes_does_not_understand_is_refused_with_its_words() {
        for (schedule, expected) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("0 * * * * *", "expected exactly 5 fields, found 6: [0 * * * * *]"),
            ("@often", "unrecognized descriptor: @often"),
            ("", "empty spec string"),
            ("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\""),
            ("0 0 L * *", "failed to parse int from L: strconv.Atoi: parsing \"L\": invalid syntax"),
            (
                "0 0 * * fri#2",
                "failed to parse int from fri#2: strconv.Atoi: parsing \"fri#2\": invalid syntax",
            ),
            (
                "99999999999 * * * *",
                "failed to parse int from 99999999999: strconv.Atoi: parsing \"99999999999\": value out of range",
            ),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("* 20-24 * * *", "end of range (24) above maximum (23): 20-24"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ] {
            assert_eq!(
                Schedule::parse(schedule, None).unwrap_err(),
                Unreadable::Schedule(expected.to_owned())
            );
        }
        for schedule in ["* * * 13 *", "/5 * * * *", "TZ=UTC 0 0 * *"] {
            assert!(Schedule::parse(schedule, None).is_err(), "{schedule}");
        }
        assert_eq!(
            Schedule::parse("@daily", Some("Mars/Base")).unwrap_err(),
            Unreadable::Zone("Mars/Base".to_owned())
        );
    }

    #[test]
    fn times_are_those_of_the_zone_and_survive_its_clock_changes() {
        let berlin = Some("Europe/Berlin");
        assert_eq!(next("0 9 * * *", berlin, "2026-03-28T12:00:00Z"), "2026-03-29T09:00:00+02:00");
        assert_eq!(next("0 9 * * *", berlin, "2026-10-24T12:00:00Z"), "2026-10-25T09:00:00+01:00");
        assert_eq!(
            next("0 9 * * *", Some("Asia/Kolkata"), "2026-03-28T12:00:00Z"),
            "2026-03-29T09:00:00+05:30"
        );
    }

    #[test]
    fn what_was_missed_is_counted_and_only_the_newest_is_due() {
        let hourly = Schedule::parse("@hourly", None).unwrap();
        let timing = hourly.timing(at("2026-03-04T10:00:00Z"), at("2026-03-04T13:59:00Z"));
        let expected = Timing {
            due: Some(at("2026-03-04T13:00:00Z")),
            missed: 3,
            next: Some(at("2026-03-04T14:00:00Z")),
        };
        assert_eq!(timing, expected);
        assert_eq!(hourly.timing(at("2026-03-04T13:00:00Z"), at("2026-03-04T13:59:00Z")).due, None);
        let long = hourly.timing(at("2025-03-04T10:00:00Z"), at("2026-03-04T13:00:00Z"));
        assert_eq!((long.due, long.missed), (Some(at("2026-03-04T13:00:00Z")), MANY + 1));
        let every = Schedule::parse("@every 10m", None).unwrap();
        let timing = every.timing(at("2026-03-04T10:03:00Z"), at("2026-03-04T10:25:00Z"));
        assert_eq!((timing.due, timing.missed), (Some(at("2026-03-04T10:23:00Z")), 2));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fall_over(text in "\\PC{0,40}", fields in "[0-9*/,?a-z-]{1,8}( [0-9*/,?a-z-]{1,8}){4}") {
            for text in [text, fields] {
                if let Ok(schedule) = Schedule::parse(&text, None) {
                    let (since, now) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
                    let timing = schedule.timing(since, now);
                    prop_assert!(timing.due.is_none_or(|due| since < due && due <= now));
                    prop_assert!(timing.next.is_none_or(|next| now < next));
                }
            }
        }
    }
}
