//! Flags that several commands have.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::{Args, ValueEnum, ValueHint};

use crate::config::{Flags, Preset, Setting};

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorWhen {
    /// Makes it hold for everything that asks [`stdout_colour`](super::stdout_colour) or
    /// [`stderr_colour`](super::stderr_colour), the log included.
    pub(super) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Where policies come from.
#[derive(Clone, Debug, Default, Args)]
pub struct PolicyArgs {
    /// The directory of policies [default: the key `policies.dir`, `policies.d`].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub policies: Option<String>,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten)]
    pub presets: PresetArgs,
}

/// Presets on top of those of the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct PresetArgs {
    /// Switch a preset on, beside those of the configuration; may be given several times.
    ///
    /// Values that the preset asks for follow its name: `--preset mirror,host=registry.example.org`. For a preset that the
    /// configuration lists already, only the values are taken.
    #[arg(long = "preset", value_name = "NAME[,KEY=VALUE]…", value_parser = preset)]
    pub presets: Vec<Preset>,
}

/// What every process has that goes on until it is told to stop.
#[derive(Clone, Debug, Default, Args)]
pub struct ProcessArgs {
    /// The address of metrics and health [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,

    /// How much is logged [default: info].
    #[arg(long, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: Option<String>,

    /// The form of the log [default: auto, which is text on a terminal and json elsewhere].
    #[arg(long, value_name = "FORMAT", value_parser = ["auto", "text", "json"])]
    pub log_format: Option<String>,
}

impl ProcessArgs {
    /// Adds what they say about the configuration.
    pub(super) fn set(&self, flags: &mut Flags) {
        let Self {
            admin_listen,
            log_level,
            log_format,
        } = self;
        set(flags, "--admin-listen", "server.admin.listen", admin_listen.as_ref());
        set(flags, "--log-level", "log.level", log_level.as_ref());
        set(flags, "--log-format", "log.format", log_format.as_ref());
    }
}

impl PolicyArgs {
    /// Whether the directory that was named is there: that of the configuration may be absent.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if let Some(dir) = &self.policies {
            anyhow::ensure!(std::path::Path::new(dir).exists(), "there is no directory `{dir}`");
        }
        Ok(())
    }

    /// What they say about the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let mut flags = self.presets.flags();
        set(&mut flags, "--policies", "policies.dir", self.policies.as_ref());
        flags
    }
}

impl PresetArgs {
    /// What they say about the configuration.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags {
            settings: Vec::new(),
            presets: self.presets.clone(),
        }
    }
}

/// Adds a flag that was given to those that set a key.
pub(super) fn set(flags: &mut Flags, flag: &'static str, key: &'static str, value: Option<&String>) {
    flags.settings.extend(value.map(|value| Setting {
        flag,
        key,
        value: value.clone(),
    }));
}

/// A label as it is written on the command line: `key=value`, the value may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The part before the first `=`.
    pub key: String,
    /// The part after it.
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(format!("a label is written KEY=VALUE, and `{text}` is not")),
        }
    }
}

impl Label {
    /// Labels as Kubernetes has them; of two with one key the last counts.
    #[must_use]
    pub fn map(labels: &[Self]) -> BTreeMap<String, String> {
        labels
            .iter()
            .map(|label| (label.key.clone(), label.value.clone()))
            .collect()
    }
}

fn preset(text: &str) -> Result<Preset, String> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    if name.is_empty() || name.contains('=') {
        return Err("a preset begins with its name: NAME,KEY=VALUE".to_owned());
    }
    let mut values = BTreeMap::new();
    for part in parts {
        let Some((key, value)) = part.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("a value is written KEY=VALUE, and `{part}` is not"));
        };
        if values.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("`{key}` is given twice"));
        }
    }
    Ok(Preset {
        name: name.to_owned(),
        values,
    })
}
