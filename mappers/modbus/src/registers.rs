//! Where a value is and how it is written in words: `visitors.configData`. Pure.

use mapper::{Config, ConfigError, Kind, Property};

/// The most registers that one request may read (Modbus Application Protocol 1.1b3, 6.3), and write (6.12).
const MOST: u16 = 123;

/// Where and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub table: Table,
    pub offset: u16,
    /// Registers or coils.
    pub count: u16,
    coding: Coding,
    scale: f64,
    /// The two bytes of each word are the other way round.
    swap_bytes: bool,
    /// The words are the other way round: the least first.
    swap_words: bool,
}

/// The four tables of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Coils,
    DiscreteInputs,
    Holding,
    Input,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Int,
    Float,
    Boolean,
    Text,
}

// === impl Place ===

impl Place {
    pub(crate) fn of(property: &Property) -> Result<Self, ConfigError> {
        let config = &property.config;
        let tables = [
            ("CoilRegister", Table::Coils),
            ("DiscreteInputRegister", Table::DiscreteInputs),
            ("HoldingRegister", Table::Holding),
            ("InputRegister", Table::Input),
        ];
        let codings = [
            ("int", Coding::Int),
            ("float", Coding::Float),
            ("double", Coding::Float),
            ("boolean", Coding::Boolean),
            ("string", Coding::Text),
        ];
        let table = Config::need("register", config.word("register", &tables)?)?;
        let offset = Config::need("offset", config.number("offset", "an address of 0 to 65535")?)?;
        let count = config.number("limit", "a number of registers")?.unwrap_or(1);
        let coding = match config.word("dataType", &codings)? {
            Some(coding) => coding,
            None => match property.kind {
                _ if table.is_bits() => Coding::Boolean,
                Kind::Float | Kind::Double => Coding::Float,
                Kind::Boolean => Coding::Boolean,
                Kind::String | Kind::Bytes | Kind::Stream => Coding::Text,
                Kind::Int => Coding::Int,
            },
        };
        let most = match coding {
            _ if table.is_bits() => 1,
            Coding::Text => MOST,
            Coding::Boolean => 1,
            Coding::Int | Coding::Float => 4,
        };
        let fits = match coding {
            Coding::Int | Coding::Float => matches!(count, 1 | 2 | 4),
            Coding::Boolean | Coding::Text => (1..=most).contains(&count),
        };
        if !fits || count > most {
            let wanted = match coding {
                Coding::Int | Coding::Float if !table.is_bits() => "1, 2 or 4 registers".to_owned(),
                _ => format!("1 to {most}"),
            };
            return Err(ConfigError::Wrong { key: "limit".into(), found: count.to_string(), wanted });
        }
        let scale: f64 = config.number("scale", "a number")?.unwrap_or(1.0);
        if scale == 0.0 || !scale.is_finite() {
            return Err(ConfigError::Wrong {
                key: "scale".into(),
                found: scale.to_string(),
                wanted: "a number other than 0".into(),
            });
        }
        Ok(Self {
            table,
            offset,
            count,
            coding,
            scale,
            swap_bytes: config.flag("isSwap")?.unwrap_or_default(),
            swap_words: config.flag("isRegisterSwap")?.unwrap_or_default(),
        })
    }

    /// The value in the words that were read.
    pub(crate) fn decode(&self, words: &[u16]) -> Result<String, String> {
        if words.len() != usize::from(self.count) {
            return Err(format!("{} registers were asked for, {} came", self.count, words.len()));
        }
        let words = self.ordered(words);
        Ok(match self.coding {
            Coding::Boolean => words.iter().any(|word| *word != 0).to_string(),
            Coding::Text => {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                String::from_utf8_lossy(&bytes).trim_end_matches(['\0', ' ']).to_owned()
            }
            Coding::Int => scaled(integer(&words), self.scale),
            // One register holds no floating point number: it is an integer to be scaled.
            Coding::Float => match words[..] {
                [high, low] => {
                    number(f64::from(f32::from_bits(u32::from(high) << 16 | u32::from(low))), self.scale)
                }
                [_, _, _, _] => number(f64::from_bits(integer(&words).cast_unsigned()), self.scale),
                _ => scaled(integer(&words), self.scale),
            },
        })
    }

