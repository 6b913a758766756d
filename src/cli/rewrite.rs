//! `waypost rewrite`

mod diff;

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueHint;

use super::{FINDINGS, Invalid, Label, PolicyArgs, output, stdout_colour, write_stdout};
use crate::config::Config;
use crate::document::{Diagnostic, Source};
use crate::manifest::{self, MAX_BYTES, Options};
use crate::snapshot::Snapshot;

/// Rewrite the images of manifests.
///
/// Reads manifests, YAML or JSON, and prints them with the images that the webhook would put into their Pods. Nothing else
/// changes: comments, order, anchors and quoting stay, and a manifest that needs no change is printed byte for byte. The
/// webhook then leaves these Pods' images alone.
///
/// Pods and the Pod templates of Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob and
/// PodTemplate are rewritten, also within a List. Other kinds pass untouched: the webhook sees to their Pods.
///
/// What is left as it is, and why, is said on stderr. The exit status is 1 where a rule denies an image, which stays as it
/// is while all others are rewritten; it is 2, and nothing is printed, where a manifest is no YAML.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  What would change in a chart?
      helm template my-chart | waypost rewrite --diff

  Files, for the namespace that they will be applied in:
      waypost rewrite --namespace reana deploy/*.yaml | kubectl apply -n reana -f -

  With pull policies and pull secrets, so that nothing is left for the webhook:
      kustomize build overlays/prod | waypost rewrite --pull --preset cern-pull-through

  As a post-renderer of Helm 3 (Helm 4 asks for a plugin: see docs/rewrite.md):
      helm install my-release my-chart --post-renderer waypost --post-renderer-args rewrite")]
pub struct Args {
    /// The manifests, or `-` for stdin [default: stdin].
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<String>,

    /// Write pull policies and pull secrets, too, as the webhook would.
    #[arg(long)]
    pub pull: bool,

    /// Print what changes, as a unified diff, instead of the manifests. Differences do not change the exit status.
    #[arg(long)]
    pub diff: bool,

    /// The namespace of objects that name none.
    #[arg(long, short, value_name = "NAME", default_value = "default")]
    pub namespace: String,

    /// The labels of the namespaces that the objects are in.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',')]
    pub namespace_labels: Vec<Label>,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub policies: PolicyArgs,
}

/// Prints the manifests on stdout, all or none of them.
///
/// # Errors
/// Policies that do not compile and manifests that are no YAML ([`Invalid`]), and those of reading and writing.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let set = super::compile(config)?;
    let snapshot = Snapshot::new(set.into(), 1);
    let namespace_labels = Label::map(&args.namespace_labels);
    let options = Options {
        pull: args.pull,
        namespace: &args.namespace,
        namespace_labels: &namespace_labels,
    };
    let stdin = ["-".to_owned()];
    let files = if args.files.is_empty() { &stdin[..] } else { &args.files };
    anyhow::ensure!(
        files.iter().filter(|file| *file == "-").count() <= 1,
        "stdin can be read only once: give `-` once"
    );
    let mut sources = Vec::with_capacity(files.len());
    let mut refused = Vec::new();
    for file in files {
        match read(file)? {
            Ok(source) => sources.push(source),
            Err(problem) => refused.push(*problem),
        }
    }
    let mut findings = Vec::new();
    let mut out = String::new();
    for source in &sources {
        match manifest::rewrite(&snapshot, source, &options) {
            Ok(rewritten) => {
                findings.extend(rewritten.findings);
                if args.diff {
                    out.push_str(&diff::unified(source, &rewritten.text, stdout_colour()));
                } else {
                    append(&mut out, &rewritten.text);
                }
            }
            Err(problems) => refused.extend(problems),
        }
    }
    if !refused.is_empty() {
        return Err(Invalid(refused).into());
    }
    output::warn(&findings);
    write_stdout(out)?;
    Ok(if findings.iter().any(Diagnostic::is_error) {
        ExitCode::from(FINDINGS)
    } else {
        ExitCode::SUCCESS
    })
}

fn read(file: &str) -> anyhow::Result<Result<Source, Box<Diagnostic>>> {
    let (name, bytes) = if file == "-" {
        let mut bytes = Vec::new();
        // One more than may be, so that it is seen to be too much.
        let limited = std::io::stdin()
            .lock()
            .take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes);
        limited.context("stdin cannot be read")?;
        ("<stdin>", bytes)
    } else {
        (
            file,
            std::fs::read(file).with_context(|| format!("{file} cannot be read"))?,
        )
    };
    Ok(Source::from_bytes_up_to(MAX_BYTES, name, &bytes))
}

/// Puts one more manifest behind others, as a document of its own. The first stays byte for byte.
fn append(all: &mut String, manifest: &str) {
    if all.trim().is_empty() {
        all.push_str(manifest);
        return;
    }
    // Within a stream there is no byte order mark that readers take.
    let manifest = manifest.strip_prefix('\u{feff}').unwrap_or(manifest);
    if !all.ends_with(['\n', '\r']) {
        all.push('\n');
    }
    let is_text = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let is_marker = |line: &str, marker: &str| {
        line.strip_prefix(marker)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    };
    let begins = manifest.lines().find(is_text).unwrap_or_default();
    let ended = all
        .lines()
        .next_back()
        .is_some_and(|line| is_marker(line, "---") || is_marker(line, "..."));
    if begins.starts_with('%') {
        all.push_str("...\n");
    } else if !ended && !is_marker(begins, "---") {
        all.push_str("---\n");
    }
    all.push_str(manifest);
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn manifests_are_documents_of_their_own() {
        let rows = [
            (&["a: 1\n", "b: 1\n"][..], "a: 1\n---\nb: 1\n"),
            (&["a: 1", "# b\n---\nb: 1"], "a: 1\n# b\n---\nb: 1"),
            (&["a: 1\n---\n", "b: 1\n"], "a: 1\n---\nb: 1\n"),
            (&["a: 1\n...\n", "\u{feff}b: 1\n"], "a: 1\n...\nb: 1\n"),
            (&["", "b: 1\n"], "b: 1\n"),
            (&["{}", "%YAML 1.2\n---\nb: 1\n"], "{}\n...\n%YAML 1.2\n---\nb: 1\n"),
            (&["\u{feff}a: 1"], "\u{feff}a: 1"),
        ];
        for (manifests, expected) in rows {
            let mut all = String::new();
            manifests.iter().for_each(|manifest| append(&mut all, manifest));
            assert_eq!(all, expected);
        }
    }
}
