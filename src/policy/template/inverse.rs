//! From the name that a template gave back to the source.

use super::{Piece, Template, Variable};
use crate::reference::Reference;

impl Template {
    /// The canonical names that this template sends to `name` (a registry and repository), likeliest first. `registry` is the one that
    /// the rule's images have, for a template that does not say it.
    pub(crate) fn sources(&self, name: &str, registry: Option<&str>, fixed: Option<&str>) -> Vec<String> {
        let mut search = Search {
            found: Vec::new(),
            steps: MOST_STEPS,
        };
        let mut bound = Bound {
            registry,
            repository: fixed,
            namespace: None,
            name: None,
        };
        self.invert(0, name, &mut bound, &mut search);
        search.found
    }

    fn invert<'a>(&'a self, piece: usize, rest: &'a str, bound: &mut Bound<'a>, search: &mut Search) {
        if search.found.len() >= MOST_SOURCES || search.steps == 0 {
            return;
        }
        search.steps -= 1;
        let Some(current) = self.pieces.get(piece) else {
            if rest.is_empty() {
                search.found.extend(bound.source());
            }
            return;
        };
        let variable = match current {
            Piece::Literal(literal) => {
                // The slash that an empty {namespace} took along.
                let literal: &str = match piece.checked_sub(1).map(|before| &self.pieces[before]) {
                    Some(Piece::Variable(Variable::Namespace)) if bound.namespace == Some("") => {
                        literal.strip_prefix('/').unwrap_or(literal)
                    }
                    _ => literal,
                };
                if let Some(rest) = rest.strip_prefix(literal) {
                    self.invert(piece + 1, rest, bound, search);
                }
                return;
            }
            Piece::Variable(Variable::Group(_)) => return,
            Piece::Variable(variable) => variable,
        };
        let many = matches!(variable, Variable::Repository | Variable::Namespace);
        let last = piece + 1 == self.pieces.len();
        let empty = (*variable == Variable::Namespace).then_some(0);
        let ends = rest
            .char_indices()
            .map(|(index, _)| index)
            .skip(1)
            .chain((!rest.is_empty()).then_some(rest.len()))
            .take_while(|end| many || !rest[..*end].contains('/'))
            .chain(empty);
        for end in ends {
            if last && end != rest.len() {
                continue;
            }
            let slot = bound.slot(variable);
            let before = *slot;
            if before.is_some_and(|before| before != &rest[..end]) {
                continue;
            }
            *slot = Some(&rest[..end]);
            self.invert(piece + 1, &rest[end..], bound, search);
            *bound.slot(variable) = before;
        }
    }
}

/// What an inversion has found, and how much longer it may go on: with variables that nothing divides, a name has many sources.
struct Search {
    found: Vec<String>,
    steps: u32,
}

const MOST_SOURCES: usize = 4;

/// More than any template with slashes between its variables takes, for the longest name.
const MOST_STEPS: u32 = 4096;

/// What an inversion has found for each variable so far.
struct Bound<'a> {
    registry: Option<&'a str>,
    repository: Option<&'a str>,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
}

impl<'a> Bound<'a> {
    fn slot(&mut self, variable: &Variable) -> &mut Option<&'a str> {
        match variable {
            Variable::Registry | Variable::Group(_) => &mut self.registry,
            Variable::Repository => &mut self.repository,
            Variable::Namespace => &mut self.namespace,
            Variable::Name => &mut self.name,
        }
    }

    fn source(&self) -> Option<String> {
        let registry = self.registry?;
        let source = match (self.repository, self.namespace, self.name) {
            (Some(repository), ..) => format!("{registry}/{repository}"),
            (None, Some(""), Some(name)) => format!("{registry}/{name}"),
            (None, Some(namespace), Some(name)) => format!("{registry}/{namespace}/{name}"),
            _ => return None,
        };
        // What stands where the registry would be may be no registry at all.
        Reference::parse(&source)
            .is_ok_and(|parsed| parsed.registry() == registry)
            .then_some(source)
    }
}
