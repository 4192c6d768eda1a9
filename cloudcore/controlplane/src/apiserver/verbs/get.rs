//! GET of one object.

use axum::response::Response;
use http::StatusCode;

use super::list;
use crate::apiserver::call::Call;
use crate::apiserver::show::{self, Shown};
use crate::apiserver::{Api, told};
use crate::schema::Json;
use crate::status::Status;

pub(in crate::apiserver) async fn get(api: &Api, call: &Call) -> Result<Response, Status> {
    if let Some(objects) = told::objects(api, &call.target.resource) {
        let found = objects.into_iter().find(|one| one.text("/metadata/name") == call.target.name);
        let found = found.ok_or_else(|| call.target.not_found())?;
        return Ok(show::one(call, StatusCode::OK, Shown::Loose(found)));
    }
    list::wait_for_revision(api, call).await?;
    let object = api.store.get(&call.target.id()).ok_or_else(|| call.target.not_found())?;
    Ok(show::one(call, StatusCode::OK, Shown::Stored(object)))
}
