//! Kubernetes quantities such as `250m`, `64Mi`, `1e3`.

/// A text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity: write a number with a suffix such as m, k, M, Ki, Mi, Gi")]
pub struct QuantityError(String);

/// The quantity in billionths.
///
/// # Errors
/// If `text` is no quantity, or one of more than 10^20.
pub fn nano(text: &str) -> Result<i128, QuantityError> {
    let wrong = || QuantityError(text.to_owned());
    let split =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (numerator, denominator) = scale(suffix).ok_or_else(wrong)?;
    let (sign, digits) = match number.as_bytes().first() {
        Some(b'-') => (-1, &number[1..]),
        Some(b'+') => (1, &number[1..]),
        _ => (1, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 || !plain(whole) || !plain(fraction) {
        return Err(wrong());
    }
    let digits: i128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let places =
        10_i128.checked_pow(u32::try_from(fraction.len()).map_err(|_| wrong())?).ok_or_else(wrong)?;
    let scaled =
        digits.checked_mul(numerator).and_then(|n| n.checked_mul(1_000_000_000)).ok_or_else(wrong)?;
    let divisor = places.checked_mul(denominator).ok_or_else(wrong)?;
    // Kubernetes rounds away from zero.
    Ok(sign * (scaled / divisor + i128::from(scaled % divisor > 0)))
}

/// Multiplier of a suffix as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    })
}

/// The quantity in whole units, rounded up.
///
/// # Errors
/// If `text` is no quantity, or too large.
pub fn whole(text: &str) -> Result<i64, QuantityError> {
    let nano = nano(text)?;
    i64::try_from(nano.div_euclid(1_000_000_000) + i128::from(nano.rem_euclid(1_000_000_000) > 0))
        .map_err(|_| QuantityError(text.to_owned()))
}

/// The quantity in thousandths, rounded up.
///
/// # Errors
/// If `text` is no quantity, or too large.
pub fn milli(text: &str) -> Result<i64, QuantityError> {
    let nano = nano(text)?;
    i64::try_from(nano.div_euclid(1_000_000) + i128::from(nano.rem_euclid(1_000_000) > 0))
        .map_err(|_| QuantityError(text.to_owned()))
}

/// Bytes as Kubernetes writes them: in the largest binary unit that leaves no fraction.
#[must_use]
pub fn of_bytes(bytes: u64) -> String {
    let units = [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let fitting = units.into_iter().find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits);
    fitting.map_or_else(|| bytes.to_string(), |(bits, name)| format!("{}{name}", bytes >> bits))
}

/// Thousandths as Kubernetes writes them: whole units where they are whole.
#[must_use]
pub fn of_milli(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_kubernetes_writes_them() {
        let written = [0, 1023, 1024, 100 << 20, (100 << 20) + 1024, 3 << 30].map(of_bytes);
        assert_eq!(written, ["0", "1023", "1Ki", "100Mi", "102401Ki", "3Gi"]);
        assert_eq!([0, 1900, 2000].map(of_milli), ["0", "1900m", "2"]);
    }

    #[test]
    fn quantities_mean_what_kubernetes_says() {
        assert_eq!(milli("250m"), Ok(250));
        assert_eq!(milli("1"), Ok(1000));
        assert_eq!(milli("1.5"), Ok(1500));
        assert_eq!(milli("0.1m"), Ok(1));
        assert_eq!(whole("64Mi"), Ok(64 << 20));
        assert_eq!(whole("1e3"), Ok(1000));
        assert_eq!(whole("1E"), Ok(1_000_000_000_000_000_000));
        assert_eq!(whole("100m"), Ok(1));
        assert_eq!(whole("-5"), Ok(-5));
    }

    #[test]
    fn what_is_no_quantity_is_refused_without_panic() {
        for text in ["", "m", "1x", "--1", "1.2.3", "99999999999999999999999999999999999999Ei", "1e999", "."]
        {
            assert!(nano(text).is_err(), "{text:?}");
        }
    }
}
