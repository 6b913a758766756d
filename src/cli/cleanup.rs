//! `waypost cleanup`

use std::process::ExitCode;

use clap::ValueHint;

use super::options::set;
use crate::app;
use crate::config::{Config, Flags};

/// Delete what Waypost has left in a cluster.
///
/// Run it when nobody keeps it any more: a controller that works puts it back. The Helm chart does so after an uninstall, with
/// `cleanup.pullSecrets: true`.
///
/// With --pull-secrets the pull secrets go from all namespaces. Secrets of the same name that Waypost has not made stay.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  After an uninstall:
      waypost cleanup --pull-secrets --kubeconfig ~/.kube/config")]
pub struct Args {
    /// Delete the pull secrets.
    #[arg(long, required = true)]
    pub pull_secrets: bool,

    /// Their name [default: the key `pull.secret`, waypost-pull].
    #[arg(long, value_name = "NAME")]
    pub pull_secret: Option<String>,

    /// The cluster is the one that this kubeconfig's current context names [default: the one that the Pod is in].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<String>,
}

impl Args {
    /// What they say about the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let Self {
            pull_secrets: _,
            pull_secret,
            kubeconfig,
        } = self;
        let mut flags = Flags::default();
        set(&mut flags, "--pull-secret", "pull.secret", pull_secret.as_ref());
        set(&mut flags, "--kubeconfig", "cluster.kubeconfig", kubeconfig.as_ref());
        flags
    }
}

/// Deletes it.
///
/// # Errors
/// When something is left.
pub fn run(args: &Args, config: Config) -> anyhow::Result<ExitCode> {
    if args.pull_secrets {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let name = config.pull.secret;
        let deleted = runtime.block_on(app::delete_pull_secrets(config.cluster.kubeconfig, &name))?;
        tracing::info!(deleted, "{deleted} pull secrets called {name} were deleted");
    }
    Ok(ExitCode::SUCCESS)
}
