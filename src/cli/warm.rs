//! `waypost warm`: the images that Pods use, pushed into a registry before they are needed there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueHint;

use super::options::set;
use super::remote::{self, End, LoginArgs, Work};
use super::{FINDINGS, output, write_stdout};
use crate::app::{self, Server, ServerFlags, Wanted, original};
use crate::config::{Config, Flags};

/// Push every image that Pods of a cluster use into a registry.
///
/// A Waypost that runs copies them, as `waypost push --server` has it: from then on new Pods pull them from there. Images that lie under
/// the registry already are left out; those that lie under another registry that Waypost knows are pushed as they are called where they come
/// from, by that registry's names. What Pods pin by a digest is pushed by that digest.
///
/// It asks the cluster of the kubeconfig for its Pods (the right to list them), and the Waypost of this machine, unless --server says
/// another, for the copies (the right `push` on the registry, and `list` on registries). It can be run again at any time: what is there costs a
/// few questions and no bytes.
///
/// On stdout it says of each image what became of it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  What would be pushed?
      waypost warm --registry corp --kubeconfig ~/.kube/config --dry-run

  The images of two namespaces, with their signatures:
      for namespace in web db; do
          waypost warm --registry corp --kubeconfig ~/.kube/config -n $namespace --referrers
      done

  By a Waypost in the cluster:
      waypost warm --registry corp --kubeconfig ~/.kube/config \\
          --server https://waypost.example.com --token-file token

Exit status: 0 all are there, 1 some are not, 2 usage, configuration or server, 130 interrupted.")]
pub struct Args {
    /// The registry that they go into, by its id.
    #[arg(long, value_name = "ID")]
    pub registry: String,

    /// Pods of this namespace [default: of all].
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Say which images would be pushed, and push none.
    #[arg(long)]
    pub dry_run: bool,

    /// Take signatures, SBOMs, and whatever else refers to an image along.
    #[arg(long)]
    pub referrers: bool,

    /// The cluster is the one that this kubeconfig's current context names [default: the one that the Pod is in].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<String>,

    /// The Waypost that copies them [default: that of this machine, at `server.api.listen`].
    #[arg(long, value_name = "https://HOST:PORT", value_hint = ValueHint::Url)]
    pub server: Option<String>,

    /// The file with the token for it [default: the variable WAYPOST_TOKEN, or `push.token` of this machine].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,

    /// A file with the authorities that its certificate may be of [default: `ca.crt` of this machine, besides those that everybody trusts].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub login: LoginArgs,
}

impl Args {
    /// What they say about the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        set(
            &mut flags,
            "--kubeconfig",
            "cluster.kubeconfig",
            self.kubeconfig.as_ref(),
        );
        flags
    }
}

/// Pushes them.
///
/// # Errors
/// When the cluster or the Waypost does not answer.
pub fn run(args: &Args, config: Config) -> anyhow::Result<ExitCode> {
    let server = ServerFlags {
        url: args.server.clone(),
        token_file: args.token_file.clone(),
        ca_file: args.ca_file.clone(),
    };
    let server = Server::of(&server, &config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let registries = runtime.block_on(server.registries())?;
    anyhow::ensure!(
        registries.iter().any(|registry| *registry.id == *args.registry),
        "there is no registry `{}` at {}: those there are: {}",
        args.registry.escape_debug(),
        server.url(),
        registries
            .iter()
            .map(|registry| &*registry.id)
            .collect::<Vec<_>>()
            .join(", ")
    );
    let in_use = runtime.block_on(app::images_in_use(config.cluster.kubeconfig, args.namespace.as_deref()))?;
    let images: BTreeSet<String> = in_use
        .iter()
        .filter_map(|image| original(image, &registries, &args.registry))
        .collect();
    let images: Vec<String> = images.into_iter().collect();
    if args.dry_run {
        for image in &images {
            write_stdout(format!("{image}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = Wanted {
        registry: args.registry.clone(),
        referrers: args.referrers,
        login: args.login.login()?,
    };
    let work = Work::new(&server, &wanted);
    output::remark(&format!(
        "{} images of Pods are not in {} by their names: they are pushed by {}",
        images.len(),
        args.registry,
        server.url()
    ));
    let mut ends = Vec::new();
    let done = runtime.block_on(work.run(&images, |image, end| ends.push((image.to_owned(), end))))?;
    write_stdout(table(ends.clone()))?;
    if done.is_none() {
        return Ok(remote::interrupted(&server, "the same command, which joins them,"));
    }
    let failed = ends.iter().filter(|(_, end)| matches!(end, End::Failed { .. })).count();
    if failed > 0 {
        output::remark(&format!("{failed} of {} images were not pushed", images.len()));
        return Ok(ExitCode::from(FINDINGS));
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of each, in the order of their names.
fn table(mut ends: Vec<(String, End)>) -> String {
    ends.sort_by(|(one, _), (other, _)| one.cmp(other));
    let rows = ends.into_iter().map(|(image, end)| match end {
        End::Asked { id } => (image, "asked for", id),
        End::Pushed { target } => (image, "pushed", target),
        End::WasThere { target } => (image, "was there", target),
        End::Failed { error, .. } => (image, "failed", error),
    });
    let rows: Vec<_> = std::iter::once(("IMAGE".to_owned(), "RESULT", "WHERE, OR WHY".to_owned()))
        .chain(rows)
        .collect();
    if rows.len() == 1 {
        return String::new();
    }
    let width = rows.iter().map(|(image, ..)| image.len()).max().unwrap_or_default();
    let line = |(image, result, about): &(String, &str, String)| format!("{image:width$}   {result:9}   {about}\n");
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_what_became_of_each() {
        let ends = vec![
            (
                "docker.io/b:1".to_owned(),
                End::Failed {
                    error: "r.io: denied".to_owned(),
                    recorded: true,
                },
            ),
            (
                "docker.io/library/a:1".to_owned(),
                End::Pushed {
                    target: "r.io/a:1@sha256:1".to_owned(),
                },
            ),
            (
                "a".to_owned(),
                End::WasThere {
                    target: "r.io/a@sha256:2".to_owned(),
                },
            ),
        ];
        assert_eq!(
            table(ends),
            "\
IMAGE                   RESULT      WHERE, OR WHY
a                       was there   r.io/a@sha256:2
docker.io/b:1           failed      r.io: denied
docker.io/library/a:1   pushed      r.io/a:1@sha256:1
"
        );
        assert_eq!(table(Vec::new()), "");
    }
}
