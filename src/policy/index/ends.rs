//! The entries of patterns that end alike, by the context that they are for.

use hashbrown::HashMap;

use super::{Entry, Matches, globs::Globs};
use crate::policy::{Context, Matching, glob::Glob, selector::LabelSelector};

/// The contexts that an entry is for, as far as an index can tell them apart. What it finds is still to be checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'s> {
    /// Any that there is.
    All,
    /// Namespaces by name.
    Namespaces(&'s [Glob]),
    /// Those where a label has this value.
    Label(LabelOf, &'s str, &'s str),
}

/// Whose label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LabelOf {
    Pod,
    Namespace,
}

/// The patterns that end at a node.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    general: Vec<Entry>,
    by_namespace: HashMap<Box<str>, Vec<Entry>>,
    by_namespaces: Globs<Vec<Entry>>,
    /// By the label's key, then its value.
    by_label: HashMap<(LabelOf, Box<str>), ByValue>,
}

type ByValue = HashMap<Box<str>, Vec<Entry>>;

impl<'s> Scope<'s> {
    /// The scope of a rule: of its conditions, the one that tells most.
    pub(crate) fn of(matching: &'s Matching) -> Self {
        let label = |of, selector: &'s Option<Box<LabelSelector>>| {
            let (key, value) = selector.as_ref()?.match_labels.iter().next()?;
            Some(Self::Label(of, key, value))
        };
        matching
            .namespaces
            .as_deref()
            .map(Self::Namespaces)
            .or_else(|| label(LabelOf::Pod, &matching.pod_selector))
            .or_else(|| label(LabelOf::Namespace, &matching.namespace_selector))
            .unwrap_or(Self::All)
    }
}

impl Ends {
    pub(super) fn insert(&mut self, scope: Scope<'_>, entry: Entry) {
        let push = |entries: &mut Vec<Entry>| {
            if entries.last() != Some(&entry) {
                entries.push(entry);
            }
        };
        match scope {
            Scope::All => push(&mut self.general),
            Scope::Namespaces(globs) if globs.iter().any(|glob| glob.as_str() == "*") => push(&mut self.general),
            Scope::Namespaces(globs) => {
                for glob in globs {
                    if glob.is_literal() {
                        push(self.by_namespace.entry(glob.as_str().into()).or_default());
                    } else {
                        push(self.by_namespaces.entry(glob, Vec::new));
                    }
                }
            }
            Scope::Label(of, key, value) => {
                let by_value = self.by_label.entry((of, key.into())).or_default();
                push(by_value.entry(value.into()).or_default());
            }
        }
    }

    /// The entries whose scope this context may be in. Without a context, those for all.
    pub(super) fn find<'i>(&'i self, context: Option<&Context<'_>>, found: &mut Matches<'i>) {
        if !self.general.is_empty() {
            found.push(&self.general);
        }
        let Some(context) = context else {
            return;
        };
        found.extend(self.by_namespace.get(context.namespace).map(Vec::as_slice));
        found.extend(self.by_namespaces.matching(context.namespace).map(Vec::as_slice));
        for ((of, key), by_value) in &self.by_label {
            let value = match of {
                LabelOf::Pod => context.pod_labels.value(key),
                LabelOf::Namespace => context.namespace_labels.value(key),
            };
            found.extend(value.and_then(|value| by_value.get(value)).map(Vec::as_slice));
        }
    }

    /// Those for all contexts, then those for namespaces that take in this one.
    pub(crate) fn entries<'e>(&'e self, namespace: Option<&'e Glob>) -> impl Iterator<Item = &'e Entry> {
        let named = namespace.and_then(|name| self.by_namespace.get(name.as_str()));
        let covering = namespace
            .into_iter()
            .flat_map(|name| self.by_namespaces.matching(name.as_str()));
        self.general.iter().chain(named.into_iter().chain(covering).flatten())
    }
}
