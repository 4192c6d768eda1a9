//! PUT of one object.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use super::{may_create, object};
use crate::apiserver::Api;
use crate::apiserver::call::Call;
use crate::apiserver::http::{read, with_warnings};
use crate::apiserver::metadata;
use crate::apiserver::objects::Part;
use crate::apiserver::show::{self, Shown};
use crate::apiserver::write::Write;
use crate::status::{Reason, Status};

pub(in crate::apiserver) async fn update(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let body = read(body).await?;
    let (object, warnings) = object(call, &body)?;
    let (code, shown) = match replaced(api, call, Part::Main, object.clone()).await {
        Err(status) if status.reason == Reason::NotFound && call.target.resource.create_on_update => {
            may_create(api, call)?;
            let mut object = object;
            // What is not there cannot be at a version: the client saw an object that is gone.
            if !matches!(metadata::text(&object, "resourceVersion"), "" | "0") {
                return Err(status);
            }
            metadata::of(&mut object)?.shift_remove("resourceVersion");
            let how = Write::of(call, "UpdateOptions", "")?;
            (StatusCode::CREATED, api.create(&call.target, object, &how).await?)
        }
        result => (StatusCode::OK, result?),
    };
    Ok(with_warnings(show::one(call, code, shown), &warnings))
}

/// Puts `object` in the place of the current one.
pub(in crate::apiserver) async fn replaced(
    api: &Api,
    call: &Call,
    part: Part,
    object: Value,
) -> Result<Shown, Status> {
    let how = Write::of(call, "UpdateOptions", part.subresource())?;
    api.modify(&call.target, part, &how, |_| Ok(object.clone())).await
}
