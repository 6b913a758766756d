//! `waypost crds`

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::Value;

use super::write_stdout;
use crate::crds;

/// Print the CustomResourceDefinitions that make Waypost's objects known to a cluster.
///
/// With them, policies and registries can be objects: `kubectl apply` takes what a file of policies has, `kubectl get policies`
/// says whether each decides, `kubectl get registries` whether each answers, `kubectl get pushes` what was pushed where, and `kubectl explain registry.spec` what may be
/// written. The chart brings them by itself (`crds.install`); this command is for clusters with another way of installing
/// things. They stay until somebody deletes them, and everybody's objects go with them.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Make them known, or bring them up to date:
      waypost crds | kubectl apply -f -

  What would change?
      waypost crds | kubectl diff -f -

  From then on, a policy is an object:
      kubectl apply -f policies.d/mine.yaml
      kubectl get policies
      kubectl explain policy.spec.rules")]
pub struct Args {}

/// Prints them on stdout, as YAML documents.
///
/// # Errors
/// Those of writing.
pub fn run(Args {}: Args) -> anyhow::Result<ExitCode> {
    let mut all = String::new();
    for definition in crds::all() {
        write!(all, "---\n{}", yaml(&definition)?)?;
    }
    write_stdout(all)?;
    Ok(ExitCode::SUCCESS)
}

/// One of them, as it is published: also a file of the chart, `files/crds/NAME.yaml`.
///
/// # Errors
/// None that occur.
pub fn yaml(definition: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! {
        min_fold_chars: usize::MAX,
        prefer_block_scalars: true,
    };
    Ok(serde_saphyr::to_string_with_options(definition, options)?)
}
