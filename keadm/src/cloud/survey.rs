use proto::config::HostPort;
use rustls::pki_types::CertificateDer;

use super::{
    Answer, ConnectError, connect, fetch_untrusted,
    judge::{self, span, time},
};
use crate::{join::Token, problem::Problem};

/// What is to be found out about a cloudcore before joining it.
pub(crate) struct Questions<'a> {
    /// The websocket, port 10000.
    pub(crate) hub: &'a HostPort,
    /// The certificate endpoints, port 10002.
    pub(crate) https: &'a HostPort,
    pub(crate) node: &'a str,
    /// `None` when it could not even be parsed, which somebody else reports.
    pub(crate) token: Option<&'a Token>,
    /// By this host's clock, seconds since 1970.
    pub(crate) now: i64,
}

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) problems: Vec<Problem>,
    /// The CA that cloudcore hands out, once its hash matched the token's.
    pub(crate) ca: Option<CertificateDer<'static>>,
}

/// Asks everything that can be asked without a certificate and collects every problem.
pub(crate) async fn survey(questions: &Questions<'_>) -> Survey {
    let mut survey = Survey::default();
    let (hub, ca) =
        tokio::join!(connect::speaks_tls(questions.hub), fetch_untrusted(questions.https, "/ca.crt"));
    if let Err(error) = hub {
        survey.problems.push(unreachable(questions.hub, "the websocket", &error, "--cloudcore-ipport"));
        // The same cause would only be told twice.
        if matches!(error, ConnectError::Name(..)) {
            return survey;
        }
    }
    match ca {
        Err(error) => {
            survey.problems.push(unreachable(questions.https, "certificates", &error, "--certport"))
        }
        Ok((answer, chain)) => judge_answer(questions, &answer, &chain, &mut survey),
    }
    survey.problems.extend(questions.token.and_then(|token| expired(token, questions.now)));
    if survey.ca.is_some() {
        survey.problems.extend(name_taken(questions).await);
    }
    survey
}

fn judge_answer(
    questions: &Questions<'_>,
    answer: &Answer,
    chain: &[CertificateDer<'static>],
    survey: &mut Survey,
) {
    if answer.status != 200 {
        survey.problems.push(
            Problem::new(format!("what listens on {} is not cloudcore", questions.https))
                .cause(format!("GET /ca.crt is answered with status {}", answer.status))
                .next("give the host and port of cloudcore's https server with --cloudcore-ipport and --certport"),
        );
        return;
    }
    let there = answer.date.unwrap_or(questions.now);
    survey.problems.extend(judge::clock(questions.now, there));
    if let Some(Err(error)) = questions.token.map(|token| token.check_ca(&answer.body)) {
        survey.problems.push(
            Problem::new("the CA of this cloudcore is not the one that the token was made for")
                .cause(error)
                .next("run `keadm gettoken` on this cloudcore's host and use that token, or correct the address"),
        );
        return;
    }
    let ca = CertificateDer::from(answer.body.clone());
    survey.problems.extend(judge::server_certificate(chain, &ca, questions.https, there));
    survey.ca = Some(ca);
}

fn expired(token: &Token, now: i64) -> Option<Problem> {
    (token.expires() <= now).then(|| {
        Problem::new("the token has expired")
            .cause(format!(
                "it was valid until {}, {} ago",
                time(token.expires()),
                span(now - token.expires())
            ))
            .next("run `keadm gettoken` on cloudcore's host and join with the new token")
    })
}

/// KubeEdge's own rule: only status 404 means that the name is free.
async fn name_taken(questions: &Questions<'_>) -> Option<Problem> {
    let node = questions.node;
    match fetch_untrusted(questions.https, &format!("/node/{node}")).await {
        Ok((answer, _)) => match answer.status {
            404 => None,
            200 => Some(
                Problem::new(format!("a node named {node} exists already"))
                    .cause("cloudcore knows a Node object of this name")
                    .next(format!(
                        "choose another name with --edgenode-name, or, if it is this machine before a reset: \
                         kubectl delete node {node}"
                    )),
            ),
            status => Some(
                Problem::new(format!("cloudcore does not say whether the name {node} is free"))
                    .cause(format!(
                        "GET /node/{node} is answered with status {status}: {}",
                        String::from_utf8_lossy(&answer.body).trim()
                    ))
                    .next("look into cloudcore's log"),
            ),
        },
        Err(error) => Some(unreachable(questions.https, "the node's name", &error, "--certport")),
    }
}

fn unreachable(address: &HostPort, purpose: &str, error: &ConnectError, flag: &str) -> Problem {
    let next = match error {
        ConnectError::Name(host, _) => format!("check the spelling, or add {host} to /etc/hosts"),
        ConnectError::Refused => {
            format!(
                "check that cloudcore runs and that {address} is right (flag {flag}): on its host, ss -ltn"
            )
        }
        ConnectError::Silent(_) | ConnectError::Unreachable(_) => {
            format!(
                "open port {} in the firewalls between here and there, and check the address",
                address.port
            )
        }
        ConnectError::NotTls(_) | ConnectError::Tls(_) | ConnectError::Http(_) => {
            format!("check that {address} is cloudcore's (flag {flag}); KubeEdge's ports are 10000 and 10002")
        }
    };
    Problem::new(format!("cloudcore cannot be reached at {address} ({purpose})")).cause(error).next(next)
}
