//! `waypost outdated`: running Pods that have another image than the latest push of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use clap::{ValueEnum, ValueHint};
use jiff::Timestamp;
use serde_json::json;

use super::options::set;
use super::{FINDINGS, output, write_stdout};
use crate::app;
use crate::config::{Config, Flags};
use crate::pushes::outdated::{Finding, Outdated, Owner, Place};

/// Show running Pods whose image is not the latest push of it, and what to restart.
///
/// A Pod is pulled for when it starts: what is pushed after that reaches it with its next start. This compares what nodes say that they
/// run with the push records of the cluster (`kubectl get pushes`), and says whom to restart. Images that nobody pushed are not
/// mentioned, and neither are those that the Pod's author wrote with a digest.
///
/// It takes the rights to list Pods, and `registries` and `pushes` of waypost.dev.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = "\
Examples:
  Everything, and what to do:
      waypost outdated --kubeconfig ~/.kube/config

  Restart what is outdated in a namespace:
      waypost outdated --kubeconfig ~/.kube/config -n prod -o json | jq -r '.items[].command' | sort -u | sh

Exit status: 0 none, 1 some are outdated, 2 usage or cluster.")]
pub struct Args {
    /// Pods of this namespace [default: of all].
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// How to print them.
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: Output,

    /// The cluster is the one that this kubeconfig's current context names [default: the one that the Pod is in].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<String>,
}

/// How to print them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

impl Args {
    /// What they say about the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let Self {
            namespace: _,
            output: _,
            kubeconfig,
        } = self;
        let mut flags = Flags::default();
        set(&mut flags, "--kubeconfig", "cluster.kubeconfig", kubeconfig.as_ref());
        flags
    }
}

/// Prints them.
///
/// # Errors
/// When the cluster does not answer.
pub fn run(args: &Args, config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let namespace = args.namespace.as_deref();
    let outdated = runtime.block_on(app::outdated(config.cluster.kubeconfig, namespace))?;
    match args.output {
        Output::Table => write_stdout(table(&outdated, Timestamp::now()))?,
        Output::Json => write_stdout(format!("{}\n", as_json(&outdated)))?,
    }
    if outdated.unknown > 0 {
        output::remark(&format!(
            "what {} containers run cannot be compared: their nodes do not say from where they have it",
            outdated.unknown
        ));
    }
    Ok(if outdated.findings().len() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDINGS)
    })
}

fn table(outdated: &Outdated, now: Timestamp) -> String {
    if outdated.findings().len() == 0 {
        return String::new();
    }
    let mut rows = vec![["NAMESPACE", "OWNER", "CONTAINER", "IMAGE", "RUNNING", "LATEST", "PODS"].map(str::to_owned)];
    for (place, finding) in outdated.findings() {
        let latest = &finding.latest;
        rows.push([
            place.namespace.to_string(),
            format!("{}/{}", place.owner.kind, place.owner.name),
            place.container.to_string(),
            place.image.to_string(),
            short(&place.running),
            format!(
                "{} in {}, {} ago",
                short(&latest.digest),
                latest.registry,
                age(now, latest.finished_at)
            ),
            finding.pods.to_string(),
        ]);
    }
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; 7] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text.push('\n');
    for command in commands(outdated).into_values() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{command}");
    }
    text
}

fn as_json(outdated: &Outdated) -> serde_json::Value {
    let commands = commands(outdated);
    let items: Vec<_> = outdated
        .findings()
        .map(|(place, finding)| {
            json!({
                "namespace": place.namespace,
                "owner": {"kind": place.owner.kind, "name": place.owner.name},
                "container": place.container,
                "image": place.image,
                "running": place.running,
                "latest": {
                    "registry_id": finding.latest.registry,
                    "digest": finding.latest.digest,
                    "finished_at": finding.latest.finished_at,
                },
                "pods": finding.pods,
                "command": commands.get(&(&*place.namespace, &place.owner)),
            })
        })
        .collect();
    json!({"items": items, "unknown": outdated.unknown})
}

