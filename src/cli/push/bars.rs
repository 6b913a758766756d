//! How far copies are: a bar for each on a terminal, and for each blob where there is one copy alone; a line now and then where there is no
//! terminal.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use super::super::output;
use crate::oci::copy::{Blob, BlobState, Progress};

/// Where all copies of a command are shown.
pub(super) enum Screen {
    /// A terminal, and whether blobs are shown there.
    Terminal { all: MultiProgress, blobs: bool },
    /// Somewhere else.
    Log,
}

/// What is shown of one copy.
pub(super) enum Bars {
    /// On a terminal.
    Terminal {
        all: MultiProgress,
        total: ProgressBar,
        /// None where they are not shown.
        blobs: Option<BTreeMap<Box<str>, ProgressBar>>,
    },
    /// Somewhere else.
    Log { image: String, said: Instant },
}

impl Screen {
    /// For so many copies.
    pub(super) fn new(copies: usize) -> Self {
        match io::stderr().is_terminal() {
            true => Self::Terminal {
                all: MultiProgress::new(),
                blobs: copies == 1,
            },
            false => Self::Log,
        }
    }

    /// Says something beside the bars.
    pub(super) fn aside<T>(&self, say: impl FnOnce() -> T) -> T {
        match self {
            Self::Terminal { all, .. } => all.suspend(say),
            Self::Log => say(),
        }
    }

    pub(super) fn begin(&self, image: &str, target: &str) -> Bars {
        let (all, blobs) = match self {
            Self::Terminal { all, blobs } => (all.clone(), *blobs),
            Self::Log => {
                output::remark(&format!("copying {image} to {target}"));
                return Bars::Log {
                    image: image.to_owned(),
                    said: Instant::now(),
                };
            }
        };
        let total = all.add(ProgressBar::new(0));
        total.set_style(style("{msg}  {bytes}/{total_bytes}  {bytes_per_sec}  {elapsed}"));
        total.set_message(format!("{image} → {target}"));
        Bars::Terminal {
            all,
            total,
            blobs: blobs.then(BTreeMap::new),
        }
    }
}

impl Bars {
    /// How often there is something to show.
    pub(super) fn every(&self) -> Duration {
        match self {
            Self::Terminal { .. } => Duration::from_millis(100),
            Self::Log { .. } => Duration::from_secs(1),
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        match self {
            Self::Terminal { all, total, blobs } => {
                total.set_length(progress.total());
                total.set_position(progress.done());
                if let Some(blobs) = blobs {
                    for blob in progress.blobs() {
                        show(all, blobs, &blob);
                    }
                }
            }
            Self::Log { image, said } => {
                if said.elapsed() < SAY_EVERY || progress.total() == 0 {
                    return;
                }
                *said = Instant::now();
                let (done, total) = (progress.done(), progress.total());
                output::remark(&format!(
                    "{image}: {} of {} ({} %)",
                    bytes(done),
                    bytes(total),
                    done.saturating_mul(100) / total
                ));
            }
        }
    }

    pub(super) fn end(&mut self, progress: &Progress) {
        self.show(progress);
        if let Self::Terminal { all, total, blobs } = self {
            // The summary takes their place.
            for bar in blobs.iter().flat_map(BTreeMap::values).chain([&*total]) {
                bar.finish_and_clear();
                all.remove(bar);
            }
        }
    }
}

fn show(all: &MultiProgress, bars: &mut BTreeMap<Box<str>, ProgressBar>, blob: &Blob) {
    let short: String = blob
        .digest
        .chars()
        .skip_while(|char| *char != ':')
        .skip(1)
        .take(12)
        .collect();
    let bar = bars.entry(blob.digest.clone()).or_insert_with(|| {
        let bar = all.add(ProgressBar::new(blob.size));
        bar.set_style(style("  {prefix}  {bar:30}  {bytes:>11}/{total_bytes:<11} {msg}"));
        bar.set_prefix(short);
        bar
    });
    bar.set_position(blob.done);
    match blob.state {
        BlobState::Waiting => bar.set_message("waiting"),
        BlobState::Sending => bar.set_message(""),
        BlobState::Present => bar.finish_with_message("was there"),
        BlobState::Mounted => bar.finish_with_message("was in another repository there"),
        BlobState::Sent => bar.finish_with_message("sent"),
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// As people write them: `3.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

const SAY_EVERY: Duration = Duration::from_secs(5);
