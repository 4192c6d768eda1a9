//! The types of values, in KubeEdge's words, and its rules for keys and values.

use std::fmt;

use proto::devices::PropertyType;
pub use proto::devices::value::WrongValue;
use proto::devices::value::is_plain;

/// What a client may call a value's type. KubeEdge stores the word as it came; so do we.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ValueType {
    /// Anything.
    #[default]
    String,
    /// 64-bit decimal.
    Int,
    /// The same under its other name.
    Integer,
    /// Decimal with or without a point or exponent.
    Float,
    /// As float; only for properties whose model says DOUBLE.
    Double,
    /// Exactly `true` or `false`.
    Boolean,
    /// Base64 or hex text; only for properties whose model says BYTES.
    Bytes,
}

// === impl ValueType ===

impl ValueType {
    /// The type that a payload names. `None` for words that KubeEdge refuses too (`double`, `bytes`, upper case).
    #[must_use]
    pub fn from_client(word: &str) -> Option<Self> {
        match word {
            "" | "string" => Some(Self::String),
            "int" => Some(Self::Int),
            "integer" => Some(Self::Integer),
            "float" => Some(Self::Float),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }

    /// The type that our store names.
    #[must_use]
    pub fn from_store(word: &str) -> Option<Self> {
        match word {
            "double" => Some(Self::Double),
            "bytes" => Some(Self::Bytes),
            other => Self::from_client(other),
        }
    }

    /// The word on the wire and on disk.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Bytes => "bytes",
        }
    }

    /// Whether `value` is of this type.
    pub fn check(self, value: &str) -> Result<(), WrongValue> {
        self.of_model().check(value)
    }

    /// The model's word for it.
    fn of_model(self) -> PropertyType {
        match self {
            Self::String => PropertyType::String,
            Self::Int | Self::Integer => PropertyType::Int,
            Self::Float => PropertyType::Float,
            Self::Double => PropertyType::Double,
            Self::Boolean => PropertyType::Boolean,
            Self::Bytes => PropertyType::Bytes,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value of any type: at most 512 of KubeEdge's characters. Base64's `+` and `=` are let through for BYTES.
#[must_use]
pub(super) fn is_value(text: &str, value_type: ValueType) -> bool {
    let extra = |b: u8| value_type == ValueType::Bytes && matches!(b, b'+' | b'=');
    text.len() <= 512 && text.bytes().all(|b| is_plain(b) || extra(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_as_go_reads_them() {
        use ValueType::{Boolean, Bytes, Double, Float, Int, String};
        for (value_type, good, bad) in [
            (
                Int,
                &["0", "-7", "9223372036854775807"][..],
                &["", "1.0", "9223372036854775808", "1e3", "x"][..],
            ),
            (Float, &["1.5", "-3e5", ".5", "NaN", "inf", "-Infinity"], &["", "1,5", "warm", "1e999"]),
            (Double, &["1e308"], &["--1"]),
            (Boolean, &["true", "false"], &["True", "1", ""]),
            (Bytes, &["", "AQID", "AQI=", "0aff", "_-8"], &["A", "a b", "===="]),
            (String, &["", "whatever"], &[]),
        ] {
            for value in good {
                assert_eq!(value_type.check(value), Ok(()), "{value_type} {value}");
            }
            for value in bad {
                assert!(value_type.check(value).is_err(), "{value_type} {value}");
            }
        }
    }

    #[test]
    fn words_of_a_store_read_back_as_the_type_they_name() {
        for value_type in [
            ValueType::String,
            ValueType::Int,
            ValueType::Integer,
            ValueType::Float,
            ValueType::Double,
            ValueType::Boolean,
            ValueType::Bytes,
        ] {
            assert_eq!(ValueType::from_store(value_type.as_str()), Some(value_type));
        }
        assert_eq!(ValueType::from_client("double"), None);
    }
}
