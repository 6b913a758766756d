//! `waypost webhook-config`: the object that makes the API server ask.

mod manifest;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::{ValueEnum, ValueHint};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;

use super::write_stdout;
use crate::config::Config;
use crate::registry::id_problem;
use manifest::{ClientConfig, Manifest, ServiceReference};

/// Print the MutatingWebhookConfiguration that makes the API server ask.
///
/// It names the address that the API server calls and the certificate authority that it trusts there: `ca.crt` of the
/// directory `tls.dir`, which `waypost serve` makes at its first start. Give the address with --url for a Waypost outside
/// the cluster, or with --service for one inside; without either it is the address that the configuration listens on.
///
/// The API server asks for every Pod that is created, and for changed ones only where images or their pull settings
/// changed; never for mirror Pods nor in kube-system. With the failure policy `Ignore`, Pods are created as they are while
/// Waypost is away.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  For `waypost serve` on this machine:
      waypost webhook-config | kubectl apply -f -

  For an address that the API server reaches it at:
      waypost webhook-config --url https://waypost.example.org:8443

  For a Service in the cluster:
      waypost webhook-config --service waypost/waypost --ca-file ca.crt | kubectl apply -f -")]
pub struct Args {
    /// The address that the API server calls; `/mutate` is added where it has no path.
    #[arg(long, value_name = "URL", conflicts_with = "service", value_hint = ValueHint::Url, value_parser = url)]
    pub url: Option<String>,

    /// The Service that the API server calls; the port is 443 unless given.
    #[arg(long, value_name = "NAMESPACE/NAME[:PORT]")]
    pub service: Option<Service>,

    /// The certificates that the API server trusts, PEM [default: ca.crt in `tls.dir`].
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,

    /// What becomes of a Pod while Waypost does not answer: `Ignore` creates it as it is, `Fail` refuses it.
    #[arg(long, value_name = "POLICY", default_value = "Ignore")]
    pub failure_policy: FailurePolicy,

    /// How long the API server waits for an answer, in seconds, from 1 to 30.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u8).range(1..=30))]
    pub timeout: u8,
}

/// What becomes of a Pod while Waypost does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum FailurePolicy {
    /// It is created as it is.
    Ignore,
    /// It is refused.
    Fail,
}

/// A Service and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port, 443 unless given.
    pub port: u16,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, port) = match text.rsplit_once(':') {
            Some((path, port)) => (path, port.parse().ok().filter(|&port| port > 0)),
            None => (text, Some(443)),
        };
        let port = port.ok_or("a port is a number from 1 to 65535")?;
        match path.split_once('/') {
            Some((namespace, name)) if is_label(namespace) && is_label(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                port,
            }),
            _ => Err("a Service is written NAMESPACE/NAME or NAMESPACE/NAME:PORT".to_owned()),
        }
    }
}

/// Prints the manifest on stdout.
///
/// # Errors
/// Certificates that cannot be read, or are none.
pub fn run(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let ca = match &args.ca_file {
        Some(path) => authority(path)?,
        None => authority(&config.tls.dir.join("ca.crt")).context(
            "the certificate authority is needed: start `waypost serve` once, which makes one in `tls.dir`, or give \
             another with --ca-file",
        )?,
    };
    write_stdout(yaml(&args, config, &ca)?)?;
    Ok(ExitCode::SUCCESS)
}

fn yaml(args: &Args, config: &Config, ca: &[u8]) -> anyhow::Result<String> {
    let client = match (&args.service, &args.url) {
        (Some(service), _) => ClientConfig::Service(ServiceReference {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            path: PATH,
            port: service.port,
        }),
        (None, Some(url)) => ClientConfig::Url(url.clone()),
        (None, None) => ClientConfig::Url(default_url(config)),
    };
    Manifest::new(client, ca, args.failure_policy, args.timeout).yaml()
}

/// The address listened on, as this machine calls it.
fn default_url(config: &Config) -> String {
    let mut address = config.server.webhook.listen;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("https://{address}{PATH}")
}

/// A PEM file with certificates and nothing else: what is in it becomes readable to everybody in the cluster.
fn authority(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let pem = std::fs::read(path).with_context(|| format!("{shown} cannot be read"))?;
    if PrivateKeyDer::from_pem_slice(&pem).is_ok() {
        bail!("{shown} holds a private key, which must not be made public: give the certificates alone");
    }
    let count =
        CertificateDer::pem_slice_iter(&pem).try_fold(0_usize, |count, certificate| certificate.map(|_| count + 1));
    let count = count.with_context(|| format!("{shown} is not well-formed PEM"))?;
    ensure!(
        count > 0,
        "{shown} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    );
    Ok(pem)
}

/// What the API server accepts (`ValidateWebhookURL` of k8s.io/apiserver).
fn url(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix("https://") else {
        return Err("the API server calls https:// only".to_owned());
    };
    if rest.contains(['?', '#', '@'])
        || rest
            .chars()
            .any(|character| character.is_whitespace() || character.is_control())
    {
        return Err("it must not have a user, a query (`?`) or a fragment (`#`)".to_owned());
    }
    match rest.split_once('/') {
        _ if rest.is_empty() || rest.starts_with('/') => Err("the host is missing".to_owned()),
        None | Some((_, "")) => Ok(format!("{}{PATH}", text.trim_end_matches('/'))),
        Some(_) => Ok(text.to_owned()),
    }
}

/// The name of a namespace or a Service (RFC 1123 label).
fn is_label(text: &str) -> bool {
    id_problem(text).is_none()
}

/// Where `serve` answers reviews.
const PATH: &str = "/mutate";

#[cfg(test)]
mod tests;
