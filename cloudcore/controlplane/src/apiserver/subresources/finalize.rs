//! `namespaces/NAME/finalize`: the only way to change a namespace's own finalizers.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use crate::apiserver::Api;
use crate::apiserver::call::Call;
use crate::apiserver::http::read;
use crate::apiserver::objects::Part;
use crate::apiserver::write::{Write, options_of};
use crate::apiserver::{show, verbs};
use crate::status::Status;

pub(super) async fn replace(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let (object, _) = verbs::object(call, &read(body).await?)?;
    let how = Write { options: options_of(call), ..Write::by_nobody(call.query.dry_run("UpdateOptions")?) };
    let how = how.through("finalize");
    let finalized = |old: &Value| {
        let mut new = old.clone();
        new["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        new["spec"]["finalizers"] =
            object["spec"].get("finalizers").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        Ok(new)
    };
    let shown = api.modify(&call.target, Part::Whole, &how, finalized).await?;
    Ok(show::one(call, StatusCode::OK, shown))
}
