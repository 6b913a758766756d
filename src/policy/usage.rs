//! Which rules need a registry.

use super::{Action, PolicySet, Rule};
use crate::registry::Address;

impl PolicySet {
    /// The ids of the rules that name the registry by its id, or rewrite images to what lies under its address, in order.
    pub fn rules_that_need<'s>(&'s self, id: &str, address: &Address) -> impl Iterator<Item = &'s str> {
        let needs = move |rule: &&Rule| rule.registries.iter().any(|named| **named == *id) || leads_to(rule, address);
        self.rules.iter().filter(needs).map(Rule::id)
    }
}

fn leads_to(rule: &Rule, address: &Address) -> bool {
    let Action::Rewrite(rewrite) = rule.action() else {
        return false;
    };
    rewrite.templates().iter().any(|template| {
        // As far as a template is literal: behind that, nobody knows.
        let below = template
            .literal_prefix()
            .strip_prefix(&*address.host)
            .and_then(|rest| rest.strip_prefix('/'));
        below.is_some_and(|path| {
            let inside = path.strip_prefix(&*address.organization);
            inside.is_some_and(|rest| address.organization.is_empty() || rest.starts_with('/'))
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        document::Source,
        policy::{Input, compile},
        registry::{Registry, RegistrySpec},
    };

    #[test]
    fn a_rule_needs_a_registry_that_it_names_or_leads_to() {
        let policy = "\
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: p}
spec:
  rules:
    - {name: all, match: {images: [docker.io/**]}, rewrite: {prefix: r.io/team}}
    - {name: second, match: {images: [quay.io/**]}, rewrite: {to: ['s.io/{registry}/{repository}', 'r.io/team/x/{registry}/{repository}'], onUnavailable: next}}
    - {name: named, match: {images: [gcr.io/**]}, rewrite: {latestPush: {registries: [corp]}}}
    - {name: others, match: {images: [ghcr.io/**]}, rewrite: {prefix: r.io/teams}}
    - {name: kept, match: {images: [r.io/team/**]}, keep: {}}
";
        let compiled = compile(&Input {
            sources: vec![Source::new("p.yaml", policy)],
            ..Input::default()
        });
        let set = compiled.set.expect("a set");
        for (id, url, expected) in [
            ("corp", "r.io/team", vec!["p/all", "p/second", "p/named"]),
            ("x", "r.io", vec!["p/all", "p/second", "p/others"]),
            ("x", "s.io", vec!["p/second"]),
            ("x", "r.io/tea", vec![]),
            ("x", "s.io/docker.io", vec![]),
        ] {
            let spec = RegistrySpec {
                url: Some(url.to_owned()),
                ..RegistrySpec::default()
            };
            let address = Registry::parse(id, &spec).unwrap().address;
            assert_eq!(
                set.rules_that_need(id, &address).collect::<Vec<_>>(),
                expected,
                "{id} {url}"
            );
        }
    }
}
