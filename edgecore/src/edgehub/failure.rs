//! Why the cloud could not be reached, told so that a person knows what to do.

use std::error::Error;
use std::io;
use std::time::Duration;

use https::chain;
use jiff::Timestamp;
use proto::config::HostPort;
use rustls::{AlertDescription, CertificateError};

/// A failed attempt to talk to the cloud.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The name has no address.
    #[error("cannot find the address of {host}: {reason}; check the host name and this machine's DNS")]
    NoAddress {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// Nobody listens there.
    #[error(
        "nothing listens at {at} (connection refused): is cloudcore running there, and is the port the right one?"
    )]
    PortClosed {
        /// Host and port.
        at: String,
    },
    /// No packet comes back.
    #[error("{at} does not answer within {}: check the address, the network and firewalls between", seconds(*within))]
    Silent {
        /// Host and port.
        at: String,
        /// How long we waited.
        within: Duration,
    },
    /// The network refuses.
    #[error("cannot connect to {at}: {reason}")]
    Unreachable {
        /// Host and port.
        at: String,
        /// What the kernel said.
        reason: String,
    },
    /// The certificate of the server is for other names.
    #[error(
        "the certificate of the server at {at} is not for {host}, only for {presented}: use one of these names, or add {host} to cloudHub.advertiseAddress or dnsNames on the cloud host and restart cloudcore"
    )]
    WrongName {
        /// Host and port.
        at: String,
        /// The name we used.
        host: String,
        /// The names it holds for.
        presented: String,
    },
    /// The server's certificate is from another CA than ours.
    #[error(
        "the server at {at} is not certified by the CA that this node joined: the address is wrong, or the cloud was set up anew; then join again with a token from `keadm gettoken`"
    )]
    OtherCa {
        /// Host and port.
        at: String,
    },
    /// Our clock says that the server's certificate does not hold.
    #[error(
        "the server's certificate holds {relation} {limit}, and this machine's clock says {now}: set the clock (or start an NTP client), then it goes on by itself"
    )]
    Clock {
        /// `from` or `until`.
        relation: &'static str,
        /// The moment.
        limit: Timestamp,
        /// Our clock.
        now: Timestamp,
    },
    /// It does not speak TLS, or not ours.
    #[error(
        "the server at {at} does not speak TLS as cloudcore does ({reason}): is it another service's port?"
    )]
    NotCloudcore {
        /// Host and port.
        at: String,
        /// What it did.
        reason: String,
    },
    /// The server does not take our certificate.
    #[error(
        "the cloud at {at} refuses this node's certificate ({reason}): it has expired or is another cloud's; join again with a token from `keadm gettoken`"
    )]
    CertificateRefused {
        /// Host and port.
        at: String,
        /// The TLS alert.
        reason: String,
    },
    /// An HTTP answer that is not the one we need.
    #[error("the cloud at {at} refuses with HTTP {status}: {reason}")]
    Refused {
        /// Host and port.
        at: String,
        /// The status.
        status: u16,
        /// The body, shortened.
        reason: String,
    },
    /// The connection broke while talking.
    #[error("the connection to {at} broke: {reason}")]
    Broken {
        /// Host and port.
        at: String,
        /// What happened.
        reason: String,
    },
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

impl LinkError {
    /// Nothing answers: the cloud may just be restarting, so trying often is cheap and right.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::PortClosed { .. } | Self::Broken { .. } | Self::Silent { .. } | Self::Unreachable { .. }
        )
    }

    /// Only a new certificate can help.
    pub(super) fn needs_new_certificate(&self) -> bool {
        matches!(self, Self::OtherCa { .. } | Self::CertificateRefused { .. })
    }

    /// An error while connecting TCP.
    pub(super) fn connecting(server: &HostPort, error: &io::Error) -> Self {
        let at = server.to_string();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::PortClosed { at },
            _ => Self::Unreachable { at, reason: error.to_string() },
        }
    }

    /// An error during or after the TLS handshake, found at the root of whatever wraps it.
    pub(super) fn talking(server: &HostPort, error: &(dyn Error + 'static)) -> Self {
        let at = server.to_string();
        let Some(tls) = root::<rustls::Error>(error) else {
            let eof = root::<io::Error>(error).is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof);
            let reason = if eof { "the other end closed it".into() } else { chain(error) };
            return Self::Broken { at, reason };
        };
        match tls {
            rustls::Error::InvalidCertificate(reason) => Self::certificate(server, reason),
            rustls::Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateRequired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied),
            ) => Self::CertificateRefused { at, reason: format!("{alert:?}") },
            other => Self::NotCloudcore { at, reason: other.to_string() },
        }
    }

    fn certificate(server: &HostPort, reason: &CertificateError) -> Self {
        let at = server.to_string();
        let moment = |time: &rustls_pki_types::UnixTime| {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        match reason {
            CertificateError::NotValidForNameContext { presented, .. } => {
                let host = server.host.clone();
                Self::WrongName { at, host, presented: presented.join(", ") }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::Clock { relation: "from", limit: moment(not_before), now: moment(time) }
            }
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Clock { relation: "until", limit: moment(not_after), now: moment(time) }
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::OtherCa { at },
            other => Self::NotCloudcore { at, reason: format!("its certificate is unusable: {other}") },
        }
    }
}

/// The first error of this type, however deep it is wrapped. `io::Error` hides what it wraps from `source`.
fn root<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        at = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
