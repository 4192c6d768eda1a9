//! The gRPC health checking protocol (`grpc.health.v1.Health/Check`).

use std::time::Duration;

use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::handler::{Outcome, joined};
use super::http::USER_AGENT;

pub(super) async fn probe(host: &str, port: u16, service: &str, limit: Duration) -> Outcome {
    let at = joined(host, port);
    let seconds = limit.as_secs();
    let endpoint = Endpoint::from_shared(format!("http://{at}"))
        .and_then(|endpoint| endpoint.connect_timeout(limit).timeout(limit).user_agent(USER_AGENT));
    let endpoint = match endpoint {
        Ok(endpoint) => endpoint,
        Err(error) => return Outcome::Error(format!("grpc {at}: {error}")),
    };
    let asked = async {
        let channel = endpoint.connect().await.map_err(|error| {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            format!("timeout: failed to connect service {at:?} within {seconds}s: {why}")
        })?;
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel).check(request).await.map_err(|status| match status.code() {
            Code::Unimplemented => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            ),
            Code::DeadlineExceeded | Code::Cancelled => late(seconds),
            _ => format!("error: health rpc probe failed: {}", status.message()),
        })?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            other => Err(format!("service unhealthy (responded with {:?})", other.as_str_name())),
        }
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(())) => Outcome::Success,
        Ok(Err(words)) => Outcome::Failure(words),
        Err(_) => Outcome::Failure(late(seconds)),
    }
}

fn late(seconds: u64) -> String {
    format!("timeout: health rpc did not complete within {seconds}s")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic_health::ServingStatus as Status;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_service_says_itself_whether_it_serves() {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("well", Status::Serving).await;
        reporter.set_service_status("ill", Status::NotServing).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server =
            Server::builder().add_service(health).serve_with_incoming(TcpListenerStream::new(listener));
        let asked = async {
            let ask = async |service: &str| probe("127.0.0.1", port, service, LIMIT).await;
            assert_eq!(ask("well").await, Outcome::Success);
            assert_eq!(ask("").await, Outcome::Success);
            let words = "service unhealthy (responded with \"NOT_SERVING\")";
            assert_eq!(ask("ill").await, Outcome::Failure(words.into()));
            let unknown = ask("unknown").await;
            assert!(
                matches!(&unknown, Outcome::Failure(words) if words.starts_with("error: health rpc probe failed")),
                "{unknown:?}"
            );
        };
        tokio::select! {
            () = asked => {}
            ended = server => panic!("the server ended: {ended:?}"),
        }
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let silent = probe("127.0.0.1", port, "", Duration::from_secs(1)).await;
        assert_eq!(silent, Outcome::Failure("timeout: health rpc did not complete within 1s".into()));
        drop(listener);
        let gone = probe("127.0.0.1", port, "", LIMIT).await;
        let words = format!("timeout: failed to connect service \"127.0.0.1:{port}\" within 5s: ");
        assert!(matches!(&gone, Outcome::Failure(said) if said.starts_with(&words)), "{gone:?}");
    }
}
