//! `pods/NAME/eviction`: a deletion that asks first. Disruption budgets have no controller here that would keep their counts, so
//! none of them blocks.

use axum::body::Body;
use axum::response::Response;

use super::success;
use crate::apiserver::call::Call;
use crate::apiserver::http::{decode, read};
use crate::apiserver::{Api, verbs};
use crate::status::Status;

pub(super) async fn evict(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let eviction = decode(&call.headers, &read(body).await?, "Eviction", &call.target.resource)?;
    let given = verbs::deletion(call, &eviction["deleteOptions"])?;
    api.remove(&call.target, &given.how).await?;
    Ok(success(call))
}
