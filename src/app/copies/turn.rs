//! Whose turn it is.

use std::collections::BTreeMap;

use crate::pushes::PushId;

/// The place of the one that begins next among those that `waiting`, the oldest first; none where enough of them go on.
///
/// A registry into which nothing goes comes before the others, then the oldest. While something waits for another one, no more than half go
/// into one registry, and those that it has beyond that keep nobody waiting: so fewer than twice as many as `most` ever go on.
pub(super) fn next(waiting: &[&PushId], running: &[PushId], most: usize) -> Option<usize> {
    let most = most.max(1);
    let half = most.div_ceil(2);
    let mut into: BTreeMap<&str, usize> = BTreeMap::new();
    for id in running {
        *into.entry(id.registry()).or_default() += 1;
    }
    let count = |id: &PushId| into.get(id.registry()).copied().unwrap_or_default();
    let counted: usize = into.values().map(|count| (*count).min(half)).sum();
    let fair = waiting.iter().enumerate().filter(|(_, id)| count(id) < half);
    if let Some((place, _)) = fair.min_by_key(|(place, id)| (count(id), *place)) {
        return (counted < most).then_some(place);
    }
    let first = waiting.first()?.registry();
    let alone = waiting.iter().all(|id| id.registry() == first);
    (alone && running.len() < most).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pushes::Image;

    fn ids(registries: &str) -> Vec<PushId> {
        let each = registries.chars().enumerate().map(|(place, registry)| {
            let image = Image::parse(&format!("org/app:{place}")).unwrap();
            PushId::new(&registry.to_string(), image.key())
        });
        each.collect()
    }

    /// Into which registries those go that begin, in their order.
    fn begun(waiting: &str, running: &str, most: usize) -> String {
        let (waiting, mut running) = (ids(waiting), ids(running));
        let mut waiting: Vec<_> = waiting.iter().collect();
        let mut begun = String::new();
        while let Some(place) = next(&waiting, &running, most) {
            let id = waiting.remove(place);
            begun.push_str(id.registry());
            running.push(id.clone());
        }
        begun
    }

    #[test]
    fn no_registry_keeps_the_others_waiting() {
        for (waiting, running, most, expected) in [
            ("", "", 4, ""),
            ("a", "", 4, "a"),
            // One alone has all.
            ("aaaaaa", "", 4, "aaaa"),
            ("aaaaaa", "aaa", 4, "a"),
            ("aaaaaa", "aaaa", 4, ""),
            // With another one it has half, the younger of the other as well.
            ("aaaaaab", "", 4, "abaa"),
            ("aaaaaabb", "", 4, "abab"),
            ("aaaaaabbc", "", 4, "abca"),
            ("aaaaaabbc", "aa", 4, "bc"),
            ("aaaaaabb", "", 5, "ababa"),
            // One that comes later finds a place at once, and what the first has is not taken away.
            ("aab", "aaaa", 4, "b"),
            ("aabbb", "aaaa", 4, "bb"),
            ("aabbbccc", "aaaabb", 4, ""),
            ("aabbbccc", "aabb", 4, ""),
            ("aabbbccc", "aab", 4, "c"),
            ("aac", "aaaab", 4, "c"),
            // Where there is one place, it is the oldest's.
            ("abc", "", 1, "a"),
            ("abc", "c", 1, ""),
            ("bca", "", 1, "b"),
            ("aab", "a", 2, "b"),
            ("aa", "a", 2, "a"),
        ] {
            assert_eq!(
                begun(waiting, running, most),
                expected,
                "{waiting} while {running} of {most}"
            );
        }
    }
}
