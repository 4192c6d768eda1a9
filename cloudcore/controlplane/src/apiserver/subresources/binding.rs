//! `pods/NAME/binding`: gives a pod its node, once.

use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};

use super::{success, text};
use crate::apiserver::call::Call;
use crate::apiserver::hooks::Operation;
use crate::apiserver::http::{decode, read};
use crate::apiserver::metadata::{self, is_terminating};
use crate::apiserver::objects::Part;
use crate::apiserver::write::Write;
use crate::apiserver::{Api, Target};
use crate::status::{FieldError, Status};

/// `POST pods/NAME/binding`
pub(super) async fn bind(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let mut binding = decode(&call.headers, &read(body).await?, "Binding", &call.target.resource)?;
    let dry_run = call.query.dry_run("CreateOptions")?;
    api.ask_about_body(call, Operation::Create, "binding", dry_run, &mut binding).await?;
    assign(api, call, &call.target, &binding).await
}

/// `POST bindings`, which names the pod in the body; none when the call is about something else.
pub(in crate::apiserver) async fn binding(
    api: &Api,
    call: &Call,
    binding: &Value,
) -> Option<Result<Response, Status>> {
    if !call.target.is_core("bindings") {
        return None;
    }
    let pods = api.registry.resolve("", "v1", "pods")?;
    let pod = Target::new(pods, &call.target.namespace, text(binding, "/metadata/name"));
    Some(assign(api, call, &pod, binding).await)
}

async fn assign(api: &Api, call: &Call, target: &Target, binding: &Value) -> Result<Response, Status> {
    let node = text(binding, "/target/name").to_owned();
    if node.is_empty() {
        let wrong = FieldError::required("target.name", "");
        return Err(Status::invalid("", "Binding", &target.name, &[wrong]));
    }
    let name = target.name.clone();
    let dry_run = call.query.dry_run("CreateOptions")?;
    let refuse = |why: String| Err(Status::conflict("", "pods/binding", &name, &why));
    let bound = |pod: &Value| {
        let uid = text(binding, "/metadata/uid");
        if !uid.is_empty() && uid != text(pod, "/metadata/uid") {
            return refuse(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                text(pod, "/metadata/uid")
            ));
        }
        if is_terminating(pod) {
            return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let assigned = text(pod, "/spec/nodeName");
        if !assigned.is_empty() {
            return refuse(format!("pod {name} is already assigned to node \"{assigned}\""));
        }
        let mut pod = pod.clone();
        pod["spec"]["nodeName"] = json!(node);
        for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
            pod["metadata"]["annotations"][key.as_str()] = value.clone();
        }
        let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": metadata::now()});
        let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(scheduled);
        pod["status"]["conditions"] = Value::Array(conditions);
        Ok(pod)
    };
    api.modify(target, Part::Whole, &Write::by_nobody(dry_run), bound).await?;
    Ok(success(call))
}
