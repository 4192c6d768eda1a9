//! Gauges in OpenTelemetry's JSON (OTLP/HTTP 1.x, `ExportMetricsServiceRequest`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Sample;

/// A metric for each property, with a point for each reading.
pub(super) fn gauges(samples: &[Sample]) -> String {
    let mut metrics: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for sample in samples {
        metrics.entry(&sample.property).or_default().push(point(sample));
    }
    let metric = |(name, points)| json!({"name": name, "gauge": {"dataPoints": Value::Array(points)}});
    let metrics: Vec<Value> = metrics.into_iter().map(metric).collect();
    json!({"resourceMetrics": [{
        "resource": {"attributes": [text("service.name", "mapper")]},
        "scopeMetrics": [{"scope": {"name": "mapper"}, "metrics": metrics}],
    }]})
    .to_string()
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// One data point. A value that is no number is 1 with the text as an attribute.
fn point(sample: &Sample) -> Value {
    let mut attributes =
        vec![text("device.namespace", &sample.namespace), text("device.name", &sample.device)];
    let number: Value = match sample.value.as_str() {
        "true" => json!(1),
        "false" => json!(0),
        value => value.parse::<f64>().ok().filter(|number| number.is_finite()).map_or_else(
            || {
                attributes.push(text("value", value));
                json!(1)
            },
            Value::from,
        ),
    };
    json!({
        "timeUnixNano": (sample.at_ms.saturating_mul(1_000_000)).to_string(),
        "asDouble": number,
        "attributes": attributes,
    })
}
