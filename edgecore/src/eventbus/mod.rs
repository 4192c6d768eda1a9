//! MQTT: an embedded broker or an external one, and the `$hw/events` topics on it.
