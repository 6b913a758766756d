//! From `rewrite` as it is written to an action.

use crate::{
    document::{Path, Problem},
    policy::{
        Action, LatestPush, Matching, OnUnavailable, Pattern, Rewrite, Segment, Template, TemplateError,
        spec::RewriteSpec,
    },
    registry::id_problem,
};

/// Compiles `rewrite`; `groups` are those that its templates may name.
pub(super) fn rewriting(
    spec: RewriteSpec,
    matching: &Matching,
    groups: &[String],
    path: &Path,
    problems: &mut Vec<Problem>,
) -> Action {
    let present: Vec<&str> = [
        ("prefix", spec.prefix.is_some()),
        ("to", spec.to.is_some()),
        ("latestPush", spec.latest_push.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, present)| present.then_some(name))
    .collect();
    match present[..] {
        [] => problems.push(
            Problem::error("no-target", path.clone(), "`rewrite` does not say where to")
                .on_key()
                .hint(
                    "add `prefix: registry.example.com`, or `to: [\"registry.example.com/{registry}/{repository}\"]`",
                ),
        ),
        [_] => {}
        _ => problems.push(
            Problem::error(
                "several-targets",
                path.clone().key(present[1]),
                format!("`rewrite` takes one of {}", present.join(" and ")),
            )
            .on_key()
            .hint("keep one of them"),
        ),
    }
    if let Some(latest) = &spec.latest_push {
        let path = path.clone().key("latestPush").key("registries");
        return Action::LatestPush(Box::new(LatestPush {
            registries: latest.registries.as_ref().map(|ids| registries(ids, &path, problems)),
            on_unavailable: spec.on_unavailable.unwrap_or_default(),
            pin: spec.pin.unwrap_or(false),
            preloaded: spec.preloaded,
            built_in: false,
        }));
    }
    if spec.pin.is_some() {
        problems.push(
            Problem::error(
                "pin-without-push",
                path.clone().key("pin"),
                "only what was pushed has a digest that can be added: this rule's templates say where to, and not what is there",
            )
            .on_key()
            .hint("take it out, or let a rule with `latestPush: {}` decide"),
        );
    }
    let on_unavailable = spec.on_unavailable.unwrap_or_default();
    problems.extend(never_next(&spec, on_unavailable, path));
    let mut to = Vec::new();
    let mut add = |path: Path, template: Result<Template, TemplateError>| match template {
        Ok(template) => to.push(template),
        Err(error) => problems.push(
            Problem::error("invalid-template", path, error.message)
                .within(error.within)
                .hint(error.hint),
        ),
    };
    if let Some(prefix) = &spec.prefix {
        add(path.clone().key("prefix"), Template::from_prefix(prefix));
    }
    for (index, text) in spec.to.iter().flatten().enumerate() {
        add(path.clone().key("to").index(index), Template::parse(text, groups));
    }
    let patterns = matching.patterns().unwrap_or_default();
    let registries: Option<Vec<&str>> = patterns.iter().map(|pattern| pattern.literal_registry()).collect();
    let repositories: Option<Vec<String>> = patterns.iter().map(|pattern| literal_repository(pattern)).collect();
    Action::Rewrite(Box::new(Rewrite {
        to: to.into(),
        on_unavailable,
        preloaded: spec.preloaded,
        shared_target: spec.shared_target,
        written_as_prefix: spec.prefix.is_some(),
        source_registry: the_one(registries.unwrap_or_default()).map(Into::into),
        source_repository: the_one(repositories.unwrap_or_default()).map(Into::into),
    }))
}

fn registries(ids: &[String], path: &Path, problems: &mut Vec<Problem>) -> Box<[Box<str>]> {
    for (index, id) in ids.iter().enumerate() {
        if let Some(problem) = id_problem(id) {
            problems.push(no_registry_id(id, problem, path.clone().index(index)));
        }
    }
    ids.iter().map(|id| id.as_str().into()).collect()
}

/// What is written where a registry's id should be.
pub(super) fn no_registry_id(id: &str, problem: &str, path: Path) -> Problem {
    let message = format!("no registry can have the id `{}`: {problem}", id.escape_debug());
    Problem::error("invalid-registry-id", path, message)
        .hint("write the name of a Registry object, as `kubectl get registries` or GET /v1/registries list it")
}

/// Targets that are never used, or a next one that is not there.
fn never_next(spec: &RewriteSpec, on_unavailable: OnUnavailable, path: &Path) -> Option<Problem> {
    let targets = spec.to.as_ref().map_or(usize::from(spec.prefix.is_some()), Vec::len);
    let key = path.clone().key("onUnavailable");
    match on_unavailable {
        OnUnavailable::Keep if targets > 1 => Some(
            Problem::warning(
                "unused-target",
                path.clone().key("to").index(1),
                "only the first target is ever used: where it is down, images are kept",
            )
            .hint("say `onUnavailable: next` to use the next one that is up, or take the others out"),
        ),
        OnUnavailable::Next if targets == 1 => Some(
            Problem::warning(
                "no-next-target",
                key,
                "there is no next target: where the only one is down, images are kept",
            )
            .on_key()
            .hint("add another to `to`; no later rule is asked"),
        ),
        OnUnavailable::Keep | OnUnavailable::Next => None,
    }
}

fn literal_repository(pattern: &Pattern) -> Option<String> {
    let literals: Option<Vec<&str>> = pattern.segments()[1..]
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => Some(&**text),
            _ => None,
        })
        .collect();
    literals.map(|literals| literals.join("/"))
}

fn the_one<T: PartialEq>(mut all: Vec<T>) -> Option<T> {
    all.dedup();
    (all.len() == 1).then(|| all.remove(0))
}
