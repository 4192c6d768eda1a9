//! Where a device is: `protocol.configData`.

use mapper::{Config, ConfigError};
use tokio_serial::{DataBits, Parity, StopBits};

/// Modbus' own port.
const PORT: u16 = 502;

/// How a device is reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    pub unit: u8,
    pub way: Way,
}

/// The two kinds of Modbus.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Way {
    Tcp { host: String, port: u16 },
    Serial { path: String, baud: u32, data: DataBits, stop: StopBits, parity: Parity },
}

// === impl Address ===

impl Address {
    pub(crate) fn of(config: &Config) -> Result<Self, ConfigError> {
        let unit = config.number("slaveID", "a unit of 0 to 255")?.unwrap_or(1);
        if let Some(path) = config.text("serialPort")? {
            let parities = [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];
            let bits = [(5, DataBits::Five), (6, DataBits::Six), (7, DataBits::Seven), (8, DataBits::Eight)];
            let stops = [(1, StopBits::One), (2, StopBits::Two)];
            let way = Way::Serial {
                path: path.to_owned(),
                baud: config.number("baudRate", "a number of bits a second")?.unwrap_or(9600),
                data: one_of(config, "dataBits", &bits, "5, 6, 7 or 8")?.unwrap_or(DataBits::Eight),
                stop: one_of(config, "stopBits", &stops, "1 or 2")?.unwrap_or(StopBits::One),
                parity: config.word("parity", &parities)?.unwrap_or(Parity::None),
            };
            return Ok(Self { unit, way });
        }
        let host = Config::need("ip (or serialPort)", config.text("ip")?)?.to_owned();
        let port = config.number("port", "a port of 1 to 65535")?.unwrap_or(PORT);
        Ok(Self { unit, way: Way::Tcp { host, port } })
    }
}

fn one_of<T: Copy>(
    config: &Config,
    key: &str,
    known: &[(u8, T)],
    wanted: &str,
) -> Result<Option<T>, ConfigError> {
    let Some(number) = config.number::<u8>(key, wanted)? else { return Ok(None) };
    let found = known.iter().find(|(known, _)| *known == number);
    let wrong = || ConfigError::Wrong { key: key.into(), found: number.to_string(), wanted: wanted.into() };
    found.map(|(_, value)| Some(*value)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(value: &Value) -> Result<Address, String> {
        Address::of(&Config::new(value.as_object().unwrap().clone())).map_err(|error| error.to_string())
    }

    #[test]
    fn both_ways_are_read_as_kubeedges_mappers_read_them() {
        let tcp = Way::Tcp { host: "10.0.0.1".into(), port: 1502 };
        assert_eq!(
            of(&json!({"ip": "10.0.0.1", "port": 1502, "slaveID": 7})),
            Ok(Address { unit: 7, way: tcp })
        );
        let way = Way::Serial {
            path: "/dev/ttyS0".into(),
            baud: 19200,
            data: DataBits::Eight,
            stop: StopBits::One,
            parity: Parity::Even,
        };
        let serial =
            json!({"serialPort": "/dev/ttyS0", "baudRate": "19200", "parity": "even", "dataBits": 8});
        assert_eq!(of(&serial), Ok(Address { unit: 1, way }));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(of(&json!({})).unwrap_err(), "configData.ip (or serialPort) is missing");
        assert_eq!(
            of(&json!({"ip": "h", "slaveID": 300})).unwrap_err(),
            "configData.slaveID: 300 is not a unit of 0 to 255"
        );
        assert_eq!(
            of(&json!({"serialPort": "/dev/x", "stopBits": 3})).unwrap_err(),
            "configData.stopBits: 3 is not 1 or 2"
        );
    }
}