/// What to do, by namespace and owner.
fn commands(outdated: &Outdated) -> BTreeMap<(&str, &Owner), String> {
    let mut pods: BTreeMap<_, (&Owner, Vec<&str>, usize)> = BTreeMap::new();
    for (Place { namespace, owner, .. }, Finding { names, pods: count, .. }) in outdated.findings() {
        let (_, known, most) = pods.entry((&**namespace, owner)).or_insert((owner, Vec::new(), 0));
        known.extend(names.iter().map(|name| &**name));
        *most = (*most).max(*count);
    }
    pods.into_iter()
        .map(|((namespace, owner), (_, mut names, count))| {
            names.sort_unstable();
            names.dedup();
            let command = match &*owner.kind {
                "Deployment" | "StatefulSet" | "DaemonSet" => format!(
                    "kubectl rollout restart {}/{} -n {namespace}",
                    owner.kind.to_ascii_lowercase(),
                    owner.name
                ),
                "Job" => format!(
                    "# Job {}/{}: what runs ends, and the next one has it",
                    namespace, owner.name
                ),
                "Pod" => format!("# Pod {}/{}: delete it, and make it again", namespace, owner.name),
                kind => {
                    let more = if names.len() < count { " # and others" } else { "" };
                    format!(
                        "kubectl delete pod {} -n {namespace} # of {kind} {}{more}",
                        names.join(" "),
                        owner.name
                    )
                }
            };
            ((namespace, owner), command)
        })
        .collect()
}

/// As much of a digest as people compare.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// In the greatest unit that is full.
fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pushes::{
        Image, Index, Success,
        outdated::{Pod, Used},
    };

    fn outdated() -> Outdated {
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        let success = Success {
            target: "a.io/docker.io/myorg/app:1".into(),
            digest: digest('a').into(),
            platforms: Vec::new(),
            children: Vec::new(),
            finished_at: Timestamp::from_second(1_000).unwrap(),
            sequence: 1,
        };
        let image = Image::parse("myorg/app:1").unwrap();
        let index = Index::default().with([(&image, "sandbox", Some(&success))]);
        let mut outdated = Outdated::default();
        for (name, kind, owner) in [
            ("web-1", "Deployment", "web"),
            ("web-2", "Deployment", "web"),
            ("roll-1", "Rollout", "roll"),
            ("alone", "Pod", "alone"),
            ("job-1", "Job", "job"),
        ] {
            let used = Used {
                container: "app".into(),
                image: "a.io/docker.io/myorg/app:1".into(),
                source: Some("myorg/app:1".into()),
                running: Some(format!("a.io/docker.io/myorg/app@{}", digest('b')).into()),
                ephemeral: false,
            };
            outdated.add(
                &index,
                Pod {
                    namespace: "prod".into(),
                    name: name.into(),
                    owner: Owner {
                        kind: kind.into(),
                        name: owner.into(),
                    },
                    images: vec![used],
                },
            );
        }
        outdated
    }

    #[test]
    fn a_table_says_what_runs_what_would_run_and_what_to_do() {
        let now = Timestamp::from_second(1_000 + 3 * 3_600).unwrap();
        assert_eq!(
            table(&outdated(), now),
            "\
NAMESPACE   OWNER            CONTAINER   IMAGE                   RUNNING               LATEST                                   PODS
prod        Deployment/web   app         docker.io/myorg/app:1   sha256:bbbbbbbbbbbb   sha256:aaaaaaaaaaaa in sandbox, 3h ago   2
prod        Job/job          app         docker.io/myorg/app:1   sha256:bbbbbbbbbbbb   sha256:aaaaaaaaaaaa in sandbox, 3h ago   1
prod        Pod/alone        app         docker.io/myorg/app:1   sha256:bbbbbbbbbbbb   sha256:aaaaaaaaaaaa in sandbox, 3h ago   1
prod        Rollout/roll     app         docker.io/myorg/app:1   sha256:bbbbbbbbbbbb   sha256:aaaaaaaaaaaa in sandbox, 3h ago   1

kubectl rollout restart deployment/web -n prod
# Job prod/job: what runs ends, and the next one has it
# Pod prod/alone: delete it, and make it again
kubectl delete pod roll-1 -n prod # of Rollout roll
"
        );
        assert_eq!(table(&Outdated::default(), now), "");
    }

    #[test]
    fn json_has_it_all() {
        let json = as_json(&outdated());
        let first = &json["items"][0];
        assert_eq!(first["owner"], json!({"kind": "Deployment", "name": "web"}));
        assert_eq!(first["latest"]["registry_id"], "sandbox");
        assert_eq!(first["latest"]["finished_at"], "1970-01-01T00:16:40Z");
        assert_eq!(first["command"], "kubectl rollout restart deployment/web -n prod");
        assert_eq!(first["pods"], 2);
    }
}
