//! From rules without mistakes to a set that decides.

use hashbrown::HashMap;

use super::{Class, Compiler, Draft};
use crate::{
    document::{Diagnostic, Severity},
    policy::{
        Action, ImageTest, Mode, OTHER_REGISTRY, Pattern, PolicySet, Rule, Settings,
        index::{Entry, Index, Scope},
        matcher::MatcherBuilder,
    },
};

impl Compiler {
    pub(super) fn assemble(&mut self, settings: Settings) -> Option<PolicySet> {
        let exempting = |draft: &Draft| draft.class == Class::Exempting && draft.rule.mode == Mode::Enforce;
        let exempting: Vec<bool> = self.drafts.iter().map(exempting).collect();
        let rules: Vec<Rule> = self.drafts.drain(..).map(|draft| draft.rule).collect();
        let mut images = MatcherBuilder::new();
        let mut targets = Index::new();
        let mut registries: HashMap<Box<str>, u16> = HashMap::new();
        let mut registry_names: Vec<Box<str>> = vec![OTHER_REGISTRY.into()];
        let mut know = |registry: &str| {
            let next = u16::try_from(registry_names.len());
            if let (false, Ok(next)) = (registries.contains_key(registry), next) {
                registries.insert(registry.into(), next);
                registry_names.push(registry.into());
            }
        };
        for (number, rule) in (0u32..).zip(&rules) {
            let scope = Scope::of(&rule.matching);
            images.rule(&rule.matching, scope, number);
            let patterns = rule.matching.images().iter().filter_map(ImageTest::pattern);
            patterns.filter_map(Pattern::literal_registry).for_each(&mut know);
            if let Action::Rewrite(rewrite) = &rule.action {
                for (detail, template) in (0u32..).zip(&rewrite.to) {
                    know(template.registry());
                    for names in template.prefix_patterns() {
                        targets.insert(&names, Scope::All, Entry { rule: number, detail });
                    }
                }
            }
        }
        let denying = rules
            .iter()
            .take_while(|rule| matches!(rule.action, Action::Deny { .. }))
            .count();
        let routes = |rule: &Rule| rule.mode == Mode::Enforce && matches!(rule.action, Action::LatestPush(_));
        let routes_pushes = rules.iter().any(routes);
        let mut replicating = MatcherBuilder::new();
        for ((number, rule), exempting) in (0u32..).zip(&rules).zip(exempting) {
            if exempting || rule.replicate.is_some() {
                replicating.rule(&rule.matching, Scope::of(&rule.matching), number);
            }
        }
        let replicates = rules.iter().any(|rule| rule.replicate.is_some());
        let replicating = replicates.then(|| replicating.build()).transpose();
        match images
            .build()
            .and_then(|images| replicating.map(|replicating| (images, replicating)))
        {
            Ok((images, replicating)) => {
                let denying = u32::try_from(denying).unwrap_or(u32::MAX);
                Some(PolicySet {
                    rules,
                    denying,
                    images,
                    targets,
                    registries,
                    registry_names,
                    settings,
                    routes_pushes,
                    replicating,
                })
            }
            Err(error) => {
                let message = format!("the regular expressions of all rules together are too large: {error}");
                let mut problem = Diagnostic::without_place("policies", Severity::Error, "regexes-too-large", message);
                problem.hint = Some("use patterns where they serve, or shorter repetitions".to_owned());
                self.diagnostics.push(problem);
                None
            }
        }
    }
}
