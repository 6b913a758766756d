//! A set of image patterns and regular expressions, each standing for a rule, matched all at once.

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use smallvec::SmallVec;

use super::{
    Context, ImageTest, Matching,
    index::{Entry, InOrder, Index, Matches, Scope},
    pattern::{Pattern, Suffix, registry_to_match},
    template::Groups,
};
use crate::reference::Reference;

/// How many regular expressions a set may have: they are tried one and all, patterns are not.
pub const MAX_REGEXES: usize = 500;

/// The size that one compiled regular expression may have, in bytes.
const MAX_REGEX_BYTES: usize = 256 << 10;

/// The size that all regular expressions of a set may have together, in bytes.
const MAX_REGEX_SET_BYTES: usize = 64 << 20;

/// Patterns and regular expressions, each standing for a number (a rule's place in the order of decisions).
#[derive(Debug)]
pub(crate) struct Matcher {
    index: Index,
    suffixes: Vec<Suffix>,
    /// None where there is no expression: even an empty set is not free.
    regexes: Option<RegexSet>,
    /// What each expression of `regexes` stands for.
    regex_rules: Vec<u32>,
}

/// Collects a [`Matcher`]. Rules are to be added in ascending order.
#[derive(Debug)]
pub(crate) struct MatcherBuilder {
    index: Index,
    suffixes: Vec<Suffix>,
    regexes: Vec<String>,
    regex_rules: Vec<u32>,
}

impl MatcherBuilder {
    pub(crate) fn new() -> Self {
        Self {
            index: Index::new(),
            suffixes: Vec::new(),
            regexes: Vec::new(),
            regex_rules: Vec::new(),
        }
    }

    /// All that a rule's `images` say.
    pub(crate) fn rule(&mut self, matching: &Matching, scope: Scope<'_>, rule: u32) {
        match &matching.images {
            None => self.everything(scope, rule),
            Some(tests) => {
                for test in tests {
                    match test {
                        ImageTest::Pattern(pattern) => self.pattern(pattern, scope, rule),
                        ImageTest::Regex(regex) => self.regex(regex, rule),
                    }
                }
            }
        }
    }

    pub(crate) fn pattern(&mut self, pattern: &Pattern, scope: Scope<'_>, rule: u32) {
        let detail = match pattern.suffix() {
            Some(suffix) => {
                self.suffixes.push(suffix.clone());
                u32::try_from(self.suffixes.len() - 1).unwrap_or(Entry::NOTHING)
            }
            None => Entry::NOTHING,
        };
        self.index.insert(pattern.segments(), scope, Entry { rule, detail });
    }

    pub(crate) fn everything(&mut self, scope: Scope<'_>, rule: u32) {
        self.index.insert_for_all(
            scope,
            Entry {
                rule,
                detail: Entry::NOTHING,
            },
        );
    }

    pub(crate) fn regex(&mut self, regex: &AnchoredRegex, rule: u32) {
        self.regexes.push(regex.regex.as_str().to_owned());
        self.regex_rules.push(rule);
    }

    /// # Errors
    ///
    /// When the regular expressions together are too large.
    pub(crate) fn build(self) -> Result<Matcher, regex::Error> {
        let regexes = |expressions: &[String]| {
            RegexSetBuilder::new(expressions)
                .size_limit(MAX_REGEX_SET_BYTES)
                .dfa_size_limit(MAX_REGEX_SET_BYTES / 8)
                .build()
        };
        Ok(Matcher {
            index: self.index,
            suffixes: self.suffixes,
            regexes: (!self.regexes.is_empty()).then(|| regexes(&self.regexes)).transpose()?,
            regex_rules: self.regex_rules,
        })
    }
}

impl Matcher {
    /// Finds all that matches the image and may be for this context, to be gone through in order by [`Found::rules`].
    pub(crate) fn find<'i>(&'i self, image: &Reference<'_>, context: Option<&Context<'_>>, found: &mut Found<'i>) {
        self.index.matches(image, context, &mut found.lists);
        if let Some(regexes) = &self.regexes {
            let matched = regexes.matches(&text_to_match(image));
            found
                .by_regex
                .extend(matched.iter().map(|index| self.regex_rules[index]));
        }
    }

    /// Whether anything matches, of what is for all contexts.
    pub(crate) fn matches(&self, image: &Reference<'_>) -> bool {
        let mut found = Found::default();
        self.find(image, None, &mut found);
        found.rules(self, image).next().is_some()
    }
}

/// What a [`Matcher`] found for an image.
#[derive(Debug, Default)]
pub(crate) struct Found<'i> {
    lists: Matches<'i>,
    by_regex: SmallVec<[u32; 4]>,
}

impl<'i> Found<'i> {
    /// The rules that match, in ascending order; one rule may come more than once.
    pub(crate) fn rules<'f>(
        &'f mut self,
        matcher: &'f Matcher,
        image: &'f Reference<'f>,
    ) -> impl Iterator<Item = u32> + 'f + use<'f, 'i> {
        let mut patterns = InOrder::new(&mut self.lists)
            .filter(move |entry| {
                entry.detail == Entry::NOTHING
                    || matcher
                        .suffixes
                        .get(entry.detail as usize)
                        .is_some_and(|suffix| suffix.matches(image))
            })
            .map(|entry| entry.rule)
            .peekable();
        let mut regexes = self.by_regex.iter().copied().peekable();
        std::iter::from_fn(move || match (patterns.peek(), regexes.peek()) {
            (Some(pattern), Some(regex)) if regex < pattern => regexes.next(),
            (Some(_), _) => patterns.next(),
            (None, _) => regexes.next(),
        })
    }
}

