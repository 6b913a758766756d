//! Why an exchange with a registry came to nothing, in words that say what to do.
//!
//! The sentences become conditions of objects: they have no credential in them and nothing that differs from one time to the next.

use std::{error::Error, io};

use hyper::StatusCode;
use rustls::{AlertDescription, CertificateError};

use super::guard::{Refused, Unresolved};

/// Why there is no answer, or none that a registry gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The name is not known.
    #[error("{host} cannot be looked up: no address is known for this name, or nobody answers who could know")]
    Name {
        /// The host.
        host: String,
    },
    /// The address is one that is never dialled.
    #[error("{host} is at a link-local or metadata address, and those are never dialled")]
    Forbidden {
        /// The host.
        host: String,
    },
    /// The address is private, and nobody registered the registry.
    #[error(
        "{host} is at a private address, and those are dialled for registered registries alone: register it, and its images can be copied"
    )]
    Private {
        /// The host.
        host: String,
    },
    /// Nobody listens there.
    #[error("nothing listens at {host}: the connection was refused")]
    Refused {
        /// Host and port.
        host: String,
    },
    /// There is no way to it.
    #[error("{host} cannot be reached: there is no route to it")]
    NoRoute {
        /// Host and port.
        host: String,
    },
    /// It took too long.
    #[error("{host} has not answered within {seconds} s")]
    TimedOut {
        /// Host and port.
        host: String,
        /// The deadline.
        seconds: u64,
    },
    /// No TLS connection came about.
    #[error("{host}: {fault}")]
    Tls {
        /// Host and port.
        host: String,
        /// Why.
        fault: TlsFault,
    },
    /// It hung up.
    #[error("{host} closed the connection before it answered")]
    Closed {
        /// Host and port.
        host: String,
    },
    /// It speaks something else.
    #[error("what {host} answers is not HTTP: where it is reached by TLS, write https:// or leave `plainHttp` out")]
    NotHttp {
        /// Host and port.
        host: String,
    },
    /// It has a fault of its own.
    #[error("{host} answers with a fault of its own: {status}")]
    Server {
        /// Host and port.
        host: String,
        /// The status, with its reason.
        status: StatusCode,
    },
    /// Somebody else answers.
    #[error("what answers at {host} is no registry: {what}")]
    NotARegistry {
        /// Host and port.
        host: String,
        /// What it answers.
        what: String,
    },
    /// It is asked too much.
    #[error("{host} answers that it is asked too much (429)")]
    Limited {
        /// Host and port.
        host: String,
    },
    /// Tokens are not to be had as they should.
    #[error("tokens for it are issued at {host}, and there {what}")]
    Tokens {
        /// Host and port.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// The credential would have to go where it must not.
    #[error(
        "tokens for it are issued at {realm}, which is neither its own host nor known to belong to it: the credential is not sent there{}",
        named(host.as_deref())
    )]
    ForeignRealm {
        /// Where the registry wants it to be sent, without path and query.
        realm: String,
        /// The host, and its port if it has one, where it would be sent there if an admin named it.
        host: Option<String>,
    },
    /// Somebody else answers in its place.
    #[error("{host} redirects to {to}: the credential is not sent there, so nobody can tell whether it is taken")]
    Elsewhere {
        /// Host and port.
        host: String,
        /// Where it redirects to.
        to: String,
    },
    /// It wants to be asked in another way.
    #[error("it wants a credential in a form that Waypost does not know: {schemes}; Basic and Bearer are known")]
    Scheme {
        /// What it named, or that it named nothing.
        schemes: String,
    },
    /// It sends whoever asks from one place to another.
    #[error("{host} redirects again and again")]
    Redirects {
        /// Host and port.
        host: String,
    },
    /// It sends something else than what it was asked for.
    #[error("{host} sends something that does not have the digest that it was asked for by")]
    OtherContent {
        /// Host and port.
        host: String,
    },
    /// It answers with more than anybody reads.
    #[error("{host} answers with more than {limit} bytes where few are enough")]
    TooLong {
        /// Host and port.
        host: String,
        /// Bytes.
        limit: usize,
    },
}

