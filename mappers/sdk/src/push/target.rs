//! Where readings can go.

use std::fmt;

use ::redis::aio::MultiplexedConnection;
use dmi::v1beta1 as wire;
use serde::{Deserialize, Serialize};

use super::http::Poster;
use super::links::Links;
use super::{NotTaken, Sample, influx, mqtt, mysql, otlp, redis, tdengine};

/// Readings that one request to a target carries.
const BATCH: usize = 256;

/// A target of a property's readings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// A form is posted.
    Http { url: String },
    /// A text is published.
    Mqtt { address: String, topic: String, qos: u8, retained: bool },
    /// A gauge is exported by OTLP over HTTP, as JSON.
    Otlp { url: String },
    /// A line is written to InfluxDB 2.
    Influx { url: String, org: String, bucket: String, measurement: String, tags: String, field: String },
    /// A member is added to the sorted set of the device.
    Redis(redis::Server),
    /// A row is added to the table of the property.
    MySql(mysql::Server),
    /// A row is added to the table of the property.
    Tdengine(tdengine::Server),
}

/// The connections of all targets.
#[derive(Default)]
pub(super) struct Ways {
    poster: Poster,
    mqtt: Links<mqtt::Link>,
    redis: Links<MultiplexedConnection>,
    mysql: Links<mysql::Link>,
    tdengine: tdengine::Tables,
}

// === impl Target ===

impl Target {
    /// All that a property's readings are pushed to, and what of it cannot be done here.
    pub(crate) fn all(method: &wire::PushMethod) -> (Vec<Self>, Vec<&'static str>) {
        let mut all = Vec::new();
        let mut missing = Vec::new();
        if let Some(http) = &method.http {
            let host = http.hostname.trim_end_matches('/');
            let path = http.requestpath.trim_start_matches('/');
            let port = if http.port > 0 { format!(":{}", http.port) } else { String::new() };
            let scheme = if host.contains("://") { "" } else { "http://" };
            all.push(Self::Http { url: format!("{scheme}{host}{port}/{path}") });
        }
        if let Some(mqtt) = method.mqtt.as_ref().filter(|mqtt| !mqtt::is_here(&mqtt.address)) {
            missing.push(if mqtt.address.is_empty() {
                "mqtt without an address"
            } else {
                "mqtt over websockets"
            });
        } else if let Some(mqtt) = &method.mqtt {
            all.push(Self::Mqtt {
                address: mqtt.address.clone(),
                topic: mqtt.topic.clone(),
                qos: u8::try_from(mqtt.qos.clamp(0, 2)).unwrap_or_default(),
                retained: mqtt.retained,
            });
        }
        if let Some(otel) = &method.otel {
            all.push(Self::Otlp { url: otel.endpoint_url.clone() });
        }
        let database = method.db_method.clone().unwrap_or_default();
        if let Some(wire::DbMethodInfluxdb2 {
            influxdb2_client_config: Some(client),
            influxdb2_data_config,
        }) = database.influxdb2
        {
            let data = influxdb2_data_config.unwrap_or_default();
            all.push(Self::Influx {
                url: client.url,
                org: client.org,
                bucket: client.bucket,
                measurement: data.measurement,
                tags: influx::tags(&data.tag),
                field: data.field_key,
            });
        }
        if let Some(client) = database.redis.and_then(|redis| redis.redis_client_config) {
            all.push(Self::Redis(redis::Server { addr: client.addr, db: client.db.into() }));
        }
        if let Some(client) = database.mysql.and_then(|mysql| mysql.mysql_client_config) {
            all.push(Self::MySql(mysql::Server {
                addr: client.addr,
                database: client.database,
                user: client.user_name,
            }));
        }
        if let Some(tdengine) = database.tdengine {
            let client = tdengine.td_engine_client_config.unwrap_or_default();
            match tdengine::Server::new(&client.addr, &client.dbname) {
                Ok(server) => all.push(Self::Tdengine(server)),
                Err(why) => missing.push(why),
            }
        }
        (all, missing)
    }

    /// How many readings it takes at once.
    pub(super) fn batch(&self) -> usize {
        match self {
            // What KubeEdge's framework sends here says one reading.
            Self::Http { .. } | Self::Mqtt { .. } => 1,
            _ => BATCH,
        }
    }

