//! `waypost webhook`

use std::process::ExitCode;

use clap::ValueHint;

use super::options::{ProcessArgs, set};
use super::{PolicyArgs, serve};
use crate::app;
use crate::config::{Config, Flags};

/// Answer the API server from within the cluster, as one of several replicas, until told to stop.
///
/// It is what the Helm chart runs. Unlike `waypost serve` it always watches the cluster's namespaces, with the Pod's own
/// ServiceAccount unless there is a --kubeconfig, and it makes no certificate: `tls.crt` and `tls.key` are a Secret that is
/// mounted at `tls.dir`, made by `waypost controller`, cert-manager or you. Policies and certificate are read again when they
/// change.
///
/// /readyz says that it is ready when the policies are compiled, the certificate is loaded, the namespaces, the registries and the
/// Policy objects are listed and, with --webhook-configuration, the API server was seen to trust the certificate.
///
/// The owners of Pods, such as ReplicaSets, are told by Events what was denied or warned of.
///
/// It takes the rights to get, list and watch namespaces, registries and policies (waypost.dev), to create Events (events.k8s.io),
/// and to get that one MutatingWebhookConfiguration. It has none on Secrets.
///
/// SIGTERM and Ctrl-C end it after the requests in flight.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  In a Pod, with everything in a configuration that is mounted:
      waypost webhook --config /etc/waypost/waypost.yaml

  The same, and ready only when the API server trusts the certificate:
      waypost webhook --config /etc/waypost/waypost.yaml --webhook-configuration waypost

  Outside of a cluster, to try it:
      waypost webhook --kubeconfig ~/.kube/config --tls-dir certs/local")]
pub struct Args {
    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub policies: PolicyArgs,

    /// The address of the admission webhook [default: 127.0.0.1:8443].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub webhook_listen: Option<String>,

    /// The directory of tls.crt and tls.key [default: certs/local].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub tls_dir: Option<String>,

    /// The MutatingWebhookConfiguration whose caBundle must be in place before it is ready [default: none is looked at].
    #[arg(long, value_name = "NAME")]
    pub webhook_configuration: Option<String>,

    /// The cluster is the one that this kubeconfig's current context names [default: the one that the Pod is in].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<String>,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub process: ProcessArgs,
}

impl Args {
    /// What they say about the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let Self {
            policies,
            webhook_listen,
            tls_dir,
            webhook_configuration,
            kubeconfig,
            process,
        } = self;
        let mut flags = policies.flags();
        for (flag, key, value) in [
            ("--webhook-listen", "server.webhook.listen", webhook_listen),
            ("--tls-dir", "tls.dir", tls_dir),
            (
                "--webhook-configuration",
                "certificates.webhook_configuration",
                webhook_configuration,
            ),
            ("--kubeconfig", "cluster.kubeconfig", kubeconfig),
        ] {
            set(&mut flags, flag, key, value.as_ref());
        }
        process.set(&mut flags);
        flags
    }
}

/// Serves until told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: Config) -> anyhow::Result<ExitCode> {
    serve::until_told(app::webhook(config))
}
