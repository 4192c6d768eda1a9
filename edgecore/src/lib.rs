//! The edge agent: pods, devices and their reports, with or without the cloud.
