//! `waypost controller`

use std::process::ExitCode;

use clap::ValueHint;

use super::options::{ProcessArgs, set};
use crate::app;
use crate::config::{Config, Flags};

/// Look after certificates, registries and pull secrets in the cluster, until told to stop.
///
/// It is what the Helm chart runs beside `waypost webhook`. Any number may run: the one that holds the Lease works, and
/// another takes over when it ends or is no longer heard of.
///
/// With --certificate-secret it makes an authority and a serving certificate for the Service, keeps them in that Secret (the
/// authority's key in a second one, with `-ca` at the end of its name), renews them in time, and keeps the `caBundle` of the
/// MutatingWebhookConfiguration, whoever changes it. An authority is replaced step by step, so that the API server trusts every
/// replica at every moment. Without it, certificates are cert-manager's or yours, and it leaves them alone.
///
/// It keeps in each namespace the pull secret with the credentials of the registries that are for it, asks registries whether they
/// answer, makes those that the files of `registries.dir` declare, tells Policy objects whether they decide, and, with
/// `server.api.secret`, serves the REST API, which followers do as well.
///
/// SIGTERM and Ctrl-C end it, and give the Lease back.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  In a Pod, with certificates to look after:
      waypost controller --certificate-secret waypost-certificate --service waypost --webhook-configuration waypost

  In a Pod, where cert-manager looks after them:
      waypost controller

  Have the authority replaced at once, or the certificate with `leaf`:
      kubectl annotate secret waypost-certificate waypost.dev/rotate=ca

  Outside of a cluster, to try it:
      waypost controller --kubeconfig ~/.kube/config --namespace waypost \\
          --certificate-secret waypost-certificate --service waypost --webhook-configuration waypost")]
pub struct Args {
    /// The name of the Lease, and of the Deployment that owns what is made [default: waypost-controller].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The namespace of Waypost [default: the Pod's own, or that of the kubeconfig's context].
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Keep the webhook's certificate in this Secret; needs --service and --webhook-configuration [default: none is kept].
    #[arg(long, value_name = "NAME")]
    pub certificate_secret: Option<String>,

    /// The Service that the certificate is for.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// The MutatingWebhookConfiguration that must trust it.
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
            name,
            namespace,
            certificate_secret,
            service,
            webhook_configuration,
            kubeconfig,
            process,
        } = self;
        let mut flags = Flags::default();
        for (flag, key, value) in [
            ("--name", "controller.name", name),
            ("--namespace", "cluster.namespace", namespace),
            ("--certificate-secret", "certificates.secret", certificate_secret),
            ("--service", "certificates.service", service),
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

/// Works until told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::controller(config))?;
    Ok(ExitCode::SUCCESS)
}