    /// The words for a value.
    pub(crate) fn encode(&self, value: &str) -> Result<Vec<u16>, String> {
        if matches!(self.table, Table::DiscreteInputs | Table::Input) {
            return Err(format!("{:?} registers can only be read", self.table));
        }
        let words = match self.coding {
            Coding::Boolean => {
                let flag =
                    value.parse::<bool>().map_err(|_| format!("{value:?} is neither true nor false"))?;
                vec![u16::from(flag)]
            }
            Coding::Text => {
                let room = usize::from(self.count) * 2;
                if value.len() > room {
                    return Err(format!("{value:?} has {} bytes, there is room for {room}", value.len()));
                }
                let mut bytes = value.as_bytes().to_vec();
                bytes.resize(room, 0);
                bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
            }
            Coding::Int | Coding::Float => self.encode_number(value)?,
        };
        Ok(self.ordered(&words))
    }

    fn encode_number(&self, value: &str) -> Result<Vec<u16>, String> {
        let wanted: f64 = value.parse().map_err(|_| format!("{value:?} is no number"))?;
        let raw = wanted / self.scale;
        match (self.coding, self.count) {
            #[expect(clippy::cast_possible_truncation, reason = "two registers hold single precision")]
            (Coding::Float, 2) => Ok(words_of(i64::from((raw as f32).to_bits()), 2)),
            (Coding::Float, 4) => Ok(words_of(raw.to_bits().cast_signed(), 4)),
            _ => {
                // Without a scale every digit of an integer counts.
                let integer = match value.parse::<i64>() {
                    Ok(integer) if self.scale == 1.0 => integer,
                    _ => whole(raw).ok_or_else(|| format!("{value:?} does not fit"))?,
                };
                let bits = u32::from(self.count) * 16;
                let (least, most) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
                // A register of 16 bits is written as unsigned by some and as signed by others.
                let unsigned = if bits == 64 { most } else { most * 2 + 1 };
                if !(least..=unsigned).contains(&integer) {
                    return Err(format!("{value:?} does not fit into {} registers", self.count));
                }
                Ok(words_of(integer, self.count))
            }
        }
    }

    /// The device's order to ours, and back: it is the same.
    fn ordered(&self, words: &[u16]) -> Vec<u16> {
        let swapped = words.iter().map(|word| if self.swap_bytes { word.swap_bytes() } else { *word });
        if self.swap_words { swapped.rev().collect() } else { swapped.collect() }
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::DiscreteInputs)
    }
}

