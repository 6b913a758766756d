//! From one rule as it is written to a compiled one.

use std::time::Duration;

use jiff::SignedDuration;

use crate::{
    document::{Path, Problem},
    policy::{
        Action, AnchoredRegex, Glob, ImageTest, LatestPush, Matching, Mode, OnUnavailable, Pattern, Pull, Replicate,
        Rule,
        index::Scope,
        matcher::MatcherBuilder,
        selector::LabelSelector,
        spec::{ImageMatch, MatchSpec, PullSpec, ReplicateSpec, RuleSpec, Warn},
    },
    registry::id_problem,
};

/// Compiles a rule, or says all that is wrong with it.
pub(in crate::policy) fn build(policy: &str, spec: RuleSpec, path: &Path, problems: &mut Vec<Problem>) -> Option<Rule> {
    let before = errors(problems);
    if !valid_label(&spec.name) {
        problems.push(
            Problem::error(
                "invalid-name",
                path.clone().key("name"),
                format!("the rule's name `{}` is not valid", spec.name.escape_debug()),
            )
            .hint("write lower-case letters, digits and -, beginning and ending with a letter or digit, 63 at most"),
        );
    }
    actions(&spec, path, problems);
    let lists_images = spec.matching.images.is_some();
    let replicate = spec
        .replicate
        .map(|replicate| replicating(replicate, lists_images, &path.clone().key("replicate"), problems));
    let matching = matching(spec.matching, &path.clone().key("match"), problems);
    let groups = groups_of_all(&matching);
    let replicates = replicate.iter().map(|replicate| &*replicate.registry);
    let pushed_to = spec.rewrite.iter().filter_map(|rewrite| rewrite.latest_push.as_ref());
    let pushed_to = pushed_to
        .filter_map(|latest| latest.registries.as_ref())
        .flatten()
        .map(String::as_str);
    let registries = replicates.chain(pushed_to).map(Into::into).collect();
    let action = match (spec.rewrite, spec.keep, spec.deny) {
        (Some(rewrite), ..) => {
            super::rewrite::rewriting(rewrite, &matching, &groups, &path.clone().key("rewrite"), problems)
        }
        (None, Some(_), _) => Action::Keep,
        (None, None, Some(deny)) => Action::Deny {
            message: deny.message.unwrap_or_else(|| DENIED.to_owned()).into(),
        },
        (None, None, None) => Action::Nothing,
    };
    let pull = pull(spec.pull, &path.clone().key("pull"), problems);
    if errors(problems) > before {
        return None;
    }
    Some(Rule {
        id: format!("{policy}/{}", spec.name).into(),
        policy_length: policy.len(),
        matching,
        action,
        pull,
        warn_mutable_tag: spec.warn.contains(&Warn::MutableTag),
        mode: spec.mode,
        replicate: replicate.filter(|_| spec.mode == Mode::Enforce).map(Box::new),
        registries,
    })
}

/// The groups that every test of the rule has, so that a template which uses one never lacks it.
fn groups_of_all(matching: &Matching) -> Vec<String> {
    let mut tests = matching.images.iter().flatten().map(|test| match test {
        ImageTest::Regex(regex) => regex.groups(),
        ImageTest::Pattern(_) => Vec::new(),
    });
    let mut common = tests.next().unwrap_or_default();
    for groups in tests {
        common.retain(|group| groups.contains(group));
    }
    common
}

/// The built-in rule: all images, where they were last pushed to.
pub(super) fn latest_push(pin: bool) -> Rule {
    Rule {
        id: format!("{}/latest-push", super::BUILT_IN).into(),
        policy_length: super::BUILT_IN.len(),
        matching: Matching::default(),
        action: Action::LatestPush(Box::new(LatestPush {
            registries: None,
            on_unavailable: OnUnavailable::default(),
            pin,
            preloaded: false,
            built_in: true,
        })),
        pull: Pull {
            policy: None,
            lower: false,
            secrets: Box::default(),
            inject: None,
        },
        warn_mutable_tag: false,
        mode: Mode::Enforce,
        replicate: None,
        registries: Box::default(),
    }
}

/// A DNS label.
pub(super) fn valid_label(name: &str) -> bool {
    id_problem(name).is_none()
}

/// The codes of problems that are about something missing.
pub(super) const MISSING: [&str; 3] = ["no-action", "no-target", "replicates-everything"];

/// What the user is told when the rule does not say.
const DENIED: &str = "this image may not be used here";

