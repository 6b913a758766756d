//! How wide text is on a terminal, and what of it may reach one.

use std::fmt::Write as _;

/// The part of a line that is shown, and where the part meant is in it.
pub(super) struct Window {
    /// What is shown.
    pub(super) line: String,
    /// The columns of the terminal before the part meant.
    pub(super) before: usize,
    /// The columns that the part meant takes.
    pub(super) width: usize,
}

/// Shows the characters `from..to` of a line with as much around them as fits into [`MOST`] columns.
pub(super) fn columns(line: &str, from: usize, to: usize) -> Window {
    let cells: Vec<(String, usize)> = line.chars().map(cell).collect();
    let from = from.min(cells.len());
    let to = to.clamp(from, cells.len());
    let total: usize = cells.iter().map(|(_, width)| width).sum();
    let (mut first, mut last) = (0, cells.len());
    if total > MOST {
        // The part meant begins a third into the window, further left where the line begins there.
        let mut space = MOST / 3;
        first = from;
        while first > 0 && cells[first - 1].1 <= space {
            first -= 1;
            space -= cells[first].1;
        }
        let mut space = MOST - (MOST / 3 - space);
        last = first + cells[first..from].len();
        while last < cells.len() && cells[last].1 <= space {
            space -= cells[last].1;
            last += 1;
        }
    }
    let to = to.min(last);
    let sum = |range: &[(String, usize)]| range.iter().map(|(_, width)| width).sum::<usize>();
    let mut shown = String::new();
    if first > 0 {
        shown.push('…');
    }
    for (text, _) in &cells[first..last] {
        shown.push_str(text);
    }
    if last < cells.len() {
        shown.push('…');
    }
    Window {
        line: shown,
        before: usize::from(first > 0) + sum(&cells[first..from]),
        width: sum(&cells[from..to]),
    }
}

/// The text with everything escaped that could steer a terminal: control characters, and those that change the direction of
/// text (CVE-2021-42574).
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\t' || steers(character) {
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// How a character of an excerpt is shown, and its columns.
fn cell(character: char) -> (String, usize) {
    if character == '\t' {
        return ("    ".to_owned(), 4);
    }
    if steers(character) {
        let text = character.escape_default().to_string();
        let width = text.len();
        return (text, width);
    }
    (character.to_string(), width(character))
}

fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
            | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The columns of a character, near enough to put a mark below it: the wide blocks of Unicode's East Asian Width (UAX #11),
/// and the combining marks that are common.
fn width(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{20d0}'..='\u{20ff}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The columns of a line that are shown.
const MOST: usize = 110;
