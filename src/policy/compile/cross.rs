//! What only shows when all rules are known.

use hashbrown::HashMap;

use super::{Compiler, Draft};
use crate::{
    document::{self, Node, Path, Problem},
    policy::{
        Action, MAX_REGEXES, Mode, Rule, Settings,
        collision::{Collision, collisions},
        index::{Entry, Index, Scope},
        shadow::{never_replicating, shadowed},
    },
};

impl Compiler {
    /// Checks the rules against one another.
    pub(super) fn cross_check(&mut self, settings: &Settings) {
        let rules: Vec<&Rule> = self.drafts.iter().map(|draft| &draft.rule).collect();
        let mut found: Vec<(usize, Problem)> = Vec::new();
        found.extend(self.too_many_regexes(&rules));
        let shadowed = shadowed(&rules);
        found.extend(shadowed.iter().map(|(place, by)| (*place, self.shadowed(*place, *by))));
        let idle = never_replicating(&rules);
        found.extend(
            idle.iter()
                .map(|(place, by)| (*place, self.never_replicates(*place, *by))),
        );
        found.extend(self.never_pulled(&rules, settings));
        let collisions = collisions(&rules);
        found.extend(
            collisions
                .iter()
                .map(|collision| (collision.second.0, self.collision(collision))),
        );
        let under_targets = under_targets(&rules);
        found.extend(
            under_targets
                .iter()
                .map(|(place, by)| (*place, self.under_target(*place, *by))),
        );
        let mut nodes: HashMap<usize, Option<Node>> = HashMap::new();
        for (place, problem) in found {
            let number = self.drafts[place].document;
            if let Some(document) = self.documents.get(number) {
                let node = nodes.entry(number).or_insert_with(|| document.read_again());
                let diagnostic = document::locate(&problem, &document.source, node.as_ref());
                self.diagnostics.push(diagnostic);
            }
        }
    }

    fn too_many_regexes(&self, rules: &[&Rule]) -> Option<(usize, Problem)> {
        let mut total = 0;
        let place = rules.iter().position(|rule| {
            total += rule.matching.regexes();
            total > MAX_REGEXES
        })?;
        let message = format!("there are more than {MAX_REGEXES} regular expressions");
        let problem = Problem::error("too-many-regexes", self.path(place).key("match"), message)
            .hint("use patterns: any number of them costs the same");
        Some((place, problem))
    }

    fn shadowed(&self, place: usize, by: usize) -> Problem {
        let (draft, first) = (&self.drafts[place], &self.drafts[by]);
        let path = self.path(place).key("name");
        let message = format!(
            "the rule `{}` never decides: `{}` comes first and matches all that it matches",
            draft.rule.id, first.rule.id
        );
        let problem = if self.file(draft) == self.file(first) {
            Problem::error("shadowed-rule", path, message)
        } else {
            Problem::warning("shadowed-rule", path, message)
        };
        let problem = problem.hint("put it before that rule, let that rule match less, or delete it");
        if draft.document == first.document {
            problem.related(self.path(by).key("name"), "the rule that comes first")
        } else {
            problem
        }
    }

    fn never_replicates(&self, place: usize, by: usize) -> Problem {
        let (rule, first) = (&self.drafts[place].rule, &self.drafts[by].rule);
        let message = format!(
            "the rule `{}` never replicates: `{}` comes first, replicates and matches all that it matches",
            rule.id, first.id
        );
        Problem::warning("shadowed-replicate", self.path(place).key("replicate"), message)
            .on_key()
            .hint("an image is replicated into one registry: put it before that rule, let that rule match less, or take it out")
    }

