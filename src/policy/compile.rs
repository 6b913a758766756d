//! From texts to a [`PolicySet`], or to everything that is wrong with them.

mod assemble;
mod cross;
mod presets;
mod rewrite;
pub(super) mod rule;
mod salvage;

use std::cell::OnceCell;

use hashbrown::HashMap;

use super::{
    Action, PolicySet, PresetChoice, Rule, Settings, preset,
    spec::{self, PolicyDocument, RuleSpec},
};
use crate::document::{self, Diagnostic, Node, Path, Problem, Severity, Source, check};

/// What a set is compiled from.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Files with policies, in the order in which they decide.
    pub sources: Vec<Source>,
    /// Presets, in the order in which they decide.
    pub presets: Vec<PresetChoice>,
    /// What the configuration says about all rules.
    pub settings: Settings,
}

/// What came of compiling.
#[derive(Debug)]
pub struct Compiled {
    /// The set; none where there are errors.
    pub set: Option<PolicySet>,
    /// All errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles presets and policies. The command line, the start, the reload and the API all come through here: what one accepts
/// works in the others.
pub fn compile(input: &Input) -> Compiled {
    let mut compiler = Compiler::default();
    for (place, choice) in input.presets.iter().enumerate() {
        compiler.preset(place, choice);
    }
    for source in &input.sources {
        compiler.source(source);
    }
    compiler.finish(input.settings.clone())
}

/// The order of decisions (design section 3). Rules that deny come first, whatever their class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Exempting,
    LatestPush,
    Preset(usize),
    Policy,
}

#[derive(Default)]
struct Compiler {
    documents: Vec<Document>,
    /// The names of `documents`, each with the place of the first that has it.
    policies: HashMap<String, usize>,
    drafts: Vec<Draft>,
    diagnostics: Vec<Diagnostic>,
    shapes: Shapes,
}

/// A document that rules come from, kept to show where they stand. Its tree is not: it is larger than the rules, and what shows only
/// when all rules are known is rare enough to read the text again.
struct Document {
    source: Source,
    /// Rules of one file shadow each other by mistake; rules of different files may well do so on purpose.
    file: usize,
    /// Its place in the text.
    place: usize,
    policy: String,
}

impl Document {
    fn read_again(&self) -> Option<Node> {
        document::parse(&self.source).0.into_iter().nth(self.place)
    }
}

/// A rule on its way into the set.
struct Draft {
    class: Class,
    rule: Rule,
    document: usize,
    /// Its place in the document's list.
    index: usize,
}

/// A rule as it is written.
struct Numbered {
    /// Its place in the document's list.
    index: usize,
    spec: RuleSpec,
    /// Whether it is all that was written.
    whole: bool,
}

impl Numbered {
    fn all(specs: Vec<RuleSpec>) -> Vec<Self> {
        let number = |(index, spec)| Self {
            index,
            spec,
            whole: true,
        };
        specs.into_iter().enumerate().map(number).collect()
    }
}

#[derive(Default)]
struct Shapes {
    policy: OnceCell<check::Shape>,
    preset: OnceCell<check::Shape>,
}

impl Compiler {
    fn source(&mut self, source: &Source) {
        let (nodes, problems) = document::parse(source);
        let broken = problems.iter().any(|problem| problem.severity == Severity::Error);
        self.report(source, nodes.first(), problems);
        let file = self.documents.len();
        let mut any = broken;
        for (place, node) in nodes.into_iter().enumerate() {
            if node.is_null() {
                continue;
            }
            any = true;
            match node.get("kind").and_then(Node::as_str) {
                Some("Policy") | None => self.policy(source, place, file, node),
                Some("Preset") => {
                    let problem = Problem::error(
                        "unknown-kind",
                        Path::root().key("kind"),
                        "a preset is no policy: it is chosen by its name",
                    )
                    .hint("make it `kind: Policy`, without `description`, `exempting` and `values`");
                    self.report(source, Some(&node), vec![problem]);
                }
                Some(kind) => {
                    let problem = Problem::error(
                        "unknown-kind",
                        Path::root().key("kind"),
                        format!("the kind `{}` is unknown here", kind.escape_debug()),
                    )
                    .hint("a file of policies has documents with `kind: Policy`");
                    self.report(source, Some(&node), vec![problem]);
                }
            }
        }
        if !any {
            let mut warning = Diagnostic::without_place(
                source.name.clone(),
                Severity::Warning,
                "empty-file",
                "there is no policy in this file",
            );
            warning.hint = Some("delete it, or write a policy into it".to_owned());
            self.diagnostics.push(warning);
        }
    }

