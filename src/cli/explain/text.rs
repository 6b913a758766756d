//! An explanation for people.

use std::fmt::Write;

use super::explained::Explained;

/// The colours of a terminal, or none.
pub(super) struct Colours {
    bold: &'static str,
    green: &'static str,
    dim: &'static str,
    red: &'static str,
    end: &'static str,
}

impl Colours {
    pub(super) fn new(on: bool) -> Self {
        if on {
            Self {
                bold: "\x1b[1m",
                green: "\x1b[32m",
                dim: "\x1b[2m",
                red: "\x1b[31m",
                end: "\x1b[0m",
            }
        } else {
            Self {
                bold: "",
                green: "",
                dim: "",
                red: "",
                end: "",
            }
        }
    }
}

/// An image in a few lines, with a table of the rules.
pub(super) fn render(explained: &Explained, colours: &Colours) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(explained, colours, &mut text);
    text
}

fn write(explained: &Explained, colours: &Colours, out: &mut String) -> std::fmt::Result {
    let Colours {
        bold,
        green,
        dim,
        red,
        end,
    } = colours;
    writeln!(out, "{bold}{}{end}", explained.input.escape_debug())?;
    let mut row = |name: &str, value: &str| writeln!(out, "  {name:<12}{value}");
    if let Some(normal) = &explained.normal {
        row("is", &normal.canonical)?;
        row("registry", &normal.registry)?;
        row("repository", &normal.repository)?;
        match (&normal.tag, &normal.digest) {
            (None, None) => row("tag", "none given: matches as latest")?,
            (tag, _) => row("tag", tag.as_deref().unwrap_or("none"))?,
        }
        if let Some(digest) = &normal.digest {
            row("digest", digest)?;
        }
    }
    if let Some(error) = &explained.error {
        row("is not", error)?;
    }
    row("namespace", &explained.namespace)?;
    if !explained.rules.is_empty() {
        writeln!(out, "  rules, in their order")?;
        let width = explained.rules.iter().map(|rule| rule.rule.len()).max().unwrap_or(0);
        for rule in &explained.rules {
            let (mark, colour) = match rule.verdict {
                "decides" | "decides_on_source" | "decides_on_target" | "denies_target" => ("✓", green),
                "does_not_match" => ("✗", red),
                _ => ("·", dim),
            };
            writeln!(
                out,
                "    {colour}{mark}{end} {:<width$}  {dim}{}{end}",
                rule.rule, rule.reason
            )?;
            for push in &rule.pushes {
                writeln!(out, "        {}  {dim}pushed from {}{end}", push.target, push.image)?;
                writeln!(
                    out,
                    "          {dim}into {} at {}, {}{end}",
                    push.registry_id, push.finished_at, push.digest
                )?;
            }
            // Where nothing is down, the outcome says it all.
            for target in rule.targets.iter().filter(|_| rule.any_unavailable()) {
                writeln!(out, "        {}  {dim}{}{end}", target.target, target.reason)?;
            }
        }
    }
    let by = explained
        .rule
        .as_ref()
        .map_or(String::new(), |rule| format!(" by {rule}"));
    let mut row = |name: &str, value: &str| writeln!(out, "  {name:<12}{value}");
    row("outcome", &format!("{bold}{}{end}{by}", explained.outcome))?;
    if let Some(target) = &explained.target {
        row("pulled from", &format!("{green}{target}{end}"))?;
    }
    row("pull policy", explained.pull_policy.unwrap_or("as the Pod says"))?;
    let secrets = if explained.pull_secrets.is_empty() {
        "none added".to_owned()
    } else {
        format!("{} added", explained.pull_secrets.join(", "))
    };
    row("secrets", &secrets)?;
    if let Some(replicated) = &explained.replicate {
        let (registry, rule) = (&replicated.registry_id, &replicated.rule);
        let what = match replicated.why_not {
            None => format!("into {registry} by {rule}, when a Pod uses it"),
            Some(why) => format!("not into {registry} by {rule}: {why}"),
        };
        row("replicated", &what)?;
    }
    for note in &explained.notes {
        row("note", note)?;
    }
    Ok(())
}
