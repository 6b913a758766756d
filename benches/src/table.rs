//! What was measured, as Markdown.

use std::fmt::Write as _;

/// A row: one quantity of the floor and of `serve` with few and with many rules, in each round.
pub struct Row {
    /// What it is, with its unit.
    pub name: String,
    /// Digits after the point.
    pub digits: usize,
    /// In each round; in the order of the table's columns.
    pub rounds: Vec<[f64; 3]>,
    /// What is aimed at.
    pub aim: Option<Aim>,
}

/// What a row is to be at most.
#[derive(Clone, Copy)]
pub enum Aim {
    /// Few rules to the floor, many rules to few.
    Ratios(f64, f64),
    /// Few rules, many rules.
    Values(f64, f64),
}

impl Row {
    /// A row without rounds yet.
    pub fn new(name: impl Into<String>, digits: usize, aim: Option<Aim>) -> Self {
        Self {
            name: name.into(),
            digits,
            rounds: Vec::new(),
            aim,
        }
    }

    /// Sets the value of a column; the first column's begins a round.
    pub fn set(&mut self, column: usize, value: f64) {
        if column == 0 {
            self.rounds.push([f64::NAN; 3]);
        }
        if let Some(round) = self.rounds.last_mut() {
            round[column] = value;
        }
    }

    /// The middle one of all rounds.
    pub fn value(&self, column: usize) -> f64 {
        median(self.rounds.iter().map(|round| round[column]))
    }

    /// The middle one of each round's ratio: a machine that slows down for a round slows down both.
    pub fn ratio(&self, column: usize, to: usize) -> f64 {
        median(self.ratios(column, to))
    }

    fn ratios(&self, column: usize, to: usize) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(move |round| round[column] / round[to])
    }

    /// The ratio, and the least and the most that it was in a round: what lies between is as good an answer.
    fn ratio_with_range(&self, column: usize, to: usize) -> String {
        let least = self.ratios(column, to).fold(f64::INFINITY, f64::min);
        let most = self.ratios(column, to).fold(f64::NEG_INFINITY, f64::max);
        format!("{:.2} ({least:.2}–{most:.2})", self.ratio(column, to))
    }

    fn verdict(&self) -> Option<String> {
        let (few, many, aims) = match self.aim? {
            Aim::Ratios(few, many) => (self.ratio(1, 0), self.ratio(2, 1), (few, many)),
            Aim::Values(few, many) => (self.value(1), self.value(2), (few, many)),
        };
        let word = |value: f64, aim: f64| if value <= aim { "met" } else { "**missed**" };
        Some(format!(
            "≤ {}: {}; ≤ {}: {}",
            aims.0,
            word(few, aims.0),
            aims.1,
            word(many, aims.1)
        ))
    }
}

/// The table of these rows.
pub fn render(rows: &[Row], few: usize, many: usize) -> String {
    let mut table = format!(
        "| | floor | {few} rules | {many} rules | {few} rules / floor | {many} / {few} rules | aims |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
    );
    for row in rows {
        let digits = row.digits;
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {} | {:.digits$} | {:.digits$} | {:.digits$} | {} | {} | {} |",
            row.name,
            row.value(0),
            row.value(1),
            row.value(2),
            row.ratio_with_range(1, 0),
            row.ratio_with_range(2, 1),
            row.verdict().unwrap_or_default(),
        );
    }
    table
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
