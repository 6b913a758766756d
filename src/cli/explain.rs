//! `waypost explain`

mod explained;
mod text;

use std::process::ExitCode;
use std::str::FromStr;

use clap::ValueEnum;

use self::explained::Explained;
use self::text::Colours;
use super::{FINDINGS, Label, PolicyArgs, stdout_colour, write_stdout};
use crate::config::Config;
use crate::policy::Context;
use crate::snapshot::{BadRegistryName, BadTrialPush, Registered, Snapshot, Trial, TrialPush};

/// Show what becomes of images, and why.
///
/// Prints, for each image, its normal form, every rule that was tried and why it did or did not match, and the outcome. The
/// same code decides as in `serve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Where does alpine come from?
      waypost explain alpine

  In a namespace with labels, for a Pod with labels:
      waypost explain docker.io/org/app:1.2 --namespace reana-jobs \\
          --namespace-labels team=reana,tier=batch --pod-labels app=worker

  What if a registry were down?
      waypost explain alpine --unavailable registry.example.com

  Where would it come from, had it been pushed?
      waypost explain org/app:1 --push org/app:1=registry.example.com/team

  For a script:
      waypost explain alpine --format json | jq -r '.[].outcome'")]
pub struct Args {
    /// The images, as a Pod would write them.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,

    /// The namespace of the Pod.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub namespace: String,

    /// The labels of the namespace.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',')]
    pub namespace_labels: Vec<Label>,

    /// The labels of the Pod.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',')]
    pub pod_labels: Vec<Label>,

    /// The imagePullPolicy that the Pod says.
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub pull_policy: Option<String>,

    /// Decide as if this registry were down, all of it or one organization; may be given several times. All others are up.
    #[arg(long = "unavailable", value_name = "HOST[/ORG]", value_parser = registry_name)]
    pub unavailable: Vec<String>,

    /// Decide as if this image had been pushed into this registry, and each after the one before; may be given several times.
    #[arg(long = "push", value_name = "IMAGE=HOST[/ORG][@DIGEST]", value_parser = Push::from_str)]
    pub pushes: Vec<Push>,

    /// The form of what is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub policies: PolicyArgs,
}

/// A push that is made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    image: String,
    registry: String,
    digest: Option<String>,
}

impl Push {
    fn of(&self) -> TrialPush<'_> {
        TrialPush {
            image: &self.image,
            registry: &self.registry,
            digest: self.digest.as_deref(),
            finished_at: None,
        }
    }
}

impl FromStr for Push {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (image, place) = text
            .split_once('=')
            .ok_or("write IMAGE=HOST[/ORG][@DIGEST], such as org/app:1=registry.example.com/team")?;
        let (registry, digest) = place
            .split_once('@')
            .map_or((place, None), |(registry, digest)| (registry, Some(digest)));
        let push = Self {
            image: image.to_owned(),
            registry: registry.to_owned(),
            digest: digest.map(str::to_owned),
        };
        let result = Trial::default().push(push.of());
        result.map_err(|error: BadTrialPush| error.to_string())?;
        Ok(push)
    }
}

fn registry_name(name: &str) -> Result<String, BadRegistryName> {
    Registered::unavailable(name).map(|_| name.to_owned())
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON array.
    Json,
}

/// Explains each image on stdout.
///
/// # Errors
/// Policies that do not compile ([`Invalid`](super::Invalid)), and those of writing.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut snapshot = Snapshot::new(super::compile(config)?.into(), 1);
    let mut trial = Trial::default();
    for push in &args.pushes {
        trial.push(push.of())?;
    }
    for name in &args.unavailable {
        trial.down(name)?;
    }
    trial.apply(&mut snapshot);
    let namespace_labels = Label::map(&args.namespace_labels);
    let pod_labels = Label::map(&args.pod_labels);
    let context = Context {
        namespace: &args.namespace,
        namespace_labels: &namespace_labels,
        pod_labels: &pod_labels,
    };
    let explained: Vec<Explained> = args
        .images
        .iter()
        .map(|image| Explained::of(&snapshot, &context, image, args.pull_policy.as_deref()))
        .collect();
    match args.format {
        Format::Text => {
            let colours = Colours::new(stdout_colour());
            let texts: Vec<String> = explained
                .iter()
                .map(|explained| text::render(explained, &colours))
                .collect();
            write_stdout(texts.join("\n"))?;
        }
        Format::Json => {
            let mut json = serde_json::to_string_pretty(&explained)?;
            json.push('\n');
            write_stdout(json)?;
        }
    }
    let found = explained
        .iter()
        .any(|explained| matches!(explained.outcome, "denied" | "unparsable" | "invalid_target"));
    Ok(if found {
        ExitCode::from(FINDINGS)
    } else {
        ExitCode::SUCCESS
    })
}
