//! `waypost schema`

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use super::write_stdout;
use crate::config::raw::Raw;
use crate::policy::spec::{self, PolicyDocument, PresetDocument};

/// Print the JSON Schema of what Waypost reads.
///
/// Editors complete and check with it. The schemas are also files of the source: schemas/policy.json, schemas/preset.json
/// and schemas/config.json.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Of policies, for an editor with the YAML language server:
      waypost schema > policy.json
      sed -i '1i # yaml-language-server: $schema=policy.json' policies.d/mine.yaml

  Of the configuration, waypost.yaml:
      waypost schema config")]
pub struct Args {
    /// The kind of document.
    #[arg(value_name = "OF", default_value = "policy")]
    pub of: Kind,
}

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A policy, as in policies.d.
    Policy,
    /// A preset.
    Preset,
    /// The configuration, waypost.yaml.
    Config,
}

/// Prints the schema on stdout.
///
/// # Errors
/// Those of writing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    write_stdout(text(args.of)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The schema as it is published: JSON (draft 2020-12) with descriptions and titles, in which nothing may be null.
///
/// # Errors
/// None that occur.
pub fn text(kind: Kind) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&schema(kind))?;
    text.push('\n');
    Ok(text)
}

fn schema(kind: Kind) -> Value {
    let (mut schema, title) = match kind {
        Kind::Policy => (spec::schema::<PolicyDocument>(), "Waypost policy"),
        Kind::Preset => (spec::schema::<PresetDocument>(), "Waypost preset"),
        Kind::Config => (spec::schema::<Raw>(), "Waypost configuration"),
    };
    without_null_defaults(&mut schema);
    if let Value::Object(head) = &mut schema {
        head.insert("$id".to_owned(), kind.id().into());
        head.insert("title".to_owned(), title.into());
    }
    schema
}

/// An absent key is no null: editors would write the default down.
fn without_null_defaults(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(without_null_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null_defaults),
        _ => {}
    }
}

impl Kind {
    /// Its file in the directory `schemas`.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Policy => "policy.json",
            Self::Preset => "preset.json",
            Self::Config => "config.json",
        }
    }

    /// What identifies the schema: a name, not an address to fetch from.
    fn id(self) -> String {
        format!("https://waypost.dev/schemas/v1alpha1/{}", self.file())
    }
}

#[cfg(test)]
mod tests;
