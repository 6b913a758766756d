//! How far copies are: a bar for each on a terminal, a line now and then where there is none.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use super::super::output;
use crate::app::Push;
use crate::pushes::State;

/// What is shown of several copies.
pub(in super::super) struct Board {
    /// On a terminal.
    bars: Option<MultiProgress>,
}

/// What is shown of one.
pub(super) struct Line<'b> {
    board: &'b Board,
    image: String,
    bar: Option<ProgressBar>,
    /// When something was last said of it.
    said: Cell<Instant>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self {
            bars: io::stderr().is_terminal().then(MultiProgress::new),
        }
    }

    pub(super) fn begin(&self, image: &str) -> Line<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(style("{msg}"));
            bar.set_message(format!("{image}  waits"));
            bar
        });
        Line {
            board: self,
            image: image.to_owned(),
            bar,
            said: Cell::new(Instant::now()),
        }
    }

    /// Says something beside the bars.
    pub(super) fn say(&self, image: &str, text: &str) {
        self.aside(|| output::remark(&format!("{image}: {text}")));
    }

    pub(super) fn aside(&self, say: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.suspend(say),
            None => say(),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            // What is said next takes their place.
            let _ = bars.clear();
        }
    }
}

impl Line<'_> {
    pub(super) fn show(&self, push: &Push) {
        let Some(attempt) = &push.last_attempt else { return };
        let bytes = attempt
            .bytes_total
            .zip(attempt.bytes_done)
            .filter(|(total, _)| *total > 0);
        let text = match (attempt.state, bytes) {
            (State::Running, Some((total, done))) => {
                if let Some(bar) = &self.bar {
                    if bar.length() != Some(total) {
                        bar.set_style(style(BAR));
                        bar.set_message(self.image.clone());
                        bar.set_length(total);
                    }
                    bar.set_position(done);
                    return;
                }
                let (part, whole) = (HumanBytes(done), HumanBytes(total));
                format!("{part} of {whole} ({} %)", done.saturating_mul(100) / total)
            }
            (State::Running, None) => "looks what has to be copied".to_owned(),
            _ => "waits for its turn".to_owned(),
        };
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}  {text}", self.image)),
            None => self.now_and_then(&text),
        }
    }

    /// Something that may take a while.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{msg}"));
                bar.set_length(0);
                bar.set_message(format!("{}  {text}", self.image));
            }
            None => self.now_and_then(text),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn now_and_then(&self, text: &str) {
        if self.said.get().elapsed() >= SAY_EVERY {
            self.said.set(Instant::now());
            self.board.say(&self.image, text);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const BAR: &str = "{msg}  {bar:30}  {bytes}/{total_bytes}  {bytes_per_sec}  {elapsed}";
const SAY_EVERY: Duration = Duration::from_secs(5);
