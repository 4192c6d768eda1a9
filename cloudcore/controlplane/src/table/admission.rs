//! The group `admissionregistration.k8s.io`.

use serde_json::json;

use super::age::age;
use super::format::name;
use super::{AGE, NAME, Printer, int};
use crate::schema::Json;

pub(crate) const WEBHOOKS: Printer = Printer::new(&[NAME, int("Webhooks"), AGE], |one, now| {
    vec![name(one), json!(one.list("/webhooks").len()), age(one, now)]
});
