//! From texts to a [`PolicySet`], or to everything that is wrong with them.

mod rule;

use std::{cell::OnceCell, collections::BTreeMap};

use hashbrown::HashMap;

use super::{
    Action, ImageTest, PolicySet, PresetChoice, Rule, Settings,
    collision::collisions,
    index::{Entry, Index},
    matcher::{MAX_REGEXES, MatcherBuilder},
    preset,
    shadow::shadowed,
    spec::{self, PolicyDocument, PresetDocument, PresetValue, RuleSpec},
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
    drafts: Vec<Draft>,
    diagnostics: Vec<Diagnostic>,
    shapes: Shapes,
}

/// A document that rules come from, kept to show where they stand. Its tree is not: it is larger than the rules, and what shows only
/// when all rules are known is rare enough to read the text again.
struct Document {
    source: Source,
    /// Its place in the text.
    place: usize,
    /// Rules of one file shadow each other by mistake; rules of different files may well do so on purpose.
    file: usize,
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
            warning.hint = Some("delete it, or write a policy: `waypost check --help` has an example".to_owned());
            self.diagnostics.push(warning);
        }
    }

    fn policy(&mut self, source: &Source, place: usize, file: usize, node: Node) {
        let shape = self
            .shapes
            .policy
            .get_or_init(|| check::Shape::from_schema(&spec::schema::<PolicyDocument>()));
        let problems = shape.check(&node);
        let sound = problems.is_empty();
        self.report(source, Some(&node), problems);
        if !sound {
            return;
        }
        let document: PolicyDocument = match node.decode() {
            Ok(document) => document,
            Err(error) => return self.report(source, Some(&node), vec![error.into()]),
        };
        let mut problems = Vec::new();
        let name = document.metadata.name;
        let path = Path::root().key("metadata").key("name");
        if !valid_policy_name(&name) {
            problems.push(
                Problem::error("invalid-name", path.clone(), format!("the policy's name `{}` is not valid", name.escape_debug()))
                    .hint("write lower-case letters, digits, - and ., beginning and ending with a letter or digit, 253 at most"),
            );
        }
        if let Some(other) = self.documents.iter().find(|other| other.policy == name) {
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
                place,
                file,
                policy: name,
            },
            &node,
            Class::Policy,
            document.spec.rules,
            false,
        );
    }

    fn preset(&mut self, place: usize, choice: &PresetChoice) {
        let whole = |name: String, message: String, hint: String| {
            let mut error = Diagnostic::without_place(name, Severity::Error, "invalid-preset", message);
            error.hint = Some(hint);
            error
        };
        let Some(preset) = preset::find(&choice.name) else {
            let names = || preset::ALL.iter().map(|preset| preset.name);
            let hint = match check::closest(&choice.name, names()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("there is no preset `{}`", choice.name.escape_debug());
            return self
                .diagnostics
                .push(whole("policies.presets".to_owned(), message, hint));
        };
        let source = Source::new(format!("preset {}", preset.name), preset.text);
        if self.documents.iter().any(|other| other.policy == preset.name) {
            let message = format!("the preset `{}` is chosen twice", preset.name);
            return self.diagnostics.push(whole(
                "policies.presets".to_owned(),
                message,
                "choose it once".to_owned(),
            ));
        }
        let (mut nodes, problems) = document::parse(&source);
        self.report(&source, nodes.first(), problems);
        let Some(mut node) = nodes.pop() else { return };
        let declared = declared_values(&node);
        let mut values = BTreeMap::new();
        for value in &declared {
            match choice.values.get(&value.name).or(value.default.as_ref()) {
                Some(given) => {
                    values.insert(value.name.as_str(), given.as_str());
                }
                None => self.diagnostics.push(whole(
                    source.name.clone(),
                    format!(
                        "the preset `{}` needs the value `{}`: {}",
                        preset.name, value.name, value.description
                    ),
                    format!(
                        "write `{}`, or in the configuration `{{name: {}, values: {{{}: {}}}}}`",
                        value.as_argument(preset.name),
                        preset.name,
                        value.name,
                        value.example.as_deref().unwrap_or("VALUE")
                    ),
                )),
            }
        }
        for name in choice
            .values
            .keys()
            .filter(|name| !declared.iter().any(|value| value.name == **name))
        {
            let names: Vec<&str> = declared.iter().map(|value| value.name.as_str()).collect();
            let hint = match check::closest(name, names.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None if names.is_empty() => "it has none".to_owned(),
                None => format!("it has {}", names.join(", ")),
            };
            let message = format!("the preset `{}` has no value `{}`", preset.name, name.escape_debug());
            self.diagnostics.push(whole(source.name.clone(), message, hint));
        }
        if declared.iter().any(|value| !values.contains_key(value.name.as_str())) {
            return;
        }
        let unknown = preset::fill_in(&mut node, &values);
        let shape = self
            .shapes
            .preset
            .get_or_init(|| check::Shape::from_schema(&spec::schema::<PresetDocument>()));
        let mut problems = shape.check(&node);
        problems.extend(unknown.into_iter().map(|name| {
            Problem::error(
                "unknown-value",
                Path::root().key("spec"),
                format!("the value `${{{name}}}` is not declared"),
            )
            .hint("add it to `values`")
        }));
        let sound = problems.is_empty();
        self.report(&source, Some(&node), problems);
        if !sound {
            return;
        }
        let document: PresetDocument = match node.decode() {
            Ok(document) => document,
            Err(error) => return self.report(&source, Some(&node), vec![error.into()]),
        };
        let exempting = document.spec.exempting;
        let class = if exempting {
            Class::Exempting
        } else {
            Class::Preset(place)
        };
        let file = self.documents.len();
        let document_of = Document {
            source,
            place: nodes.len(),
            file,
            policy: document.metadata.name,
        };
        self.rules(document_of, &node, class, document.spec.rules, exempting);
    }

    fn rules(&mut self, document: Document, node: &Node, class: Class, specs: Vec<RuleSpec>, only_keeps: bool) {
        let base = Path::root().key("spec").key("rules");
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut problems = Vec::new();
        for (index, spec) in specs.into_iter().enumerate() {
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
            if only_keeps && spec.keep.is_none() {
                problems.push(
                    Problem::error("invalid-rule", path.clone(), "a preset that exempts can only keep")
                        .hint("write `keep: {}`"),
                );
            }
            if let Some(rule) = rule::build(&document.policy, spec, &path, &mut problems) {
                self.drafts.push(Draft {
                    class,
                    rule,
                    document: self.documents.len(),
                    index,
                });
            }
        }
        if names.is_empty() {
            problems.push(
                Problem::warning("no-rules", base, "this policy has no rules").hint("add one, or delete the policy"),
            );
        }
        self.report(&document.source, Some(node), problems);
        self.documents.push(document);
    }

    fn finish(mut self, settings: Settings) -> Compiled {
        if settings.route_pushes {
            let rule = rule::latest_push();
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
        self.cross_check();
        let failed = self.diagnostics.iter().any(Diagnostic::is_error);
        let set = if failed { None } else { self.assemble(settings) };
        self.diagnostics.sort_by_key(|diagnostic| !diagnostic.is_error());
        Compiled {
            set,
            diagnostics: self.diagnostics,
        }
    }

    /// What only shows when all rules are known.
    fn cross_check(&mut self) {
        let rules: Vec<&Rule> = self.drafts.iter().map(|draft| &draft.rule).collect();
        let mut found: Vec<(usize, Problem)> = Vec::new();
        let regexes = |rule: &Rule| {
            rule.matching
                .images
                .iter()
                .flatten()
                .filter(|test| matches!(test, ImageTest::Regex(_)))
                .count()
        };
        let mut total = 0;
        for (place, rule) in rules.iter().enumerate() {
            let before = total;
            total += regexes(rule);
            if before <= MAX_REGEXES && total > MAX_REGEXES {
                let path = self.path(place).key("match").key("images");
                let message = format!("there are more than {MAX_REGEXES} regular expressions");
                found.push((
                    place,
                    Problem::error("too-many-regexes", path, message)
                        .hint("use patterns: any number of them costs the same"),
                ));
            }
        }
        for (shadowed, by) in shadowed(&rules) {
            let (draft, first) = (&self.drafts[shadowed], &self.drafts[by]);
            let same_file = self.file(draft) == self.file(first);
            let message = format!(
                "the rule `{}` never decides: `{}` comes first and matches all that it matches",
                draft.rule.id, first.rule.id
            );
            let mut problem = if same_file {
                Problem::error("shadowed-rule", self.path(shadowed).key("name"), message)
            } else {
                Problem::warning("shadowed-rule", self.path(shadowed).key("name"), message)
            };
            problem = problem.hint("put it before that rule, let that rule match less, or delete it");
            if draft.document == first.document {
                problem = problem.related(self.path(by).key("name"), "the rule that comes first");
            }
            found.push((shadowed, problem));
        }
        for collision in collisions(&rules) {
            let (place, template) = collision.second;
            let (draft, rewrite) = (&self.drafts[place], |rule: &Rule| match &rule.action {
                Action::Rewrite(rewrite) => rewrite.to[template.min(rewrite.to.len() - 1)].to_string(),
                _ => String::new(),
            });
            let text = rewrite(&draft.rule);
            let what = if collision.loses_registry {
                "registries"
            } else {
                "repositories"
            };
            let message = match collision.first.0 == place {
                true => format!(
                    "the template `{text}` can give images of different {what} one name, and the rule matches several"
                ),
                false => format!(
                    "the template `{text}` can give an image the name that `{}` gives another",
                    self.drafts[collision.first.0].rule.id
                ),
            };
            let hint = if collision.loses_registry {
                "put {registry} into it, let the rule match one registry, or say `sharedTarget: true` if the images are the same in all"
            } else {
                "put {repository} into it, let the rules match different images, or say `sharedTarget: true` if the images are the same"
            };
            let path = self.path(place).key("rewrite");
            found.push((place, Problem::error("shared-target", path, message).hint(hint)));
        }
        let mut nodes: HashMap<usize, Option<Node>> = HashMap::new();
        for (place, problem) in found {
            let number = self.drafts[place].document;
            if let Some(document) = self.documents.get(number) {
                let node = nodes.entry(number).or_insert_with(|| document.read_again());
                let diagnostic = document::locate(&problem, &document.source, node.as_ref());
                self.diagnostics.push(diagnostic);
            }
        }
    }

    fn assemble(&mut self, settings: Settings) -> Option<PolicySet> {
        let rules: Vec<Rule> = self.drafts.drain(..).map(|draft| draft.rule).collect();
        let mut images = MatcherBuilder::new();
        let mut targets = Index::new();
        let mut registries: HashMap<Box<str>, u16> = HashMap::new();
        let mut registry_names: Vec<Box<str>> = vec![super::OTHER_REGISTRY.into()];
        let mut know = |registry: &str| {
            let next = u16::try_from(registry_names.len());
            if let (false, Ok(next)) = (registries.contains_key(registry), next) {
                registries.insert(registry.into(), next);
                registry_names.push(registry.into());
            }
        };
        for (number, rule) in (0u32..).zip(&rules) {
            let namespaces = rule.matching.namespaces.as_deref();
            match &rule.matching.images {
                None => images.everything(namespaces, number),
                Some(tests) => {
                    for test in tests {
                        match test {
                            ImageTest::Pattern(pattern) => {
                                images.pattern(pattern, namespaces, number);
                                pattern.literal_registry().into_iter().for_each(&mut know);
                            }
                            ImageTest::Regex(regex) => images.regex(regex, number),
                        }
                    }
                }
            }
            if let Action::Rewrite(rewrite) = &rule.action {
                for (detail, template) in (0u32..).zip(&rewrite.to) {
                    know(template.registry());
                    for names in template.prefix_patterns() {
                        targets.insert(&names, None, Entry { rule: number, detail });
                    }
                }
            }
        }
        let denying = rules
            .iter()
            .take_while(|rule| matches!(rule.action, Action::Deny { .. }))
            .count();
        match images.build() {
            Ok(images) => {
                let denying = u32::try_from(denying).unwrap_or(u32::MAX);
                Some(PolicySet {
                    rules,
                    denying,
                    images,
                    targets,
                    registries,
                    registry_names,
                    settings,
                })
            }
            Err(error) => {
                let message = format!("the regular expressions of all rules together are too large: {error}");
                let mut problem = Diagnostic::without_place("policies", Severity::Error, "regexes-too-large", message);
                problem.hint = Some("use patterns where they serve, or shorter repetitions".to_owned());
                self.diagnostics.push(problem);
                None
            }
        }
    }

    fn report(&mut self, source: &Source, node: Option<&Node>, problems: Vec<Problem>) {
        self.diagnostics
            .extend(problems.iter().map(|problem| document::locate(problem, source, node)));
    }

    fn path(&self, place: usize) -> Path {
        Path::root().key("spec").key("rules").index(self.drafts[place].index)
    }

    fn file(&self, draft: &Draft) -> Option<usize> {
        self.documents.get(draft.document).map(|document| document.file)
    }
}

/// The values that a preset declares, read before the rest of it can be checked.
fn declared_values(node: &Node) -> Vec<PresetValue> {
    let values = node.get("spec").and_then(|spec| spec.get("values"));
    values.and_then(|values| values.decode().ok()).unwrap_or_default()
}

/// A DNS subdomain, as the names of Kubernetes objects are.
fn valid_policy_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(rule::valid_label)
}

/// The policy that built-in rules belong to.
const BUILT_IN: &str = "waypost";

#[cfg(test)]
mod tests;
