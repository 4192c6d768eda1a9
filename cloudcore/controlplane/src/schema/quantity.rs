//! Resource quantities (`100m`, `1.5Gi`): parsing, comparing, canonical form.

use std::fmt;

use serde_json::Value;

const FORM: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

/// How the quantity was written, and will be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// A quantity in thousandths, rounded up as Kubernetes does. Ordered by value.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    milli: i128,
    format: Format,
}

/// The quantity in a field as text: it may stand there as a number too.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl Quantity {
    /// Reads a quantity; the error is Kubernetes' text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = unsigned.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, suffix) = unsigned.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(FORM.to_owned());
        }
        let (scale, format) = scale(suffix)?;
        let milli = thousandths(whole, fraction, scale);
        Ok(Self { milli: if negative { -milli } else { milli }, format })
    }

    /// So many whole units.
    pub fn count(units: u32) -> Self {
        Self { milli: i128::from(units) * 1000, format: Format::Decimal }
    }

    /// The sum, written like the first of the two that is not zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { milli: self.milli.saturating_add(other.milli), format }
    }

    /// The difference.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { milli: -other.milli, ..other })
    }

    /// Whether the value is zero.
    pub fn is_zero(self) -> bool {
        self.milli == 0
    }

    /// Whether the value is less than zero.
    pub fn is_negative(self) -> bool {
        self.milli < 0
    }

    /// The value in thousandths.
    pub fn milli(self) -> i128 {
        self.milli
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.milli.cmp(&other.milli)
    }
}

/// Multiplier as (base, power).
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Result<(Scale, Format), String> {
    let known = match suffix {
        "" => Scale::Ten(0),
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        _ => return exponent(suffix),
    };
    let format = if matches!(known, Scale::Two(_)) { Format::Binary } else { Format::Decimal };
    Ok((known, format))
}

fn exponent(suffix: &str) -> Result<(Scale, Format), String> {
    if !suffix.bytes().all(|b| b.is_ascii_digit() || b"eEinumkKMGTP+-".contains(&b)) {
        return Err(FORM.to_owned());
    }
    let power = suffix.strip_prefix(['e', 'E']).and_then(|power| power.parse::<i32>().ok());
    match power {
        Some(power) => Ok((Scale::Ten(power.clamp(-30, 18)), Format::Exponent)),
        None => Err(SUFFIX.to_owned()),
    }
}

/// The value in thousandths, rounded up and capped at 2^63-1 whole units.
fn thousandths(whole: &str, fraction: &str, scale: Scale) -> i128 {
    const CAP: i128 = (i64::MAX as i128) * 1000;
    let mut digits: i128 = 0;
    let mut power = match scale {
        Scale::Ten(power) => power + 3,
        Scale::Two(_) => 3,
    };
    for byte in whole.bytes() {
        digits = digits.saturating_mul(10).saturating_add(i128::from(byte - b'0'));
    }
    // More than 18 fraction digits are below the resolution.
    for byte in fraction.bytes().take(18) {
        digits = digits.saturating_mul(10).saturating_add(i128::from(byte - b'0'));
        power -= 1;
    }
    if let Scale::Two(shift) = scale {
        digits = digits.saturating_mul(1i128 << shift);
    }
    let ten = 10i128.saturating_pow(power.unsigned_abs().min(38));
    let milli =
        if power >= 0 { digits.saturating_mul(ten) } else { digits / ten + i128::from(digits % ten != 0) };
    milli.min(CAP)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli < 0 {
            f.write_str("-")?;
        }
        let milli = self.milli.unsigned_abs();
        if milli == 0 {
            return f.write_str("0");
        }
        let whole = milli / 1000;
        if self.format == Format::Binary && milli.is_multiple_of(1000) && whole >= 1024 {
            let mut value = whole;
            let mut suffix = 0;
            while value.is_multiple_of(1024) && suffix < 6 {
                value /= 1024;
                suffix += 1;
            }
            return write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][suffix]);
        }
        let mut value = milli;
        let mut power = -3i32;
        while value.is_multiple_of(1000) && power < 18 {
            value /= 1000;
            power += 3;
        }
        match (self.format, power) {
            (_, 0) => write!(f, "{value}"),
            (Format::Exponent, power) => write!(f, "{value}e{power}"),
            (_, power) => {
                let suffix = ["m", "", "k", "M", "G", "T", "P", "E"];
                let at = usize::try_from(power / 3 + 1).unwrap_or(0);
                write!(f, "{value}{}", suffix.get(at).copied().unwrap_or(""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms_are_those_of_kubernetes() {
        for (given, canonical) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("100Mi", "100Mi"),
            ("1500", "1500"),
            ("2000", "2k"),
            ("1e3", "1e3"),
            ("0.0001", "1m"),
            ("512", "512"),
            ("0", "0"),
            ("-1", "-1"),
            ("0.5Ki", "512"),
            (".5", "500m"),
            ("5.", "5"),
            ("100n", "1m"),
        ] {
            assert_eq!(Quantity::parse(given).unwrap().to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn garbage_is_refused_with_kubernetes_text() {
        for bad in ["", "abc", "1.2.3", "-", "1 Gi"] {
            assert_eq!(Quantity::parse(bad).unwrap_err(), FORM, "{bad}");
        }
        assert_eq!(Quantity::parse("1Kk").unwrap_err(), SUFFIX);
        assert_eq!(Quantity::parse("1E1E").unwrap_err(), SUFFIX);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_the_canonical_form_means_the_same(text in "[-+]?[0-9.]{0,30}[eEinumkKMGTP]{0,2}[0-9+-]{0,4}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let again = Quantity::parse(&quantity.to_string()).unwrap();
                prop_assert_eq!(quantity, again);
            }
        }
    }
}