/// A regular expression that must match the whole of a normalised reference.
#[derive(Clone, Debug)]
pub struct AnchoredRegex {
    source: Box<str>,
    regex: Regex,
}

impl AnchoredRegex {
    /// Compiles it, anchored at both ends. Matching takes time linear in the text, whatever the expression.
    ///
    /// # Errors
    ///
    /// When it is no regular expression (no look-around, no back-references: those are not linear), or compiled is larger than 256 KiB.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        // The expression alone first: its own mistakes are to be shown as the author wrote them.
        Regex::new(source)?;
        let build = |expression: String| RegexBuilder::new(&expression).size_limit(MAX_REGEX_BYTES).build();
        // What is sound alone and not in parentheses ends in a comment, which `(?x)` allows; the next line is outside of it.
        let regex = build(format!(r"\A(?:{source})\z")).or_else(|_| build(format!("\\A(?:{source}\n)\\z")))?;
        Ok(Self {
            source: source.into(),
            regex,
        })
    }

    /// As its author wrote it.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The names of its groups.
    pub fn groups(&self) -> Vec<String> {
        self.regex.capture_names().flatten().map(str::to_owned).collect()
    }

    /// Whether it matches the normalised reference.
    pub fn matches(&self, image: &Reference<'_>) -> bool {
        self.regex.is_match(&text_to_match(image))
    }

    /// What its groups matched, cut off where the name ends: tag and digest are carried over on their own.
    pub(crate) fn captures(&self, image: &Reference<'_>) -> Option<Captured> {
        let text = text_to_match(image);
        let end = text.len() - image.suffix().len();
        let mut locations = self.regex.capture_locations();
        self.regex.captures_read(&mut locations, &text)?;
        let groups = self
            .regex
            .capture_names()
            .enumerate()
            .filter_map(|(index, name)| {
                let (from, to) = locations.get(index)?;
                Some((name?.into(), text[from.min(end)..to.min(end)].into()))
            })
            .collect();
        Some(Captured { groups })
    }
}

/// What regular expressions are matched with: the normal form, the registry in lower case.
fn text_to_match(image: &Reference<'_>) -> String {
    let mut text = image.canonical().to_string();
    let registry = registry_to_match(image);
    text.replace_range(..registry.len(), &registry);
    text
}

/// What the groups of a regular expression matched.
#[derive(Debug)]
pub(crate) struct Captured {
    groups: SmallVec<[(Box<str>, Box<str>); 4]>,
}

impl Groups for Captured {
    fn group(&self, name: &str) -> Option<&str> {
        self.groups
            .iter()
            .find(|(present, _)| **present == *name)
            .map(|(_, text)| &**text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_matches_the_whole_normalised_reference_or_nothing() {
        for (regex, image, expected) in [
            (r"docker\.io/library/.*", "alpine", true),
            (r"docker\.io/library", "alpine", false),
            (r"library/.*", "alpine", false),
            (r"docker\.io/a|docker\.io/b/.*", "docker.io/b/c", true),
            (r"docker\.io/b|x", "docker.io/b/c", false),
            (r"gcr.io/x", "gcr.io/x:1", false),
            (r"gcr\.io/x:\d+", "gcr.io/x:1", true),
            (r"gcr\.io/x", "GCR.io/x", true),
            (r"(?i)GCR\.io/X", "gcr.io/x", true),
            (r"(?x) gcr\.io / x  # a comment", "gcr.io/x", true),
            (r"(?x) gcr\.io / x  # a comment", "gcr.io/x/y", false),
            (r"(?x: gcr\.io / x )", "gcr.io/x", true),
            (r"(?m)^gcr\.io/x$", "gcr.io/x", true),
            ("", "gcr.io/x", false),
        ] {
            let regex = AnchoredRegex::new(regex).unwrap();
            assert_eq!(
                regex.matches(&Reference::parse(image).unwrap()),
                expected,
                "{} on {image}",
                regex.as_str()
            );
        }
    }

    #[test]
    fn groups_end_where_the_name_ends() {
        let regex = AnchoredRegex::new(r"docker\.io/(?<team>[^/]+)/(?<rest>.+)").unwrap();
        assert_eq!(regex.groups(), ["team", "rest"]);
        let captured = regex.captures(&Reference::parse("myorg/app:1.2").unwrap()).unwrap();
        assert_eq!(
            (captured.group("team"), captured.group("rest"), captured.group("x")),
            (Some("myorg"), Some("app"), None)
        );
    }

    #[test]
    fn what_is_not_linear_or_too_large_is_refused() {
        for regex in ["(", r"(?=x)", r"(a)\1", r"(?:\w{100}){100}", "a)|(b"] {
            assert!(AnchoredRegex::new(regex).is_err(), "{regex}");
        }
    }
}
