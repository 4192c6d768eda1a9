//! POST to a collection.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;

use super::{object, review};
use crate::apiserver::Api;
use crate::apiserver::call::Call;
use crate::apiserver::hooks::Operation;
use crate::apiserver::http::{read, with_warnings};
use crate::apiserver::show::{self, Shown};
use crate::apiserver::subresources;
use crate::apiserver::write::Write;
use crate::status::Status;

pub(in crate::apiserver) async fn create(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    if !call.target.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let body = read(body).await?;
    let (mut object, warnings) = object(call, &body)?;
    if is_question(call) {
        let dry_run = call.query.dry_run("CreateOptions")?;
        api.ask_about_body(call, Operation::Create, "", dry_run, &mut object).await?;
    }
    if let Some(answer) = review::answer(api, call, &object) {
        return Ok(with_warnings(show::one(call, StatusCode::CREATED, Shown::Loose(answer)), &warnings));
    }
    if let Some(answer) = subresources::binding(api, call, &object).await {
        return answer;
    }
    let how = Write::of(call, "CreateOptions", "")?;
    let created = api.create(&call.target, object, &how).await?;
    Ok(with_warnings(show::one(call, StatusCode::CREATED, created), &warnings))
}

/// Whether it is answered, not stored.
fn is_question(call: &Call) -> bool {
    matches!(call.target.resource.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io")
}
