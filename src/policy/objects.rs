//! Policies that are objects of the Kubernetes API, compiled together with those in files so that one of them that is broken stops
//! neither the others nor the files: its last good version stays, or it is left out.

use std::{collections::BTreeMap, sync::Arc};

use super::{Compiled, Input, PolicySet, PresetChoice, Settings, compile};
use crate::document::{Diagnostic, Source};

/// A policy as an object has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.creationTimestamp`: of two objects that do not go together the older one stays, in every process.
    pub created: jiff::Timestamp,
    /// `metadata.generation`: counts up with each change of what it says.
    pub generation: i64,
    /// The policy, as JSON: `apiVersion`, `kind`, `metadata.name` and `spec`.
    pub text: Arc<str>,
}

/// What files and settings say: all that objects are compiled together with.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// Files with policies, in the order of their names.
    pub files: Vec<Source>,
    /// Presets, in the order in which they decide.
    pub presets: Vec<PresetChoice>,
    /// What the configuration says about all rules.
    pub settings: Settings,
}

/// All objects that there are, with what is known of each.
#[derive(Debug, Default)]
pub struct Objects {
    entries: BTreeMap<Box<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    source: Source,
    /// How many rules it has, or why it cannot be used, whatever else there is. None until it was compiled.
    alone: Option<Result<usize, Vec<Diagnostic>>>,
    /// The last version that was in use.
    good: Option<Good>,
}

#[derive(Clone, Debug)]
struct Good {
    generation: i64,
    source: Source,
}

/// What came of compiling files and objects together.
#[derive(Debug)]
pub struct Together {
    /// The set; none where the files alone have errors.
    pub set: Option<PolicySet>,
    /// What is to be said of the set, or why there is none. Of objects that are not in it as they are, their verdicts say it.
    pub diagnostics: Vec<Diagnostic>,
    /// What became of each object, by name.
    pub verdicts: Vec<Verdict>,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub name: Box<str>,
    /// Its generation.
    pub generation: i64,
    /// How many rules it has; none where that cannot be said.
    pub rules: Option<usize>,
    /// Whether it decides.
    pub state: State,
    /// The errors, where it does not decide as it is; else its warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether an object decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it is.
    InUse,
    /// It has errors; the last version that had none still decides, of this generation.
    Kept(i64),
    /// It has errors, and no version that could be used is known.
    LeftOut,
}

impl Objects {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All objects that there are: others are gone. Answers whether that is news.
    pub fn replace(&mut self, objects: Vec<Object>) -> bool {
        let before = self.entries.len();
        let names: std::collections::BTreeSet<Box<str>> = objects.iter().map(|object| object.name.clone()).collect();
        self.entries.retain(|name, _| names.contains(name));
        let mut changed = self.entries.len() != before;
        for object in objects {
            changed |= self.apply(object);
        }
        changed
    }

    /// An object that was made or changed. Answers whether that is news: its status changes, too.
    pub fn apply(&mut self, object: Object) -> bool {
        let source = Source::new(format!("{PREFIX}{}", object.name), object.text.clone());
        match self.entries.get_mut(&object.name) {
            Some(entry) if entry.object == object => false,
            Some(entry) => {
                if entry.object.text != object.text {
                    entry.alone = None;
                }
                // Made anew, it is another one.
                if entry.object.created != object.created {
                    entry.good = None;
                }
                (entry.object, entry.source) = (object, source);
                true
            }
            None => {
                let entry = Entry {
                    source,
                    alone: None,
                    good: None,
                    object,
                };
                self.entries.insert(entry.object.name.clone(), entry);
                true
            }
        }
    }

    /// An object that was deleted. Answers whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        self.entries.remove(name).is_some()
    }

    /// The versions that were used at the last [`compile`](Self::compile) that made a set, as names and texts.
    pub fn in_use(&self) -> Vec<(Box<str>, Arc<str>)> {
        let good = |entry: &Entry| Some((entry.object.name.clone(), entry.good.as_ref()?.source.text.clone()));
        self.entries.values().filter_map(good).collect()
    }

    /// Compiles files and objects. Each object alone first; then all of them; where they do not go together, as many as do, older ones
    /// first.
    pub fn compile(&mut self, base: &Base) -> Together {
        for entry in self.entries.values_mut() {
            entry.compile_alone(&base.settings);
        }
        let candidates = self.candidates();
        let mut together = base.with(&candidates);
        let mut refused = BTreeMap::new();
        if together.set.is_none() && !candidates.is_empty() {
            together = base.with(&[]);
            if together.set.is_some() {
                let mut accepted = Vec::new();
                self.accept(base, &candidates, &mut accepted, &mut refused);
                together = base.with(&accepted);
                self.used(&accepted);
            }
        } else if together.set.is_some() {
            self.used(&candidates);
        }
        let mut verdicts: Vec<Verdict> = self
            .entries
            .values()
            .map(|entry| entry.verdict(refused.remove(&entry.object.name)))
            .collect();
        together.diagnostics.iter_mut().for_each(without_lines);
        for verdict in &mut verdicts {
            if verdict.state == State::InUse {
                let source = format!("{PREFIX}{}", verdict.name);
                let of_it = together
                    .diagnostics
                    .iter()
                    .filter(|diagnostic| diagnostic.source == source);
                verdict.diagnostics = of_it.cloned().collect();
            }
        }
        Together {
            set: together.set,
            diagnostics: together.diagnostics,
            verdicts,
        }
    }

    /// The version of each that may be used, the oldest object first.
    fn candidates(&self) -> Vec<Candidate> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by_key(|entry| (entry.object.created, &entry.object.name));
        entries.into_iter().filter_map(Entry::candidate).collect()
    }

    /// Adds as many of the candidates as go together with those accepted before them. Halves, because most do.
    fn accept(
        &self,
        base: &Base,
        candidates: &[Candidate],
        accepted: &mut Vec<Candidate>,
        refused: &mut BTreeMap<Box<str>, Vec<Diagnostic>>,
    ) {
        let tried = [accepted, candidates].concat();
        let compiled = base.with(&tried);
        if compiled.set.is_some() {
            *accepted = tried;
            return;
        }
        match candidates {
            [] => {}
            [only] => {
                let errors = compiled.diagnostics.into_iter().filter(Diagnostic::is_error);
                refused.insert(
                    only.name.clone(),
                    errors
                        .map(|mut error| {
                            without_lines(&mut error);
                            error
                        })
                        .collect(),
                );
                // What it said before went together with the others, and may do so still.
                let before = self.entries.get(&only.name).and_then(|entry| entry.older_than(only));
                if let Some(before) = before {
                    let tried = [accepted, &[before][..]].concat();
                    if base.with(&tried).set.is_some() {
                        *accepted = tried;
                    }
                }
            }
            _ => {
                let (first, second) = candidates.split_at(candidates.len() / 2);
                self.accept(base, first, accepted, refused);
                self.accept(base, second, accepted, refused);
            }
        }
    }

    /// These are in use from now on, and no others.
    fn used(&mut self, candidates: &[Candidate]) {
        let mut used: BTreeMap<&str, Good> = candidates
            .iter()
            .map(|candidate| (&*candidate.name, candidate.version.clone()))
            .collect();
        for (name, entry) in &mut self.entries {
            entry.good = used.remove(&**name);
        }
    }
}