/// Why no TLS connection came about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// Nobody knows who issued it.
    #[error("its certificate is of an authority that is not known: give the authority's certificate as `caBundle`")]
    UnknownIssuer,
    /// It is too old.
    #[error("its certificate has expired: it must be renewed there, or the clock of this machine is wrong")]
    Expired,
    /// It is too young.
    #[error("its certificate is not valid yet: the clock of this machine, or of the one that made it, is wrong")]
    NotYetValid,
    /// It is for another.
    #[error(
        "its certificate is for other names: reach it by a name that its certificate has, or have one made that has this name"
    )]
    OtherName,
    /// It is an authority's own.
    #[error(
        "its certificate is an authority's own, and no server may have that: have one made that is signed by the authority (CA:FALSE)"
    )]
    Authority,
    /// It cannot be used for another reason.
    #[error("its certificate cannot be used: {0}")]
    Certificate(String),
    /// It does not speak TLS.
    #[error("what it answers is not TLS: where it is reached by plain HTTP, write http:// or `plainHttp: true`")]
    PlainHttp,
    /// It wants a certificate of us.
    #[error("it wants a certificate of whoever connects, and Waypost has none to show")]
    ClientCertificate,
    /// They do not agree.
    #[error("no TLS connection came about: {0}")]
    Handshake(String),
}

/// What an admin may do about a host that is not known to belong to a registry.
fn named(host: Option<&str>) -> String {
    match host {
        // In brackets of its own it would be a list in a list.
        Some(host) if host.starts_with('[') => {
            format!("; give `tokenHosts: [\"{host}\"]` if that host belongs to the registry")
        }
        Some(host) => format!("; give `tokenHosts: [{host}]` if that host belongs to the registry"),
        None => String::new(),
    }
}

impl Fault {
    /// In a word, for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Name { .. } => "NameUnknown",
            Self::Forbidden { .. } => "AddressForbidden",
            Self::Private { .. } => "AddressPrivate",
            Self::Refused { .. } => "ConnectionRefused",
            Self::NoRoute { .. } => "NoRoute",
            Self::TimedOut { .. } => "TimedOut",
            Self::Tls { fault, .. } => match fault {
                TlsFault::PlainHttp => "NotTls",
                TlsFault::ClientCertificate | TlsFault::Handshake(_) => "TlsFailed",
                _ => "CertificateRejected",
            },
            Self::Closed { .. } => "ConnectionClosed",
            Self::NotHttp { .. } => "NotHttp",
            Self::Server { .. } => "ServerError",
            Self::NotARegistry { .. } | Self::Redirects { .. } | Self::TooLong { .. } => "NotARegistry",
            Self::OtherContent { .. } => "OtherContent",
            Self::Limited { .. } => "RateLimited",
            Self::Tokens { .. } => "NoToken",
            Self::Elsewhere { .. } => "RedirectedElsewhere",
            Self::ForeignRealm { .. } => "ForeignRealm",
            Self::Scheme { .. } => "UnknownScheme",
        }
    }

    /// What it means that an address is not dialled.
    pub(super) fn refused(refused: Refused, host: &str) -> Self {
        let host = host.to_owned();
        match refused {
            Refused::Forbidden(_) => Self::Forbidden { host },
            Refused::Private(_) => Self::Private { host },
        }
    }

    /// What an error of the client's means. `host` with its port.
    pub(super) fn of(error: &(dyn Error + 'static), host: &str) -> Self {
        let host = host.to_owned();
        let mut next = Some(error);
        let mut closed = false;
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref::<Refused>() {
                return Self::refused(*refused, &host);
            }
            if error.is::<Unresolved>() {
                return Self::Name { host };
            }
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                let fault = TlsFault::of(error);
                return Self::Tls { host, fault };
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_parse() {
                    return Self::NotHttp { host };
                }
                closed |= error.is_incomplete_message() || error.is_canceled() || error.is_closed();
            }
            let Some(io) = error.downcast_ref::<io::Error>() else {
                next = error.source();
                continue;
            };
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return Self::Refused { host },
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => return Self::NoRoute { host },
                io::ErrorKind::TimedOut => {
                    let seconds = super::exchange::CONNECT.as_secs();
                    return Self::TimedOut { host, seconds };
                }
                _ => closed = true,
            }
            // Its source is that of what is in it, which would be passed over.
            next = io.get_ref().map(|inner| inner as &(dyn Error + 'static));
        }
        if closed {
            Self::Closed { host }
        } else {
            Self::NoRoute { host }
        }
    }
}

impl TlsFault {
    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
                CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => Self::Authority,
                other => Self::Certificate(other.to_string()),
            },
            rustls::Error::InvalidMessage(_) => Self::PlainHttp,
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate) => {
                Self::ClientCertificate
            }
            other => Self::Handshake(other.to_string()),
        }
    }
}
