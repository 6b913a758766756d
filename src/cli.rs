//! The command line. stdout is data, stderr is talk; 0 is fine, 1 is findings, 2 is usage or configuration.

mod options;
mod output;
mod remote;

pub mod check;
pub mod cleanup;
pub mod completions;
pub mod controller;
pub mod crds;
pub mod docker_config;
pub mod explain;
pub mod outdated;
pub mod push;
pub mod reference;
pub mod review;
pub mod rewrite;
pub mod schema;
pub mod serve;
pub mod test;
pub mod warm;
pub mod webhook;
pub mod webhook_config;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueHint};

use crate::app;
use crate::config::{Config, Flags};
use crate::policy::PolicySet;
use crate::telemetry;

pub use options::{ColorWhen, Label, PolicyArgs, PresetArgs, ProcessArgs};
pub use output::{FINDINGS, Invalid, USAGE, stderr_colour, stdout_colour, write_stdout};

/// Decides which registry each image of a Pod is pulled from.
///
/// Waypost is an admission webhook for Kubernetes. Rules, in files of the directory `policies.d`, say which images are
/// pulled from another registry; `waypost serve` answers the API server by them at the moment a Pod is created, or, in a
/// cluster, `waypost webhook` with `waypost controller` beside it; the other commands show, without a cluster, what it would answer.
///
/// The configuration is `waypost.yaml` in the working directory or the file given with --config, then environment
/// variables (WAYPOST_LOG__LEVEL is the key `log.level`), then flags.
#[derive(Debug, Parser)]
#[command(
    name = "waypost",
    version,
    max_term_width = 100,
    after_long_help = "\
Examples:
  Are the policies in policies.d right?
      waypost check

  Where would these images be pulled from, and why?
      waypost explain alpine quay.io/org/app:1.2 --namespace reana

  What would change in the manifests of a chart?
      helm template my-chart | waypost rewrite --diff

  Answer the API server on this machine, and make it ask:
      waypost serve
      waypost webhook-config | kubectl apply -f -

Exit status: 0 fine, 1 findings, 2 usage or configuration."
)]
pub struct Cli {
    /// The configuration file.
    ///
    /// Without this flag, `waypost.yaml` in the working directory is read if there is one.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// When to use colours: `auto` does on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do. Each has its help on its arguments.
#[expect(
    missing_docs,
    reason = "docs here would take the place of the longer ones on the arguments"
)]
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(serve::Args),
    Webhook(webhook::Args),
    Controller(controller::Args),
    Review(review::Args),
    Rewrite(rewrite::Args),
    Explain(explain::Args),
    Check(check::Args),
    Test(test::Args),
    Reference(reference::Args),
    Schema(schema::Args),
    WebhookConfig(webhook_config::Args),
    Crds(crds::Args),
    Outdated(outdated::Args),
    Push(push::Args),
    Warm(warm::Args),
    DockerConfig(docker_config::Args),
    Cleanup(cleanup::Args),
    Completions(completions::Args),
}

impl Cli {
    /// Does what was asked for; reports on stderr why where it cannot.
    #[must_use]
    pub fn run(self) -> ExitCode {
        self.color.apply();
        self.dispatch().unwrap_or_else(|error| output::fail(&error))
    }

    fn dispatch(self) -> anyhow::Result<ExitCode> {
        let load = |flags: &Flags| Config::load(self.config.as_deref(), flags).map_err(Invalid);
        match self.command {
            Command::Serve(args) => {
                args.policies.check()?;
                let config = load(&args.flags())?;
                telemetry::init(&config.log)?;
                serve::run(config)
            }
            Command::Webhook(args) => {
                args.policies.check()?;
                let config = load(&args.flags())?;
                telemetry::init(&config.log)?;
                webhook::run(config)
            }
            Command::Controller(args) => {
                let config = load(&args.flags())?;
                telemetry::init(&config.log)?;
                controller::run(config)
            }
            Command::Review(args) => {
                args.policies.check()?;
                let config = load(&args.policies.flags())?;
                review::run(&config)
            }
            Command::Rewrite(args) => {
                args.policies.check()?;
                let config = load(&args.policies.flags())?;
                rewrite::run(&args, &config)
            }
            Command::Explain(args) => {
                args.policies.check()?;
                let config = load(&args.policies.flags())?;
                explain::run(&args, &config)
            }
            Command::Check(args) => {
                let config = load(&args.flags())?;
                check::run(&args, &config)
            }
            Command::Test(args) => {
                let config = load(&Flags::default())?;
                test::run(&args, &config)
            }
            Command::Reference(args) => reference::run(args),
            Command::Schema(args) => schema::run(&args),
            Command::WebhookConfig(args) => {
                let config = load(&Flags::default())?;
                webhook_config::run(args, &config)
            }
            Command::Crds(args) => crds::run(args),
            Command::Push(args) => push::run(&args, || load(&Flags::default())),
            Command::Warm(args) => {
                let config = load(&args.flags())?;
                warm::run(&args, config)
            }
            Command::Outdated(args) => {
                let config = load(&args.flags())?;
                outdated::run(&args, config)
            }
            Command::DockerConfig(args) => {
                let config = load(&Flags::default())?;
                docker_config::run(&args, config)
            }
            Command::Cleanup(args) => {
                let config = load(&args.flags())?;
                telemetry::init(&config.log)?;
                cleanup::run(&args, config)
            }
            Command::Completions(args) => completions::run(&args),
        }
    }
}

/// The policies of the configuration, for the commands that decide by them. Warnings go to stderr.
fn compile(config: &Config) -> anyhow::Result<PolicySet> {
    let compiled = app::policy_source(config).compile();
    match compiled.set {
        Some(set) => {
            output::warn(&compiled.diagnostics);
            Ok(set)
        }
        None => Err(Invalid(compiled.diagnostics).into()),
    }
}

const GLOBAL: &str = "Options of all commands";

#[cfg(test)]
mod tests;