/// Signed, most significant word first.
fn integer(words: &[u16]) -> i64 {
    let bits = words.iter().fold(0_u64, |bits, word| bits << 16 | u64::from(*word));
    let unused = 64 - 16 * u32::try_from(words.len()).unwrap_or(4).clamp(1, 4);
    (bits << unused).cast_signed() >> unused
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut into words")]
fn words_of(value: i64, count: u16) -> Vec<u16> {
    (0..count).rev().map(|word| (value >> (16 * u32::from(word))) as u16).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the bounds are checked")]
fn whole(number: f64) -> Option<i64> {
    let rounded = number.round();
    (rounded >= i64::MIN as f64 && rounded < i64::MAX as f64).then_some(rounded as i64)
}

/// Without a scale every digit counts.
#[expect(clippy::cast_precision_loss, reason = "what is scaled is no longer exact")]
fn scaled(value: i64, scale: f64) -> String {
    if scale == 1.0 { value.to_string() } else { number(value as f64, scale) }
}

/// Of 713 × 0.1 the 71.3, not the 71.30000000000001.
fn number(value: f64, scale: f64) -> String {
    let product = value * scale;
    let short: f64 = format!("{product:.9e}").parse().unwrap_or(product);
    if scale == 1.0 { shortest(value) } else { short.to_string() }
}

/// The digits of single precision, if it came from one.
#[expect(clippy::cast_possible_truncation, reason = "compared with what it was")]
fn shortest(value: f64) -> String {
    let single = value as f32;
    if f64::from(single).to_bits() == value.to_bits() { single.to_string() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn property(config: &Value) -> Property {
        Property::of("p", Kind::Int, Config::new(config.as_object().unwrap().clone()))
    }

    fn place(config: &Value) -> Place {
        Place::of(&property(config)).unwrap()
    }

    #[test]
    fn values_are_read_as_configured() {
        let read = |config: &Value, words: &[u16]| place(config).decode(words).unwrap();
        let input = |rest: Value| {
            let mut config = json!({"register": "InputRegister", "offset": 0});
            config.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            config
        };
        assert_eq!(read(&input(json!({"scale": 0.1, "dataType": "float"})), &[713]), "71.3");
        assert_eq!(read(&input(json!({})), &[0xffff]), "-1");
        assert_eq!(read(&input(json!({"limit": 2})), &[1, 0]), "65536");
        assert_eq!(read(&input(json!({"limit": 2, "isRegisterSwap": true})), &[0, 1]), "65536");
        assert_eq!(read(&input(json!({"isSwap": true})), &[0x0100]), "1");
        assert_eq!(read(&input(json!({"limit": 2, "dataType": "float"})), &[0x428e, 0x999a]), "71.3");
        let double = 71.3_f64.to_bits();
        let words: Vec<u16> = (0..4).rev().map(|word| (double >> (16 * word)) as u16).collect();
        assert_eq!(read(&input(json!({"limit": 4, "dataType": "double"})), &words), "71.3");
        assert_eq!(read(&input(json!({"limit": 3, "dataType": "string"})), &[0x6162, 0x6300, 0]), "abc");
        assert_eq!(read(&json!({"register": "CoilRegister", "offset": 1}), &[1]), "true");
        assert_eq!(read(&input(json!({"dataType": "boolean"})), &[0]), "false");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = |config: Value| Place::of(&property(&config)).unwrap_err().to_string();
        assert_eq!(wrong(json!({"offset": 1})), "configData.register is missing");
        assert_eq!(wrong(json!({"register": "InputRegister"})), "configData.offset is missing");
        let three = json!({"register": "InputRegister", "offset": 1, "limit": 3});
        assert_eq!(wrong(three), "configData.limit: 3 is not 1, 2 or 4 registers");
        let many = json!({"register": "CoilRegister", "offset": 1, "limit": 2});
        assert_eq!(wrong(many), "configData.limit: 2 is not 1 to 1");
        let flat = json!({"register": "InputRegister", "offset": 1, "scale": 0});
        assert_eq!(wrong(flat), "configData.scale: 0 is not a number other than 0");
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let holding = place(&json!({"register": "HoldingRegister", "offset": 0}));
        assert_eq!(holding.encode("65535"), Ok(vec![0xffff]));
        assert_eq!(holding.encode("-32768"), Ok(vec![0x8000]));
        assert!(holding.encode("65536").unwrap_err().contains("does not fit"));
        assert!(holding.encode("warm").unwrap_err().contains("is no number"));
        let input = place(&json!({"register": "InputRegister", "offset": 0}));
        assert!(input.encode("1").unwrap_err().contains("only be read"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(value: i16, count in prop::sample::select(vec![1, 2, 4]), bytes: bool, words: bool) {
            let config = json!({"register": "HoldingRegister", "offset": 0, "limit": count,
                "isSwap": bytes, "isRegisterSwap": words});
            let place = place(&config);
            let read = place.decode(&place.encode(&value.to_string()).unwrap()).unwrap();
            prop_assert_eq!(read, value.to_string());
        }

        #[test]
        fn singles_come_back_digit_by_digit(value in any::<f32>().prop_filter("a number", |value| value.is_finite())) {
            let place = place(&json!({"register": "HoldingRegister", "offset": 0, "limit": 2, "dataType": "float"}));
            let read = place.decode(&place.encode(&value.to_string()).unwrap()).unwrap();
            prop_assert_eq!(read.parse::<f32>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn any_words_are_read_or_refused(count in 1_u16..5, words: Vec<u16>) {
            let config = json!({"register": "HoldingRegister", "offset": 0, "limit": count, "dataType": "string"});
            let _ = place(&config).decode(&words);
        }
    }
}
