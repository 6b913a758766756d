//! The one wildcard of the pattern language: `*`, any run of characters, the empty one included.

use std::fmt;

/// A text in which each `*` stands for any run of characters. No other character is special.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

impl Glob {
    /// Takes the text as it is: every text is a glob.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no `*` in it, so that it matches itself alone.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// What stands before the first `*`.
    pub(crate) fn literal_prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// What stands behind the last `*`; everything where there is none.
    pub(crate) fn literal_suffix(&self) -> &str {
        self.0.rsplit('*').next().unwrap_or_default()
    }

    /// Whether the whole of `text` matches. Linear space, at most `|glob| × |text|` steps.
    pub fn matches(&self, text: &str) -> bool {
        let (glob, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut in_text) = (0, 0);
        // Where to go on after a mismatch: behind the last `*`, one byte of text further.
        let mut resume: Option<(usize, usize)> = None;
        while in_text < text.len() {
            match glob.get(at) {
                Some(b'*') => {
                    at += 1;
                    resume = Some((at, in_text));
                }
                Some(byte) if *byte == text[in_text] => {
                    at += 1;
                    in_text += 1;
                }
                _ => match resume {
                    Some((after_star, from)) => {
                        at = after_star;
                        in_text = from + 1;
                        resume = Some((after_star, in_text));
                    }
                    None => return false,
                },
            }
        }
        glob[at..].iter().all(|byte| *byte == b'*')
    }

    /// Whether everything that `other` matches, this one matches too. Exact where the alphabet has more letters than both name.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        // A `*` of the other can only be taken in by a `*` here, which takes in as well whatever stands in its place.
        self.matches(other.as_str())
    }

    /// Whether some text matches both. Decides for the compiler whether two templates can give the same name.
    pub(crate) fn intersects(&self, other: &Self) -> bool {
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        // Most globs that do not intersect differ before their first `*`, or behind their last.
        let (start, other_start) = (self.literal_prefix(), other.literal_prefix());
        let (end, other_end) = (self.literal_suffix(), other.literal_suffix());
        if !(start.starts_with(other_start) || other_start.starts_with(start))
            || !(end.ends_with(other_end) || other_end.ends_with(end))
        {
            return false;
        }
        // reachable[j]: left[..i] and right[..j] can match a common text. One row at a time.
        let mut row = vec![false; right.len() + 1];
        for i in 0..=left.len() {
            let mut next = vec![false; right.len() + 1];
            for j in 0..=right.len() {
                let from_both = i > 0 && j > 0 && row[j - 1] && left[i - 1] == right[j - 1];
                let left_star = i > 0 && left[i - 1] == b'*';
                let right_star = j > 0 && right[j - 1] == b'*';
                next[j] = (i == 0 && j == 0)
                    || from_both
                    // A `*` matches nothing, or takes in whatever the other side matches there.
                    || (left_star && (row[j] || (j > 0 && next[j - 1])))
                    || (right_star && ((j > 0 && next[j - 1]) || (i > 0 && row[j])));
            }
            row = next;
        }
        row[right.len()]
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Glob;

    #[test]
    fn a_star_matches_any_run_and_nothing_else_is_special() {
        for (glob, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*ab", "aab", true),
            ("reana-*", "reana-x", true),
            ("reana-*", "xreana-x", false),
            ("gcr.io", "gcrxio", false),
            ("a?c", "abc", false),
            ("[::1]:5000", "[::1]:5000", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), expected, "{glob} on {text}");
        }
    }

    proptest! {
        #[test]
        fn two_globs_that_match_one_text_intersect(left in "[ab*]{0,6}", right in "[ab*]{0,6}", text in "[ab]{0,6}") {
            let (left, right) = (Glob::new(&left), Glob::new(&right));
            if left.matches(&text) && right.matches(&text) {
                prop_assert!(left.intersects(&right));
            }
            prop_assert_eq!(left.intersects(&right), right.intersects(&left));
        }

        #[test]
        fn a_glob_matches_all_that_it_covers(general in "[ab*]{0,5}", special in "[ab*]{0,5}", text in "[ab]{0,6}") {
            let (general, special) = (Glob::new(&general), Glob::new(&special));
            if general.covers(&special) && special.matches(&text) {
                prop_assert!(general.matches(&text));
            }
        }

        #[test]
        fn a_literal_intersects_what_matches_it(literal in "[ab]{0,6}", glob in "[ab*]{0,6}") {
            let glob = Glob::new(&glob);
            prop_assert_eq!(Glob::new(&literal).intersects(&glob), glob.matches(&literal));
        }
    }
}
