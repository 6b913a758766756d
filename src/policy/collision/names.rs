//! The names that a template can give, as patterns: too many rather than too few.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::Source;
use crate::policy::{
    pattern::{Segment, segments_intersect},
    template::{Piece, Template, Variable},
};

/// A pattern of names: the registry, then the repository's segments.
pub(super) type Names = Vec<Segment>;

/// Patterns that together match every name which the template gives an image of the source.
pub(super) fn names(template: &Template, source: &Source<'_>) -> Vec<Names> {
    let mut texts = vec![String::new()];
    for piece in template.pieces() {
        match &mut *alternatives(piece, source) {
            // Nearly always.
            [alternative] => texts.iter_mut().for_each(|text| extend(text, piece, alternative)),
            alternatives => {
                let extended = |text: &String| {
                    let text = text.clone();
                    alternatives.iter().map(move |alternative| {
                        let mut text = text.clone();
                        extend(&mut text, piece, alternative);
                        text
                    })
                };
                texts = texts.iter().flat_map(extended).collect();
            }
        }
        if texts.len() > MOST_TEXTS {
            return vec![vec![Segment::Literal(template.registry().into()), Segment::Deep]];
        }
    }
    let mut all: Vec<Names> = Vec::new();
    for text in &texts {
        for names in divided(text) {
            let names = on_docker_hub(names);
            if !all.contains(&names) {
                all.push(names);
            }
        }
    }
    all
}

/// What all these names begin with.
pub(super) fn literal_prefix(names: &[Segment]) -> String {
    let mut prefix = String::new();
    for (place, segment) in names.iter().enumerate() {
        if place > 0 {
            prefix.push('/');
        }
        match segment {
            Segment::Literal(text) => prefix.push_str(text),
            Segment::Glob(glob) => {
                prefix.push_str(glob.literal_prefix());
                break;
            }
            Segment::Any | Segment::Deep => break,
        }
    }
    prefix
}

/// Whether some name matches both.
pub(super) fn overlap(left: &[Segment], right: &[Segment]) -> bool {
    segments_intersect(left, right)
}

/// More ways to read a template than this (a handful of variables that may be empty) are not told apart.
const MOST_TEXTS: usize = 32;

/// What may stand in a piece's place, with `*` and `**` as in patterns.
fn alternatives<'a>(piece: &'a Piece, source: &'a Source<'_>) -> SmallVec<[Cow<'a, str>; 2]> {
    let join = |segments: &[&'a Segment]| match segments {
        [segment] => segment.as_str().into(),
        _ => {
            let texts: SmallVec<[&str; 8]> = segments.iter().map(|segment| segment.as_str()).collect();
            texts.join("/").into()
        }
    };
    let (name, namespace) = match source.repository.split_last() {
        Some((name, namespace)) => (*name, namespace),
        None => (&Segment::Deep, &[][..]),
    };
    match piece {
        Piece::Literal(literal) => smallvec![(&**literal).into()],
        Piece::Variable(Variable::Registry) => smallvec![source.registry_text.into()],
        Piece::Variable(Variable::Repository) => smallvec![join(&source.repository)],
        Piece::Variable(Variable::Name) if *name == Segment::Deep => smallvec!["*".into()],
        Piece::Variable(Variable::Name) => smallvec![name.as_str().into()],
        // `x/**` has the namespace x, or one below it; `**` any or none.
        Piece::Variable(Variable::Namespace) if *name == Segment::Deep => {
            smallvec![join(namespace), join(&source.repository)]
        }
        Piece::Variable(Variable::Namespace) => smallvec![join(namespace)],
        Piece::Variable(Variable::Group(_)) => smallvec!["".into(), "**".into()],
    }
}

/// As in rendering, what is empty takes the slash behind it along.
fn extend(text: &mut String, piece: &Piece, alternative: &str) {
    match piece {
        Piece::Literal(_) if text.ends_with('/') => {
            text.push_str(alternative.strip_prefix('/').unwrap_or(alternative));
        }
        _ => text.push_str(alternative),
    }
}

/// Into segments. A `**` beside other characters may be of one segment, with them, or of several, the first and last of which
/// have them.
fn divided(text: &str) -> Vec<Names> {
    let slashes = text.bytes().filter(|byte| *byte == b'/').count();
    let mut all: Vec<Names> = vec![Vec::with_capacity(slashes + 1)];
    for part in text.split('/') {
        let Some((first, last)) = stars(part).filter(|_| part != "**") else {
            all.iter_mut().for_each(|names| names.push(segment(part)));
            continue;
        };
        let (before, after) = (segment(&part[..first + 1]), segment(&part[last + 1..]));
        let ways = [
            vec![segment(part)],
            vec![before.clone(), after.clone()],
            vec![before, Segment::Deep, after],
        ];
        all = all
            .iter()
            .flat_map(|names| ways.iter().map(|way| [&names[..], way].concat()))
            .collect();
    }
    all
}

/// Where the first `**` of a text is, and the last.
fn stars(text: &str) -> Option<(usize, usize)> {
    let pairs = text.as_bytes().windows(2);
    let mut stars = pairs.enumerate().filter(|(_, pair)| pair == b"**").map(|(at, _)| at);
    let first = stars.next()?;
    Some((first, stars.next_back().unwrap_or(first)))
}

/// One segment, in which several `*` in a row are as good as one, or all of a `**`.
fn segment(text: &str) -> Segment {
    if text == "**" || stars(text).is_none() {
        return Segment::parse(text);
    }
    let mut text = text.to_owned();
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    Segment::parse(&text)
}

/// A repository of one segment has `library/` put before it on Docker Hub.
fn on_docker_hub(names: Names) -> Names {
    match &names[..] {
        [Segment::Literal(registry), name] if &**registry == "docker.io" && *name != Segment::Deep => {
            vec![names[0].clone(), Segment::Literal("library".into()), names[1].clone()]
        }
        _ => names,
    }
}
