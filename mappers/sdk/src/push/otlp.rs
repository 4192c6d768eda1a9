//! A gauge in OpenTelemetry's JSON (OTLP/HTTP 1.x, `ExportMetricsServiceRequest`).

use serde_json::{Value, json};

use super::Sample;

/// One data point. A value that is no number is 1 with the text as an attribute.
pub(super) fn gauge(sample: &Sample) -> String {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
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
    let point = json!({
        "timeUnixNano": (sample.at_ms.saturating_mul(1_000_000)).to_string(),
        "asDouble": number,
        "attributes": attributes,
    });
    let metric = json!({"name": sample.property, "gauge": {"dataPoints": [point]}});
    json!({"resourceMetrics": [{
        "resource": {"attributes": [text("service.name", "mapper")]},
        "scopeMetrics": [{"scope": {"name": "mapper"}, "metrics": [metric]}],
    }]})
    .to_string()
}
