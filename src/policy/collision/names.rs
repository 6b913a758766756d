//! The names that a template can give, as patterns: too many rather than too few.

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
        let alternatives = alternatives(piece, source);
        texts = texts
            .iter()
            .flat_map(|text| {
                alternatives
                    .iter()
                    .map(|alternative| extended(text, piece, alternative))
            })
            .collect();
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
fn alternatives(piece: &Piece, source: &Source<'_>) -> Vec<String> {
    let join = |segments: &[&Segment]| {
        let texts: Vec<&str> = segments.iter().map(|segment| segment.as_str()).collect();
        texts.join("/")
    };
    let (name, namespace) = match source.repository.split_last() {
        Some((name, namespace)) => (*name, namespace),
        None => (&Segment::Deep, &[][..]),
    };
    match piece {
        Piece::Literal(literal) => vec![literal.to_string()],
        Piece::Variable(Variable::Registry) => vec![source.registry_text.to_owned()],
        Piece::Variable(Variable::Repository) => vec![join(&source.repository)],
        Piece::Variable(Variable::Name) if *name == Segment::Deep => vec!["*".to_owned()],
        Piece::Variable(Variable::Name) => vec![name.as_str().to_owned()],
        // `x/**` has the namespace x, or one below it; `**` any or none.
        Piece::Variable(Variable::Namespace) if *name == Segment::Deep => {
            vec![join(namespace), join(&source.repository)]
        }
        Piece::Variable(Variable::Namespace) => vec![join(namespace)],
        Piece::Variable(Variable::Group(_)) => vec![String::new(), "**".to_owned()],
    }
}

/// As in rendering, what is empty takes the slash behind it along.
fn extended(text: &str, piece: &Piece, alternative: &str) -> String {
    match piece {
        Piece::Literal(_) if text.ends_with('/') => {
            format!("{text}{}", alternative.strip_prefix('/').unwrap_or(alternative))
        }
        _ => format!("{text}{alternative}"),
    }
}

/// Into segments. A `**` beside other characters may be of one segment, with them, or of several, the first and last of which
/// have them.
fn divided(text: &str) -> Vec<Names> {
    let mut all: Vec<Names> = vec![Vec::new()];
    for part in text.split('/') {
        let ways: Vec<Names> = match (part.find("**"), part.rfind("**")) {
            (Some(first), Some(last)) if part != "**" => {
                let (before, after) = (segment(&part[..first + 1]), segment(&part[last + 1..]));
                vec![
                    vec![segment(part)],
                    vec![before.clone(), after.clone()],
                    vec![before, Segment::Deep, after],
                ]
            }
            (Some(_), _) => vec![vec![Segment::Deep]],
            (None, _) => vec![vec![segment(part)]],
        };
        all = all
            .iter()
            .flat_map(|names| ways.iter().map(|way| [&names[..], way].concat()))
            .collect();
    }
    all
}

/// One segment, in which several `*` in a row are as good as one.
fn segment(text: &str) -> Segment {
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