    fn policy(&mut self, source: &Source, place: usize, file: usize, node: Node) {
        let shape = self
            .shapes
            .policy
            .get_or_init(|| check::Shape::from_schema(&spec::schema::<PolicyDocument>()));
        let mut problems = shape.check(&node);
        let (name, rules) = match problems.is_empty().then(|| node.decode::<PolicyDocument>()) {
            Some(Ok(document)) => (document.metadata.name, Numbered::all(document.spec.rules)),
            Some(Err(error)) => return self.report(source, Some(&node), vec![error.into()]),
            None => {
                let name = node
                    .get("metadata")
                    .and_then(|metadata| metadata.get("name"))
                    .and_then(Node::as_str);
                let rules = salvage::rules(&node, &problems);
                self.report(source, Some(&node), std::mem::take(&mut problems));
                let Some(name) = name else { return };
                (name.to_owned(), rules)
            }
        };
        let path = Path::root().key("metadata").key("name");
        if !valid_policy_name(&name) {
            problems.push(
                Problem::error("invalid-name", path.clone(), format!("the policy's name `{}` is not valid", name.escape_debug()))
                    .hint("write lower-case letters, digits, - and ., beginning and ending with a letter or digit, 253 at most"),
            );
        }
        if let Some(other) = self.policies.get(&name).map(|place| &self.documents[*place]) {
            let preset = preset::find(&name).is_some() || name == BUILT_IN;
            problems.push(
                Problem::error(
                    "duplicate-name",
                    path,
                    format!("the policy `{name}` is in {} already", other.source.name),
                )
                .hint(if preset {
                    "that is a preset in use: give your policy a name of its own"
                } else {
                    "give each policy a name of its own"
                }),
            );
        } else if name == BUILT_IN {
            problems.push(
                Problem::error(
                    "duplicate-name",
                    path,
                    format!("the name `{BUILT_IN}` is for built-in rules"),
                )
                .hint("give your policy another name"),
            );
        }
        self.report(source, Some(&node), problems);
        self.rules(
            Document {
                source: source.clone(),
                file,
                place,
                policy: name,
            },
            &node,
            Class::Policy,
            rules,
            false,
        );
    }

    fn rules(&mut self, document: Document, node: &Node, class: Class, specs: Vec<Numbered>, only_keeps: bool) {
        let base = Path::root().key("spec").key("rules");
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut problems = Vec::new();
        for Numbered { index, spec, whole } in specs {
            let path = base.clone().index(index);
            if let Some(first) = names.get(&spec.name) {
                problems.push(
                    Problem::error(
                        "duplicate-name",
                        path.clone().key("name"),
                        format!("the rule `{}` is there twice", spec.name),
                    )
                    .hint("give each rule of a policy a name of its own")
                    .related(base.clone().index(*first).key("name"), "the first"),
                );
            } else {
                names.insert(spec.name.clone(), index);
            }
            if only_keeps && (spec.keep.is_none() || spec.replicate.is_some()) {
                problems.push(
                    Problem::error("invalid-rule", path.clone(), "a preset that exempts can only keep")
                        .hint("write `keep: {}`"),
                );
            }
            let before = problems.len();
            let rule = rule::build(&document.policy, spec, &path, &mut problems);
            if !whole {
                let found = problems.split_off(before);
                problems.extend(
                    found
                        .into_iter()
                        .filter(|problem| !rule::MISSING.contains(&problem.code)),
                );
            }
            if let Some(rule) = rule.filter(|_| whole) {
                self.drafts.push(Draft {
                    class,
                    rule,
                    document: self.documents.len(),
                    index,
                });
            }
        }
        let rules = node.at(&base).map(|rules| &rules.value);
        if matches!(rules, Some(document::Value::Sequence(items)) if items.is_empty()) {
            problems.push(
                Problem::warning("no-rules", base, "this policy has no rules").hint("add one, or delete the policy"),
            );
        }
        self.report(&document.source, Some(node), problems);
        self.policies
            .entry(document.policy.clone())
            .or_insert(self.documents.len());
        self.documents.push(document);
    }

    fn finish(mut self, settings: Settings) -> Compiled {
        if settings.route_pushes {
            let rule = rule::latest_push(settings.pin_pushes);
            self.drafts.push(Draft {
                class: Class::LatestPush,
                rule,
                document: usize::MAX,
                index: 0,
            });
        }
        // Stable: within a class the order is that of the texts.
        self.drafts
            .sort_by_key(|draft| (!matches!(draft.rule.action, Action::Deny { .. }), draft.class));
        self.cross_check(&settings);
        let failed = self.diagnostics.iter().any(Diagnostic::is_error);
        let set = if failed { None } else { self.assemble(settings) };
        sort(&mut self.diagnostics);
        Compiled {
            set,
            diagnostics: self.diagnostics,
        }
    }

    fn report(&mut self, source: &Source, node: Option<&Node>, problems: Vec<Problem>) {
        self.diagnostics
            .extend(problems.iter().map(|problem| document::locate(problem, source, node)));
    }
}

/// Errors before warnings, file by file, from the top of each to its end: as people mend them.
fn sort(diagnostics: &mut [Diagnostic]) {
    let mut files: HashMap<String, usize> = HashMap::new();
    for diagnostic in diagnostics.iter() {
        let next = files.len();
        files.entry(diagnostic.source.clone()).or_insert(next);
    }
    diagnostics.sort_by_key(|diagnostic| {
        let place = diagnostic.spot.as_ref().map(|spot| (spot.line, spot.column));
        (!diagnostic.is_error(), files.get(&diagnostic.source).copied(), place)
    });
}

/// A DNS subdomain, as the names of Kubernetes objects are.
fn valid_policy_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(rule::valid_label)
}

/// The policy that built-in rules belong to.
const BUILT_IN: &str = "waypost";

#[cfg(test)]
mod tests;