    /// Sends readings, [`Target::batch`] at most; all of them are taken or none.
    pub(super) async fn send(&self, samples: &[Sample], ways: &Ways) -> Result<(), NotTaken> {
        match self {
            Self::Http { url } => {
                for sample in samples {
                    // What KubeEdge's framework posts.
                    let form = [(sample.property.as_str(), sample.value.as_str()), ("time", &sample.time())];
                    let form = form.map(|(key, value)| format!("{}={}", escaped(key), escaped(value)));
                    let kind = "application/x-www-form-urlencoded";
                    ways.poster.post(url, kind, None, form.join("&")).await?;
                }
                Ok(())
            }
            Self::Mqtt { address, topic, qos, retained } => {
                for sample in samples {
                    let text = format!("time is {}  {topic}: {}", sample.time(), sample.value);
                    let message =
                        mqtt::Message { topic: topic.clone(), qos: *qos, retained: *retained, text };
                    ways.mqtt.send(&mqtt::Address(address.clone()), &message).await?;
                }
                Ok(())
            }
            Self::Otlp { url } => {
                ways.poster.post(url, "application/json", None, otlp::gauges(samples)).await
            }
            Self::Influx { url, org, bucket, measurement, tags, field } => {
                let url = format!(
                    "{}/api/v2/write?org={}&bucket={}&precision=ms",
                    url.trim_end_matches('/'),
                    escaped(org),
                    escaped(bucket)
                );
                let lines = samples.iter().map(|sample| influx::line(measurement, tags, field, sample));
                let lines = lines.collect::<Vec<_>>().join("\n");
                let token = std::env::var("TOKEN").ok().map(|token| format!("Token {token}"));
                ways.poster.post(&url, "text/plain; charset=utf-8", token.as_deref(), lines).await
            }
            Self::Redis(server) => ways.redis.send(server, samples).await,
            Self::MySql(server) => ways.mysql.send(server, samples).await,
            Self::Tdengine(server) => server.send(&ways.poster, &ways.tdengine, samples).await,
        }
    }
}

/// For logs, and as the key of what waits for it: the same target is the same text.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url } | Self::Otlp { url } => write!(f, "{url}"),
            Self::Mqtt { address, topic, qos, retained } => write!(f, "{address} {topic} {qos} {retained}"),
            Self::Influx { url, org, bucket, measurement, tags, field } => {
                write!(f, "{url} {org}/{bucket} {measurement}{tags} {field}")
            }
            Self::Redis(server) => write!(f, "{server}"),
            Self::MySql(server) => write!(f, "{server}"),
            Self::Tdengine(server) => write!(f, "{server}"),
        }
    }
}

// === impl Sample ===

impl Sample {
    /// As KubeEdge's framework writes times: to the second, in UTC.
    pub(super) fn time(&self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or_default();
        at.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// For forms and queries.
pub(super) fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_of_a_property_are_read_and_those_that_are_not_here_named() {
        let method = wire::PushMethod {
            http: Some(wire::PushMethodHttp {
                hostname: "http://h".into(),
                port: 80,
                requestpath: "/p".into(),
                timeout: 0,
            }),
            otel: Some(wire::PushMethodOtel { endpoint_url: "https://o/v1/metrics".into() }),
            db_method: Some(wire::DbMethod {
                redis: Some(wire::DbMethodRedis {
                    redis_client_config: Some(wire::RedisClientConfig {
                        addr: "r:6379".into(),
                        db: 3,
                        poolsize: 9,
                        min_idle_conns: 1,
                    }),
                }),
                mysql: Some(wire::DbMethodMySql {
                    mysql_client_config: Some(wire::MySqlClientConfig {
                        addr: "m:3306".into(),
                        database: "plant".into(),
                        user_name: "edge".into(),
                    }),
                }),
                tdengine: Some(wire::DbMethodTdEngine::default()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let (all, missing) = Target::all(&method);
        let http = Target::Http { url: "http://h:80/p".into() };
        let otlp = Target::Otlp { url: "https://o/v1/metrics".into() };
        let redis = Target::Redis(redis::Server { addr: "r:6379".into(), db: 3 });
        let mysql = Target::MySql(mysql::Server {
            addr: "m:3306".into(),
            database: "plant".into(),
            user: "edge".into(),
        });
        assert_eq!(all, [http, otlp, redis, mysql]);
        assert_eq!(missing, ["dbMethod.TDEngine without a dbName"]);
    }
}
