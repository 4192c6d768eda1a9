//! What a value must look like: the one place that reads values by the types of a model.

use super::{ModelProperty, PropertyType};

/// Why a value is refused, in KubeEdge's words where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongValue {
    /// No 64-bit decimal.
    #[error("the value is not int or integer")]
    Int,
    /// No number.
    #[error("the value is not float")]
    Float,
    /// Another word.
    #[error("the bool value must be true or false")]
    Boolean,
    /// No encoding of bytes that we know.
    #[error("the value is neither base64 nor hex")]
    Bytes,
}

/// Why a value does not fit a property of a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Misfit {
    /// It is of another type.
    #[error("{0}")]
    Type(#[from] WrongValue),
    /// It is too small, or no number.
    #[error("it is below the model's minimum {0}")]
    BelowMinimum(f64),
    /// It is too large, or no number.
    #[error("it is above the model's maximum {0}")]
    AboveMaximum(f64),
}

impl PropertyType {
    /// Whether values have an order that a minimum and a maximum can bound.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Double)
    }

    /// Whether `value` is of this type.
    ///
    /// # Errors
    /// What it is not.
    pub fn check(self, value: &str) -> Result<(), WrongValue> {
        let wrong = match self {
            Self::String | Self::Stream => return Ok(()),
            Self::Int if value.parse::<i64>().is_ok() => return Ok(()),
            Self::Float | Self::Double if number(value).is_some() => return Ok(()),
            Self::Boolean if matches!(value, "true" | "false") => return Ok(()),
            Self::Bytes if is_encoded_bytes(value) => return Ok(()),
            Self::Int => WrongValue::Int,
            Self::Float | Self::Double => WrongValue::Float,
            Self::Boolean => WrongValue::Boolean,
            Self::Bytes => WrongValue::Bytes,
        };
        Err(wrong)
    }
}

impl ModelProperty {
    /// Whether `value` is of the property's type and within its bounds. A bound that is no number bounds nothing.
    ///
    /// # Errors
    /// Why it does not fit.
    pub fn check(&self, value: &str) -> Result<(), Misfit> {
        let Some(kind) = self.kind else { return Ok(()) };
        kind.check(value)?;
        let bound = |text: &Option<String>| text.as_deref().and_then(|text| number(text.trim()));
        match number(value).filter(|_| kind.is_number()) {
            Some(parsed) => within(parsed, bound(&self.minimum), bound(&self.maximum)),
            None => Ok(()),
        }
    }
}

/// Whether a number is within bounds. What is no number is outside of any.
///
/// # Errors
/// The bound that it breaks.
pub fn within(parsed: f64, minimum: Option<f64>, maximum: Option<f64>) -> Result<(), Misfit> {
    if let Some(minimum) = minimum.filter(|minimum| parsed.is_nan() || parsed < *minimum) {
        return Err(Misfit::BelowMinimum(minimum));
    }
    if let Some(maximum) = maximum.filter(|maximum| parsed.is_nan() || parsed > *maximum) {
        return Err(Misfit::AboveMaximum(maximum));
    }
    Ok(())
}

/// Go's ParseFloat: what overflows is no number, what says infinity is one.
#[must_use]
pub fn number(value: &str) -> Option<f64> {
    let parsed: f64 = value.parse().ok()?;
    let says_infinity =
        value.trim_start_matches(['+', '-']).as_bytes().first().is_some_and(|b| b | 32 == b'i');
    (parsed.is_finite() || parsed.is_nan() || says_infinity).then_some(parsed)
}

/// Either alphabet of base64, padded or not; hex is among it.
#[must_use]
pub fn is_encoded_bytes(value: &str) -> bool {
    let body = value.trim_end_matches('=');
    let letters = body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'));
    letters && body.len() % 4 != 1 && value.len() - body.len() <= 2
}

/// Whether KubeEdge takes this as the name of a property: 1 to 128 of its characters.
#[must_use]
pub fn is_property_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(is_plain)
}

/// The characters of names and values that KubeEdge's edge takes.
#[must_use]
pub fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b',' | b':' | b'/' | b'@' | b'#')
}
