//! Rules of a policy whose structure is not right, as far as they can be read: so that mistakes of other kinds are found in the same
//! go, and nobody has to mend a file once for each kind.

use super::Numbered;
use crate::{
    document::{Node, Path, Problem, Segment as PathSegment, Severity, Value},
    policy::spec::RuleSpec,
};

/// The rules that can be read when everything that `problems` are about is left out. A rule from which something was left out is
/// not whole: what is missing from it is not to be complained about again.
pub(super) fn rules(document: &Node, problems: &[Problem]) -> Vec<Numbered> {
    let Some(rules) = document.get("spec").and_then(|spec| spec.get("rules")) else {
        return Vec::new();
    };
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let places: Vec<(usize, &[PathSegment])> = errors.filter_map(|problem| within_rule(&problem.path)).collect();
    let readable = rules.items().iter().enumerate().filter_map(|(index, rule)| {
        let places: Vec<&[PathSegment]> = places
            .iter()
            .filter(|(number, _)| *number == index)
            .map(|(_, place)| *place)
            .collect();
        // A key without which what holds it cannot be read takes that along: a selector without one of its operators.
        let spec = [usize::MAX, 2, 1].into_iter().find_map(|depth| {
            let mut rule = rule.clone();
            places
                .iter()
                .for_each(|place| remove(&mut rule, &place[..depth.min(place.len())]));
            rule.decode::<RuleSpec>().ok()
        })?;
        let whole = places.is_empty();
        Some(Numbered { index, spec, whole })
    });
    readable.collect()
}

/// The number of the rule that a path leads into, and the rest of the path.
fn within_rule(path: &Path) -> Option<(usize, &[PathSegment])> {
    match path.segments() {
        [
            PathSegment::Key(spec),
            PathSegment::Key(rules),
            PathSegment::Index(index),
            rest @ ..,
        ] if &**spec == "spec" && &**rules == "rules" => Some((*index, rest)),
        _ => None,
    }
}

/// Removes the value of the last key of the path: an element of a list goes with its list, so that others keep their numbers.
fn remove(node: &mut Node, place: &[PathSegment]) {
    let Some((PathSegment::Key(name), rest)) = place.split_first() else {
        return;
    };
    let Value::Mapping(entries) = &mut node.value else {
        return;
    };
    let Some(at) = entries.iter().position(|(key, _)| key.name == *name) else {
        return;
    };
    let deeper = rest.iter().any(|segment| matches!(segment, PathSegment::Key(_)));
    match (&mut entries[at].1.value, rest) {
        (Value::Mapping(_), [_, ..]) if deeper => remove(&mut entries[at].1, rest),
        (Value::Sequence(items), [PathSegment::Index(index), rest @ ..]) if deeper => {
            if let Some(item) = items.get_mut(*index) {
                remove(item, rest);
            }
        }
        _ => {
            let mut kept = std::mem::take(entries).into_vec();
            kept.remove(at);
            *entries = kept.into();
        }
    }
}
