//! From rules without mistakes to a set that decides.

use hashbrown::HashMap;

use super::Compiler;
use crate::{
    document::{Diagnostic, Severity},
    policy::{
        Action, ImageTest, Mode, OTHER_REGISTRY, PolicySet, Rule, Settings,
        index::{Entry, Index, Scope},
        matcher::MatcherBuilder,
    },
};

impl Compiler {
    pub(super) fn assemble(&mut self, settings: Settings) -> Option<PolicySet> {
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
            match &rule.matching.images {
                None => images.everything(scope, number),
                Some(tests) => {
                    for test in tests {
                        match test {
                            ImageTest::Pattern(pattern) => {
                                images.pattern(pattern, scope, number);
                                pattern.literal_registry().into_iter().for_each(&mut know);
                            }
                            ImageTest::Regex(regex) => images.regex(regex, number),
                        }
                    }
                }
            }
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
        match images.build() {
            Ok(images) => {
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