/// A version of an object, to be used.
#[derive(Clone, Debug)]
struct Candidate {
    name: Box<str>,
    version: Good,
}

impl Entry {
    fn compile_alone(&mut self, settings: &Settings) {
        if self.alone.is_some() {
            return;
        }
        let compiled = compile(&Input {
            sources: vec![self.source.clone()],
            presets: Vec::new(),
            settings: settings.clone(),
        });
        self.alone = Some(match compiled.set {
            Some(set) => {
                let rules = set.rules().iter();
                Ok(rules.filter(|rule| rule.policy() == &*self.object.name).count())
            }
            None => {
                let mut errors = compiled.diagnostics;
                errors.iter_mut().for_each(without_lines);
                Err(errors)
            }
        });
    }

    fn current(&self) -> Good {
        Good {
            generation: self.object.generation,
            source: self.source.clone(),
        }
    }

    fn candidate(&self) -> Option<Candidate> {
        let version = match &self.alone {
            Some(Ok(_)) => self.current(),
            _ => self.good.clone()?,
        };
        Some(Candidate {
            name: self.object.name.clone(),
            version,
        })
    }

    /// The version that was in use, where it is another one than this.
    fn older_than(&self, candidate: &Candidate) -> Option<Candidate> {
        let version = self.good.clone()?;
        (version.source.text != candidate.version.source.text).then(|| Candidate {
            name: candidate.name.clone(),
            version,
        })
    }

    /// What became of it, by what is in use now.
    fn verdict(&self, refused: Option<Vec<Diagnostic>>) -> Verdict {
        let in_use = self.good.as_ref();
        let state = match in_use {
            Some(good) if good.source.text == self.source.text => State::InUse,
            Some(good) => State::Kept(good.generation),
            None => State::LeftOut,
        };
        let (rules, errors) = match &self.alone {
            Some(Ok(rules)) => (Some(*rules), Vec::new()),
            Some(Err(errors)) => (None, errors.clone()),
            None => (None, Vec::new()),
        };
        Verdict {
            name: self.object.name.clone(),
            generation: self.object.generation,
            rules,
            state,
            diagnostics: refused.unwrap_or(errors),
        }
    }
}

impl Base {
    /// Compiles it without any object.
    pub fn compile(&self) -> Compiled {
        self.with(&[])
    }

    /// Files and these objects, in the order of their names: an object `NAME` stands where a file `50-NAME.yaml` would, as the chart
    /// calls the files that it makes, and one whose name has a number of its own, `10-NAME`, where `10-NAME.yaml` would.
    fn with(&self, objects: &[Candidate]) -> Compiled {
        let files = self.files.iter().map(|file| (file_name(&file.name).to_owned(), file));
        let objects = objects
            .iter()
            .map(|object| (place(&object.name), &object.version.source));
        let mut all: Vec<(String, &Source)> = files.chain(objects).collect();
        // Stable: files come in their order, and before an object that has the same place.
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        compile(&Input {
            sources: all.into_iter().map(|(_, source)| source.clone()).collect(),
            presets: self.presets.clone(),
            settings: self.settings.clone(),
        })
    }
}

/// The file name that an object stands for.
fn place(name: &str) -> String {
    let number = name.split_once('-').map_or("", |(number, _)| number);
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{name}.yaml")
    } else {
        format!("50-{name}.yaml")
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The lines of an object are nobody's: it was written somewhere else, in another form. Its keys are the same.
fn without_lines(diagnostic: &mut Diagnostic) {
    if diagnostic.source.starts_with(PREFIX) {
        diagnostic.spot = None;
    }
    for related in &mut diagnostic.related {
        if related.source.starts_with(PREFIX) {
            related.spot = None;
        }
    }
}

/// How diagnostics name an object: `policies.waypost.dev/NAME`.
pub const PREFIX: &str = "policies.waypost.dev/";

#[cfg(test)]
mod tests;
