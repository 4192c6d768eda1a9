use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

use crate::problem::Problem;
use proto::config::HostPort;

/// Clocks further apart than this make certificates and tokens fail in confusing ways.
pub(super) const SKEW_LIMIT: i64 = 300;

/// Says what is wrong with the certificate that cloudcore showed, if anything.
pub(super) fn server_certificate(
    chain: &[CertificateDer<'static>],
    ca: &CertificateDer<'static>,
    address: &HostPort,
    now: i64,
) -> Option<Problem> {
    let what = format!("cloudcore at {address} shows a certificate that cannot be trusted");
    let report = |cause: String, next: String| Some(Problem::new(what.clone()).cause(cause).next(next));
    let Some((leaf, others)) = chain.split_first() else {
        return report("it showed none".to_owned(), format!("check that cloudcore listens on {address}"));
    };
    let mut roots = RootCertStore::empty();
    if let Err(error) = roots.add(ca.clone()) {
        return report(format!("its CA is not a CA certificate: {error}"), "check the address".to_owned());
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() {
        Ok(verifier) => verifier,
        Err(error) => return report(error.to_string(), "report this".to_owned()),
    };
    let Ok(name) = ServerName::try_from(address.host.as_str()) else {
        return report(format!("{} is neither a name nor an address", address.host), "check it".to_owned());
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.unsigned_abs()));
    let error = match verifier.verify_server_cert(leaf, others, &name, &[], now) {
        Ok(_) => return None,
        Err(error) => error,
    };
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => report(
            format!("it is valid for {}, not for {}", names(leaf), address.host),
            format!(
                "join with one of those, or add {} to modules.cloudHub.advertiseAddress (a name: dnsNames) in \
                 cloudcore.yaml and restart cloudcore",
                address.host
            ),
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => report(
            format!("it is valid {}, and the time is {}", validity(leaf), time(now.as_secs().cast_signed())),
            "set the clocks of both machines right, or renew cloudcore's certificate".to_owned(),
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => report(
            "it was not issued by the CA that the same server hands out".to_owned(),
            "check that no proxy stands between this host and cloudcore".to_owned(),
        ),
        other => report(other.to_string(), "check that this is the address of cloudcore".to_owned()),
    }
}

/// Says that the clocks differ too much, if they do.
pub(super) fn clock(here: i64, there: i64) -> Option<Problem> {
    let ahead = here - there;
    if ahead.abs() <= SKEW_LIMIT {
        return None;
    }
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    Some(
        Problem::new("the clock of this host is wrong, or cloudcore's is")
            .cause(format!(
                "this host says {}, {} {direction} cloudcore; certificates are not valid yet or no longer then",
                time(here),
                span(ahead.abs())
            ))
            .next("set the clock: timedatectl set-ntp true, or start chrony"),
    )
}

pub(super) fn time(second: i64) -> String {
    jiff::Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
}

pub(super) fn span(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn names(leaf: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return "nothing readable".to_owned() };
    let mut found = Vec::new();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) if !name.is_empty() => found.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => found.extend(ip(bytes)),
                _ => {}
            }
        }
    }
    if found.is_empty() { "no address at all".to_owned() } else { found.join(", ") }
}

fn ip(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        _ => None,
    }
}

fn validity(leaf: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(leaf) {
        Ok((_, certificate)) => {
            let validity = certificate.validity();
            format!(
                "from {} to {}",
                time(validity.not_before.timestamp()),
                time(validity.not_after.timestamp())
            )
        }
        Err(_) => "at no readable time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_minutes_but_not_by_hours() {
        assert!(clock(1_000_000, 1_000_299).is_none());
        let shown = clock(1_000_000, 1_010_000).unwrap().to_string();
        assert!(shown.contains("2 h behind cloudcore"), "{shown}");
        let shown = clock(2_000_000, 1_000_000).unwrap().to_string();
        assert!(shown.contains("11 days ahead of cloudcore"), "{shown}");
    }
}
