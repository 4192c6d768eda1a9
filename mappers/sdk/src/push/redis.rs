//! Redis, as KubeEdge's framework fills it: a sorted set for each device, scored by the time.

use std::fmt;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisConnectionInfo, RedisError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::links::Link;
use super::{NotTaken, Sample};

/// A server's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub addr: String,
    pub db: i64,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}/{}", self.addr, self.db)
    }
}

impl Link for MultiplexedConnection {
    type Place = Server;
    type Load = [Sample];

    async fn open(server: &Server) -> Result<Self, NotTaken> {
        let addr = &server.addr;
        let wrong =
            || NotTaken::Refused(format!("redisClientConfig.addr {addr:?} is not HOST:PORT, as redis:6379"));
        let (host, port) = addr.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let info = ConnectionInfo {
            addr: ConnectionAddr::Tcp(host.trim_matches(['[', ']']).to_owned(), port),
            redis: RedisConnectionInfo {
                db: server.db,
                password: super::password(),
                ..RedisConnectionInfo::default()
            },
        };
        let opened = async { Client::open(info)?.get_multiplexed_async_connection().await };
        opened.await.map_err(|error| judged(server, &error))
    }

    /// What was added already is not there twice: a set has a member once.
    async fn send(&mut self, server: &Server, samples: &[Sample]) -> Result<(), NotTaken> {
        let mut pipe = ::redis::pipe();
        for sample in samples {
            pipe.zadd(&sample.device, member(sample), sample.at_ms).ignore();
        }
        pipe.query_async::<()>(self).await.map_err(|error| judged(server, &error))
    }
}

/// The JSON of the framework's `DataModel`.
fn member(sample: &Sample) -> String {
    json!({
        "DeviceName": sample.device, "PropertyName": sample.property, "Namespace": sample.namespace,
        "Value": sample.value, "Type": sample.kind, "TimeStamp": sample.at_ms,
    })
    .to_string()
}

/// What people can mend at the server passes; only that a device's key is something else than a sorted set is of the readings.
fn judged(server: &Server, error: &RedisError) -> NotTaken {
    let hint = match error.kind() {
        ErrorKind::AuthenticationFailed => "; the password is the mapper's environment variable PASSWORD",
        _ if error.code() == Some("NOAUTH") => "; set the mapper's environment variable PASSWORD",
        _ => "",
    };
    let why = format!("{server}: {error}{hint}");
    match error.code() {
        Some("WRONGTYPE") => NotTaken::Refused(why),
        _ => NotTaken::Passing(why),
    }
}
