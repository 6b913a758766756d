//! `waypost serve`

use std::process::ExitCode;

use clap::ValueHint;

use super::options::{ProcessArgs, set};
use super::{Invalid, PolicyArgs};
use crate::app::{self, ServeError};
use crate::config::{Config, Flags};

/// Answer the API server, until told to stop.
///
/// Listens on three addresses: the admission webhook (TLS), the REST API (TLS), and metrics and health (plain HTTP).
/// Certificates are made at the first start where the directory `tls.dir` has none. Policies are read from `policies.dir`
/// and read again when they change; a change with mistakes is reported, and the last good policies stay in force.
///
/// With --kubeconfig it also watches the cluster's namespaces, so that rules see their labels, and those that opted out are left alone;
/// reads Policy objects; and keeps the pull secrets of its registries in the namespaces that may use them. Without it, namespaces have
/// no labels. It takes the rights to get, list and watch namespaces and policies (waypost.dev), to create Events (events.k8s.io),
/// and to get, list, watch, create, patch and delete Secrets of the one name `pull.secret`, in all namespaces; with
/// `cluster.webhook_configuration` to get and watch that MutatingWebhookConfiguration; with `store.kind: kubernetes` those of
/// `waypost controller` on registries, Secrets of its namespace, and reviews of tokens.
///
/// SIGTERM and Ctrl-C end it after the requests in flight.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  On this machine, for a cluster that reaches it at 127.0.0.1:
      waypost serve

  Reachable from other machines, with a log for people:
      waypost serve --webhook-listen 0.0.0.0:8443 --log-format text

  The same with the environment:
      WAYPOST_SERVER__WEBHOOK__LISTEN=0.0.0.0:8443 WAYPOST_LOG__FORMAT=text waypost serve

  With the labels of the cluster's namespaces:
      waypost serve --kubeconfig ~/.kube/config

  With a preset:
      waypost serve --preset cern-pull-through")]
pub struct Args {
    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub policies: PolicyArgs,

    /// The address of the admission webhook [default: 127.0.0.1:8443].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub webhook_listen: Option<String>,

    /// The address of the REST API [default: 127.0.0.1:8444].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub api_listen: Option<String>,

    /// The directory of ca.crt, tls.crt and tls.key [default: certs/local].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub tls_dir: Option<String>,

    /// Watch the namespaces and keep the pull secrets of the cluster that this kubeconfig's current context names [default: no cluster].
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
            api_listen,
            tls_dir,
            kubeconfig,
            process,
        } = self;
        let mut flags = policies.flags();
        for (flag, key, value) in [
            ("--webhook-listen", "server.webhook.listen", webhook_listen),
            ("--api-listen", "server.api.listen", api_listen),
            ("--tls-dir", "tls.dir", tls_dir),
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
    until_told(app::serve(config))
}

/// Runs a process that serves to its end.
pub(super) fn until_told(serving: impl Future<Output = Result<(), ServeError>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(serving) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(ServeError::Policies(diagnostics)) => Err(Invalid(diagnostics).into()),
        Err(ServeError::Other(error)) => Err(error),
    }
}
