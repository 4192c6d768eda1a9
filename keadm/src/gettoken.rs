use std::{path::PathBuf, time::Duration};

use clap::Args;
use proto::pki::{Authority, NodeName};
use serde::Serialize;

use crate::{
    cluster,
    join::Token,
    layout::Layout,
    output::{self, Output},
    problem::{Exit, Failure, Problem},
};

/// Print the token that an edge needs to join.
///
/// Without flags it is cloudcore's own, which any node may use until it expires. With --node or --ttl a new one is
/// made, which needs an administrator's rights.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm gettoken
  keadm gettoken --node=kitchen --ttl=30m    # only for this node, only for half an hour
  keadm gettoken --kube-config=/root/.kube/config -o json")]
pub(crate) struct GetTokenArgs {
    /// The administrator's kubeconfig (default: $KUBECONFIG, /etc/kubeedge/admin.conf, /root/.kube/config).
    #[arg(long, value_name = "FILE")]
    kube_config: Option<PathBuf>,
    /// Make a token that only this node can use.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Make a token that is valid this long, for example 90m, 24h or 7d.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ttl: Option<u64>,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

const DEFAULT_TTL: u64 = 24 * 3600;
const LONGEST_TTL: u64 = 366 * 24 * 3600;

/// What `-o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    token: &'a str,
    ca_hash: String,
    expires: String,
    node: Option<&'a str>,
}

impl GetTokenArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let token =
            self.token(layout).await.map_err(|problem| problem.fail("failed to get token", Exit::Failed))?;
        match self.output {
            Output::Text => println!("{token}"),
            Output::Json => {
                let parsed: Token = token
                    .parse()
                    .map_err(|error| unreadable(&error).fail("failed to get token", Exit::Failed))?;
                output::json(&Shown {
                    token: &token,
                    ca_hash: parsed.ca_hash(),
                    expires: parsed.valid_until(),
                    node: parsed.node(),
                })?;
            }
        }
        Ok(())
    }

    async fn token(&self, layout: &Layout) -> Result<String, Problem> {
        let client = cluster::connect(&cluster::kubeconfig(self.kube_config.as_deref(), layout)).await?;
        if self.node.is_none() && self.ttl.is_none() {
            let token = cluster::secret(&client, "tokensecret", "tokendata").await?;
            let token = String::from_utf8_lossy(&token).trim().to_owned();
            token.parse::<Token>().map_err(|error| unreadable(&error))?;
            return Ok(token);
        }
        let node = self.node.as_deref().map(str::parse::<NodeName>).transpose().map_err(|error| {
            Problem::new("--node cannot be used").cause(error).next("for example: --node=edge1")
        })?;
        let certificate = cluster::secret(&client, "casecret", "cadata").await?;
        let key = cluster::secret(&client, "casecret", "cakeydata").await?;
        let authority = Authority::from_parts(certificate, &key).map_err(|error| {
            Problem::new("Secret kubeedge/casecret does not hold a CA")
                .cause(error)
                .next("restart cloudcore, which writes its CA there")
        })?;
        let life = Duration::from_secs(self.ttl.unwrap_or(DEFAULT_TTL));
        Ok(authority.mint_token(life, node.as_ref(), jiff::Timestamp::now()).to_string())
    }
}

fn unreadable(error: &proto::pki::TokenError) -> Problem {
    Problem::new("Secret kubeedge/tokensecret does not hold a join token")
        .cause(error)
        .next("restart cloudcore, which writes it anew")
}

fn seconds(text: &str) -> Result<u64, String> {
    let span: jiff::Span = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let total = span.total((jiff::Unit::Second, days)).map_err(|error| error.to_string())?;
    if !(60.0..=LONGEST_TTL as f64).contains(&total) {
        return Err("choose between one minute and 366 days".to_owned());
    }
    Ok(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_token_is_valid_is_read_in_the_usual_units() {
        assert_eq!(seconds("90m"), Ok(5400));
        assert_eq!(seconds("24h"), Ok(86_400));
        assert_eq!(seconds("7d"), Ok(604_800));
        for text in ["5", "1s", "3y", "-1h", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
