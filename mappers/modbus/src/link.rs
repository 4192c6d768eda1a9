//! A connection to a device.

use std::net::SocketAddr;

use mapper::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio_modbus::Slave;
use tokio_modbus::client::{Context, Reader, Writer, rtu, tcp};
use tokio_serial::{SerialPortBuilderExt, SerialStream};

use crate::address::{Address, Way};
use crate::registers::{Place, Table};

/// Who talks to the device.
pub(crate) struct Link(Context);

// === impl Link ===

impl Link {
    pub(crate) async fn open(address: &Address) -> Result<Self, Error> {
        let unit = Slave(address.unit);
        let context = match &address.way {
            Way::Tcp { host, port } => {
                let failed = |error| Error::link(format!("{host}:{port}: {error}"));
                let found: Option<SocketAddr> =
                    lookup_host((host.as_str(), *port)).await.map_err(failed)?.next();
                let found = found.ok_or_else(|| Error::link(format!("{host} has no address")))?;
                let stream = TcpStream::connect(found).await.map_err(failed)?;
                let _ = stream.set_nodelay(true);
                tcp::attach_slave(stream, unit)
            }
            Way::Serial { path, baud, data, stop, parity } => {
                let port: SerialStream = tokio_serial::new(path, *baud)
                    .data_bits(*data)
                    .stop_bits(*stop)
                    .parity(*parity)
                    .open_native_async()
                    .map_err(|error| Error::link(format!("{path}: {error}")))?;
                rtu::attach_slave(port, unit)
            }
        };
        Ok(Self(context))
    }

    pub(crate) async fn read(&mut self, place: &Place) -> Result<Vec<u16>, Error> {
        let Self(context) = self;
        let (offset, count) = (place.offset, place.count);
        let bits = |bits: Vec<bool>| bits.into_iter().map(u16::from).collect();
        match place.table {
            Table::Coils => told(context.read_coils(offset, count).await).map(bits),
            Table::DiscreteInputs => told(context.read_discrete_inputs(offset, count).await).map(bits),
            Table::Holding => told(context.read_holding_registers(offset, count).await),
            Table::Input => told(context.read_input_registers(offset, count).await),
        }
    }

    pub(crate) async fn write(&mut self, place: &Place, words: &[u16]) -> Result<(), Error> {
        let Self(context) = self;
        match (place.table, words) {
            (Table::Coils, _) => {
                let on = words.iter().any(|word| *word != 0);
                told(context.write_single_coil(place.offset, on).await)
            }
            // Some devices have no other way to write one.
            (_, [word]) => told(context.write_single_register(place.offset, *word).await),
            (_, words) => told(context.write_multiple_registers(place.offset, words).await),
        }
    }
}

/// An exception is about the property; anything else about the connection.
fn told<T>(answer: tokio_modbus::Result<T>) -> Result<T, Error> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(exception)) => Err(Error::property(format!("the device answers: {exception}"))),
        // The library's word for an end of the stream is the system's for no error.
        Err(tokio_modbus::Error::Transport(error)) if error.raw_os_error() == Some(0) => {
            Err(Error::link("the device closed the connection"))
        }
        Err(error) => Err(Error::link(error)),
    }
}