fn errors(problems: &[Problem]) -> usize {
    problems
        .iter()
        .filter(|problem| problem.severity == crate::document::Severity::Error)
        .count()
}

fn actions(spec: &RuleSpec, path: &Path, problems: &mut Vec<Problem>) {
    let present: Vec<&str> = [
        ("rewrite", spec.rewrite.is_some()),
        ("keep", spec.keep.is_some()),
        ("deny", spec.deny.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, present)| present.then_some(name))
    .collect();
    if present.len() > 1 {
        problems.push(
            Problem::error(
                "several-actions",
                path.clone().key(present[1]),
                format!("a rule has one action, this one has {}", present.join(" and ")),
            )
            .on_key()
            .hint("make a rule of each: the first that decides wins"),
        );
    }
    if spec.deny.is_some() && spec.replicate.is_some() {
        problems.push(
            Problem::error(
                "replicates-denied",
                path.clone().key("replicate"),
                "an image that is refused is not replicated",
            )
            .on_key()
            .hint("take it out, or make a rule of it that matches other images"),
        );
    }
    if present.is_empty() && spec.replicate.is_none() {
        problems.push(
            Problem::error(
                "no-action",
                path.clone().key("name"),
                format!("the rule `{}` says nothing of what becomes of its images", spec.name),
            )
            .hint("add `rewrite: {prefix: registry.example.com}`, `keep: {}` or `deny: {message: …}`"),
        );
    }
}

/// Where images are pushed to. What every image of a cluster would be pushed to by an oversight is no small thing: the rule has to list them.
/// `when` needs no look: there is nothing else that it could be.
fn replicating(spec: ReplicateSpec, lists_images: bool, path: &Path, problems: &mut Vec<Problem>) -> Replicate {
    if !lists_images {
        problems.push(
            Problem::error(
                "replicates-everything",
                path.clone(),
                "a rule that replicates lists the images that it is for",
            )
            .on_key()
            .hint("add `match: {images: [docker.io/**]}`, with the images that are to be pushed into the registry"),
        );
    }
    if let Some(problem) = id_problem(&spec.registry) {
        problems.push(super::rewrite::no_registry_id(
            &spec.registry,
            problem,
            path.clone().key("registry"),
        ));
    }
    let parsed = spec.refresh.as_deref().map(|text| {
        let refresh: Option<SignedDuration> = text.parse().ok();
        let refresh = refresh.filter(SignedDuration::is_positive);
        refresh.map(SignedDuration::unsigned_abs).ok_or(text)
    });
    let refresh = parsed.unwrap_or(Ok(REFRESH)).unwrap_or_else(|text| {
        let path = path.clone().key("refresh");
        let message = format!("`{}` is no duration", text.escape_debug());
        problems.push(Problem::error("invalid-duration", path, message).hint("write for example 1h, 30m or 90s"));
        REFRESH
    });
    Replicate {
        registry: spec.registry.into(),
        refresh,
        referrers: spec.referrers,
    }
}

/// How old a push may be before a tag is looked at again, where the rule does not say.
const REFRESH: Duration = Duration::from_secs(3600);

fn matching(spec: MatchSpec, path: &Path, problems: &mut Vec<Problem>) -> Matching {
    let namespaces = |globs: Option<Vec<String>>, key: &str, problems: &mut Vec<Problem>| {
        globs.map(|globs| {
            let path = path.clone().key(key);
            globs
                .iter()
                .enumerate()
                .map(|(index, glob)| namespace(glob, path.clone().index(index), problems))
                .collect()
        })
    };
    let selector = |selector: Option<LabelSelector>, key: &str, problems: &mut Vec<Problem>| {
        let selector = selector?;
        for (steps, message, hint) in selector.problems() {
            let path = steps
                .into_iter()
                .fold(path.clone().key(key), |path, step| match step.parse() {
                    Ok(index) => path.index(index),
                    Err(_) => path.key(step),
                });
            problems.push(Problem::error("invalid-selector", path, message).hint(hint));
        }
        Some(Box::new(selector))
    };
    Matching {
        images: spec
            .images
            .map(|tests| images(tests, path.clone().key("images"), problems)),
        except_images: spec.except_images.and_then(|tests| {
            let path = path.clone().key("exceptImages");
            let tests = images(tests, path.clone(), problems);
            let mut builder = MatcherBuilder::new();
            for test in &tests {
                match test {
                    ImageTest::Pattern(pattern) => builder.pattern(pattern, Scope::All, 0),
                    ImageTest::Regex(regex) => builder.regex(regex, 0),
                }
            }
            match builder.build() {
                Ok(matcher) => Some(Box::new((tests, matcher))),
                Err(error) => {
                    problems.push(Problem::error(
                        "invalid-regex",
                        path,
                        format!("these regular expressions are too large together: {error}"),
                    ));
                    None
                }
            }
        }),
        namespaces: namespaces(spec.namespaces, "namespaces", problems),
        except_namespaces: namespaces(spec.except_namespaces, "exceptNamespaces", problems),
        namespace_selector: selector(spec.namespace_selector, "namespaceSelector", problems),
        pod_selector: selector(spec.pod_selector, "podSelector", problems),
    }
}

