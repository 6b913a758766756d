//! `waypost docker-config`: pull credentials for the programs of this machine.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{output, write_stdout};
use crate::app::{self, DockerConfigFor};
use crate::config::Config;

/// Print a docker config with the pull credentials of this machine's registries.
///
/// In a cluster Waypost keeps these credentials in the namespaces that may use them, and nodes are not touched. On one machine,
/// `docker`, `podman` or a kubelet read them from a file: this prints that file. It holds passwords: write it where only its
/// reader can read it, and write it again when a password has changed.
///
/// Credentials are read from the store (`store.path`), which one process has at a time: stop `waypost serve` for a moment. Its REST API
/// gives credentials to nobody.
///
/// Registries without a pull credential have no entry. Where tokens are issued (the locations `ecr` and `gcr`) the entry is the token that
/// was issued last, which works for hours at most: until when is said on stderr. No key is ever printed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  For docker, where it has no other logins:
      (umask 077; waypost docker-config > ~/.docker/config.json)

  For podman, skopeo and buildah, of one registry:
      (umask 077; waypost docker-config --for podman corp > ${XDG_RUNTIME_DIR}/containers/auth.json)

  For every Pod of a node, whatever its namespace:
      (umask 077; waypost docker-config --for kubelet > /var/lib/kubelet/config.json)

  Which registries have an entry?
      waypost docker-config | jq '.auths | keys'")]
pub struct Args {
    /// The registries, by id [default: all that have a pull credential].
    #[arg(value_name = "REGISTRY")]
    pub registries: Vec<String>,

    /// Who reads it: they call registries by different names.
    ///
    /// `docker` (and nerdctl, crane) knows hosts alone, so of several registries on one host one is taken; `podman` (and skopeo,
    /// buildah) and the `kubelet` know paths as well.
    #[arg(long = "for", value_name = "PROGRAM", default_value = "docker")]
    pub whose: Whose,
}

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// `docker`, `nerdctl`, `crane`.
    Docker,
    /// `podman`, `skopeo`, `buildah`.
    Podman,
    /// The kubelet.
    Kubelet,
}

/// Prints it.
///
/// # Errors
/// When the store cannot be read, or does not have what was asked for.
pub fn run(args: &Args, config: Config) -> anyhow::Result<ExitCode> {
    let whose = match args.whose {
        Whose::Docker => DockerConfigFor::Docker,
        Whose::Podman => DockerConfigFor::Podman,
        Whose::Kubelet => DockerConfigFor::Kubelet,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = runtime.block_on(app::docker_config(config.store, &args.registries, whose))?;
    for remark in &made.remarks {
        output::remark(remark);
    }
    write_stdout(&*made.json)?;
    write_stdout("\n")?;
    Ok(ExitCode::SUCCESS)
}
