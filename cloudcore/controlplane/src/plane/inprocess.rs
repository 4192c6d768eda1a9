//! `kube::Client` without a socket: the same service, called directly.

use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::ServiceExt;

use crate::apiserver::Service;
use crate::apiserver::auth::Peer;

pub(super) fn client(service: Service) -> kube::Client {
    let service = service.map_request(|request: Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer::InProcess);
        request
    });
    kube::Client::new(service.map_response(|response: Response| response), "default")
}