fn images(tests: Vec<ImageMatch>, path: Path, problems: &mut Vec<Problem>) -> Box<[ImageTest]> {
    let mut built = Vec::with_capacity(tests.len());
    for (index, test) in tests.into_iter().enumerate() {
        let path = path.clone().index(index);
        match test {
            ImageMatch::Pattern(text) => match Pattern::parse(&text) {
                Ok(pattern) => built.push(ImageTest::Pattern(pattern)),
                Err(error) => {
                    problems.push(
                        Problem::error("invalid-pattern", path, error.message)
                            .within(error.within)
                            .hint(error.hint),
                    );
                }
            },
            ImageMatch::Regex(spec) => match AnchoredRegex::new(&spec.regex) {
                Ok(regex) => {
                    for group in regex.groups().iter().filter(|group| RESERVED.contains(&group.as_str())) {
                        let message = format!("the group `{group}` has the name of a variable that every template has");
                        let hint = "give it another name, or leave it out and use the variable";
                        problems.push(Problem::error("invalid-regex", path.clone().key("regex"), message).hint(hint));
                    }
                    built.push(ImageTest::Regex(Box::new(regex)));
                }
                Err(error) => {
                    let message = format!(
                        "this is no regular expression that can be used here: {}",
                        last_line(&error.to_string())
                    );
                    problems.push(Problem::error("invalid-regex", path.key("regex"), message).hint(regex_hint(&error)));
                }
            },
        }
    }
    built.into()
}

/// The variables that a regular expression's groups may not hide.
const RESERVED: [&str; 4] = ["registry", "repository", "namespace", "name"];

/// The regex crate draws the expression over several lines; ours is drawn already.
fn last_line(error: &str) -> &str {
    let line = error.trim_end().lines().next_back().unwrap_or(error);
    line.strip_prefix("error: ").unwrap_or(line)
}

fn regex_hint(error: &regex::Error) -> &'static str {
    match error {
        regex::Error::CompiledTooBig(_) => "use shorter repetitions, or a pattern",
        _ => {
            "it matches in linear time, so there is no look-around and no back-reference; see https://docs.rs/regex/#syntax"
        }
    }
}

fn namespace(glob: &str, path: Path, problems: &mut Vec<Problem>) -> Glob {
    let possible = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '*';
    if glob.is_empty() || glob.len() > 63 || !glob.chars().all(possible) || glob.starts_with('-') || glob.ends_with('-')
    {
        let hint = match glob.starts_with('!') {
            true => "for what does not match use exceptNamespaces".to_owned(),
            false => {
                "a namespace has lower-case letters, digits and -, 63 at most; `*` stands for any of them".to_owned()
            }
        };
        problems.push(
            Problem::error(
                "invalid-namespace",
                path,
                format!("no namespace can be called `{}`", glob.escape_debug()),
            )
            .hint(hint),
        );
    }
    Glob::new(glob)
}

fn pull(spec: PullSpec, path: &Path, problems: &mut Vec<Problem>) -> Pull {
    for (index, secret) in spec.secrets.iter().enumerate() {
        if secret.len() > 253 || !secret.split('.').all(valid_label) {
            let path = path.clone().key("secrets").index(index);
            let message = format!("no Secret can be called `{}`", secret.escape_debug());
            problems.push(
                Problem::error("invalid-name", path, message).hint("give the name of a Secret in the Pod's namespace"),
            );
        }
    }
    Pull {
        policy: spec.policy,
        lower: spec.lower,
        secrets: spec.secrets.into_iter().map(Into::into).collect(),
        inject: spec.inject,
    }
}
