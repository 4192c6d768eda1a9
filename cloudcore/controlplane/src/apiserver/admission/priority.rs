//! Admission plugin Priority: from the name of a class to its number.

use serde_json::{Value, json};

use super::{Api, Target, all, forbidden, one};
use crate::schema::Json;
use crate::status::Status;

const GROUP: &str = "scheduling.k8s.io";
const PREEMPT: &str = "PreemptLowerPriority";

/// Fills in the priority of a new pod.
pub(super) fn admit(api: &Api, target: &Target, pod: &mut Value) -> Result<(), Status> {
    let named = pod.text("/spec/priorityClassName").to_owned();
    let class = if named.is_empty() {
        // Of several defaults, which only a race can make, the lowest counts.
        let classes = all(api, GROUP, "priorityclasses", None).into_iter().map(|(_, class)| class);
        classes.filter(|class| class.flag("/globalDefault")).min_by_key(|class| class.int("/value"))
    } else {
        let class = one(api, GROUP, "priorityclasses", "", &named);
        let why = || format!("no PriorityClass with name {named} was found");
        Some(class.ok_or_else(|| forbidden(target, pod, &why()))?)
    };
    let none = Value::Null;
    let class = class.as_ref().unwrap_or(&none);
    let value = class.int("/value").unwrap_or(0);
    let policy = Some(class.text("/preemptionPolicy")).filter(|text| !text.is_empty()).unwrap_or(PREEMPT);
    if let Some(asked) = pod.int("/spec/priority").filter(|asked| *asked != value) {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(forbidden(target, pod, &why));
    }
    let asked = pod.text("/spec/preemptionPolicy");
    if !asked.is_empty() && asked != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(forbidden(target, pod, &why));
    }
    let (name, policy) = (class.text("/metadata/name").to_owned(), policy.to_owned());
    if let Some(spec) = pod.get_mut("spec") {
        if !name.is_empty() {
            spec.put("priorityClassName", json!(name));
        }
        spec.put("priority", json!(value));
        spec.put("preemptionPolicy", json!(policy));
    }
    Ok(())
}

/// At most one class is what pods without one get.
pub(super) fn only_one_default(api: &Api, target: &Target, class: &Value) -> Result<(), Status> {
    if target.resource.group != GROUP || !class.flag("/globalDefault") {
        return Ok(());
    }
    let name = class.text("/metadata/name");
    let other = all(api, GROUP, "priorityclasses", None)
        .into_iter()
        .find(|(key, class)| &*key.name != name && class.flag("/globalDefault"));
    match other {
        Some((key, _)) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                key.name
            );
            Err(forbidden(target, class, &why))
        }
        None => Ok(()),
    }
}