    /// What is pushed where no rule ever looks for it.
    fn never_pulled(&self, rules: &[&Rule], settings: &Settings) -> Vec<(usize, Problem)> {
        if settings.route_pushes {
            return Vec::new();
        }
        let leads_to = |rule: &&Rule, id: &str| match &rule.action {
            Action::LatestPush(latest) => {
                let only = latest.registries.as_ref();
                rule.mode == Mode::Enforce && only.is_none_or(|only| only.iter().any(|only| **only == *id))
            }
            _ => false,
        };
        let replicating = rules.iter().enumerate();
        let replicating = replicating.filter_map(|(place, rule)| Some((place, rule.replicate()?)));
        let unused = replicating.filter(|(_, replicate)| !rules.iter().any(|rule| leads_to(rule, &replicate.registry)));
        unused
            .map(|(place, replicate)| {
                let id = &replicate.registry;
                let message = format!("what is pushed into `{id}` is pulled by no Pod: `pushes.route` is false");
                let path = self.path(place).key("replicate").key("registry");
                let hint =
                    format!("let it be true, or add a rule with `rewrite: {{latestPush: {{registries: [{id}]}}}}`");
                (place, Problem::warning("never-pulled", path, message).hint(hint))
            })
            .collect()
    }

    fn collision(&self, collision: &Collision) -> Problem {
        let (place, template) = collision.second;
        let rule = &self.drafts[place].rule;
        let text = match &rule.action {
            Action::Rewrite(rewrite) => rewrite.to[template].as_str(),
            _ => "",
        };
        let what = if collision.loses_registry {
            "registries"
        } else {
            "repositories"
        };
        let message = if collision.first.0 == place {
            format!("the template `{text}` can give images of different {what} one name, and the rule matches several")
        } else {
            let other = &self.drafts[collision.first.0].rule.id;
            format!("the template `{text}` can give an image the name that `{other}` gives another")
        };
        let hint = if collision.loses_registry {
            "put {registry} into it, let the rule match one registry, or say `sharedTarget: true` if the images are the same in all"
        } else {
            "put {repository} into it, let the rules match different images, or say `sharedTarget: true` if the images are the same"
        };
        Problem::error("shared-target", self.template_path(place, template), message).hint(hint)
    }

    fn under_target(&self, place: usize, by: (usize, usize)) -> Problem {
        let (rule, other) = (&self.drafts[place].rule, &self.drafts[by.0].rule);
        let target = match &other.action {
            Action::Rewrite(rewrite) => rewrite.to[by.1].literal_prefix(),
            _ => "",
        };
        let message = format!(
            "the rule `{}` never rewrites: what it matches lies under `{target}`, where `{}` rewrites to",
            rule.id, other.id
        );
        Problem::warning("under-target", self.path(place).key("name"), message)
            .hint("images under a target are never rewritten again: let that rule rewrite to where this one would")
    }

    fn path(&self, place: usize) -> Path {
        Path::root().key("spec").key("rules").index(self.drafts[place].index)
    }

    /// Where the draft's template was written.
    fn template_path(&self, place: usize, template: usize) -> Path {
        let path = self.path(place).key("rewrite");
        match &self.drafts[place].rule.action {
            Action::Rewrite(rewrite) if rewrite.written_as_prefix => path.key("prefix"),
            _ => path.key("to").index(template),
        }
    }

    fn file(&self, draft: &Draft) -> Option<usize> {
        self.documents.get(draft.document).map(|document| document.file)
    }
}

/// Rules that match nothing but what lies under the targets of rules, with a rule and template whose target it is: as
/// [`decide`](crate::decide::decide()) has it, no rule rewrites that.
fn under_targets(rules: &[&Rule]) -> Vec<(usize, (usize, usize))> {
    let mut targets = Index::new();
    for (number, rule) in (0u32..).zip(rules) {
        if let (Action::Rewrite(rewrite), Mode::Enforce) = (&rule.action, rule.mode) {
            for (detail, template) in (0u32..).zip(&rewrite.to) {
                for names in template.prefix_patterns() {
                    targets.insert(&names, Scope::All, Entry { rule: number, detail });
                }
            }
        }
    }
    let mut found = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let (Action::Rewrite(_), Some(patterns)) = (&rule.action, rule.matching.patterns()) else {
            continue;
        };
        let mut over = patterns.iter().map(|pattern| {
            let ends = targets.covering(pattern.segments());
            ends.into_iter().find_map(|ends| ends.entries(None).next().copied())
        });
        let first = over.next().flatten();
        if let Some(entry) = first.filter(|_| over.all(|entry| entry.is_some())) {
            found.push((place, (entry.rule as usize, entry.detail as usize)));
        }
    }
    found
}
