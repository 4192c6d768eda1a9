//! `pushMethod` as mappers read it. A key that is absent or of the wrong type is empty: what it needs, the mapper knows.

use std::collections::BTreeMap;

use dmi::v1beta1 as wire;
use dmi::value::to_map;
use serde_json::{Map, Value};

/// The push method of a property.
pub(super) fn method(method: &Map<String, Value>) -> wire::PushMethod {
    wire::PushMethod {
        http: object(method, "http").map(|http| wire::PushMethodHttp {
            hostname: text(http, "hostName"),
            port: integer(http, "port"),
            requestpath: text(http, "requestPath"),
            timeout: integer(http, "timeout"),
        }),
        mqtt: object(method, "mqtt").map(|mqtt| wire::PushMethodMqtt {
            address: text(mqtt, "address"),
            topic: text(mqtt, "topic"),
            qos: small(mqtt, "qos"),
            retained: get(mqtt, "retained").and_then(Value::as_bool).unwrap_or_default(),
        }),
        otel: object(method, "otel")
            .map(|otel| wire::PushMethodOtel { endpoint_url: text(otel, "endpointURL") }),
        anomaly_detection: object(method, "anomalyDetection")
            .map(|data| wire::AnomalyDetection { data: to_map(data) }),
        db_method: object(method, "dbMethod").map(database),
    }
}

fn database(method: &Map<String, Value>) -> wire::DbMethod {
    wire::DbMethod {
        influxdb2: object(method, "influxdb2").map(influx),
        redis: object(method, "redis").map(|redis| wire::DbMethodRedis {
            redis_client_config: object(redis, "redisClientConfig").map(|client| wire::RedisClientConfig {
                addr: text(client, "addr"),
                db: small(client, "db"),
                poolsize: small(client, "poolsize"),
                min_idle_conns: small(client, "minIdleConns"),
            }),
        }),
        tdengine: object(method, "TDEngine").map(|engine| wire::DbMethodTdEngine {
            td_engine_client_config: object(engine, "TDEngineClientConfig").map(|client| {
                wire::TdEngineClientConfig { addr: text(client, "addr"), dbname: text(client, "dbName") }
            }),
        }),
        mysql: object(method, "mysql").map(|mysql| wire::DbMethodMySql {
            mysql_client_config: object(mysql, "mysqlClientConfig").map(|client| wire::MySqlClientConfig {
                addr: text(client, "addr"),
                database: text(client, "database"),
                user_name: text(client, "userName"),
            }),
        }),
    }
}

fn influx(influx: &Map<String, Value>) -> wire::DbMethodInfluxdb2 {
    wire::DbMethodInfluxdb2 {
        influxdb2_client_config: object(influx, "influxdb2ClientConfig").map(|client| {
            wire::Influxdb2ClientConfig {
                url: text(client, "url"),
                org: text(client, "org"),
                bucket: text(client, "bucket"),
            }
        }),
        influxdb2_data_config: object(influx, "influxdb2DataConfig").map(|data| wire::Influxdb2DataConfig {
            measurement: text(data, "measurement"),
            tag: texts(object(data, "tag")),
            field_key: text(data, "fieldKey"),
        }),
    }
}

/// Go reads keys in any letter case, and users write them so.
fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object
        .get(key)
        .or_else(|| object.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

fn object<'a>(of: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    get(of, key).and_then(Value::as_object)
}

fn text(object: &Map<String, Value>, key: &str) -> String {
    get(object, key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(object: Option<&Map<String, Value>>) -> BTreeMap<String, String> {
    let texts = object.into_iter().flatten();
    texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn integer(object: &Map<String, Value>, key: &str) -> i64 {
    get(object, key).and_then(Value::as_i64).unwrap_or_default()
}

fn small(object: &Map<String, Value>, key: &str) -> i32 {
    i32::try_from(integer(object, key)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_target_of_the_crd_is_read() {
        let text = json!({
            "http": {"hostName": "http://h", "port": 80, "requestPath": "/p", "timeout": 5},
            "mqtt": {"address": "tcp://b:1883", "topic": "t", "qos": 1, "retained": true},
            "otel": {"endpointURL": "https://o/v1/metrics"},
            "anomalyDetection": {"window": 5},
            "dbMethod": {
                "influxdb2": {
                    "influxdb2ClientConfig": {"url": "http://i", "org": "o", "bucket": "b"},
                    "influxdb2DataConfig": {"measurement": "m", "tag": {"a": "b"}, "fieldKey": "f"}},
                "redis": {"redisClientConfig": {"addr": "r:6379", "db": 1, "poolsize": 2, "minIdleConns": 3}},
                "TDEngine": {"TDEngineClientConfig": {"addr": "t", "dbName": "d"}},
                "mysql": {"mysqlClientConfig": {"addr": "m", "database": "d", "userName": "u"}}}});
        let method = method(text.as_object().unwrap());
        assert_eq!(method.http.unwrap().port, 80);
        assert!(method.mqtt.unwrap().retained);
        assert_eq!(method.otel.unwrap().endpoint_url, "https://o/v1/metrics");
        assert_eq!(method.anomaly_detection.unwrap().data.len(), 1);
        let database = method.db_method.unwrap();
        let influx = database.influxdb2.unwrap();
        assert_eq!(influx.influxdb2_client_config.unwrap().bucket, "b");
        assert_eq!(influx.influxdb2_data_config.unwrap().tag["a"], "b");
        assert_eq!(database.redis.unwrap().redis_client_config.unwrap().min_idle_conns, 3);
        assert_eq!(database.tdengine.unwrap().td_engine_client_config.unwrap().dbname, "d");
        assert_eq!(database.mysql.unwrap().mysql_client_config.unwrap().user_name, "u");
    }
}
