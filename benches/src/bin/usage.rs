//! Runs commands one after the other, and prints what they used: wall seconds, CPU seconds (user and system), and the most KiB that one of
//! them had resident.
//!
//! A program of its own, for the system counts what the children of a process used only all together, and to a child's peak memory what its
//! parent had when it was started: this one has little.

use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};

/// The file has one command a line, its words with tabs between them.
fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("usage: usage FILE")?;
    let commands = fs::read_to_string(file)?;
    let began = Instant::now();
    for line in commands.lines() {
        let mut words = line.split('\t');
        let program = words.next().context("a line without a command")?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        // What it says is said where it fails.
        let output = command.stderr(Stdio::piped()).output()?;
        ensure!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let wall = began.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!("{wall} {cpu} {}", usage.max_rss());
    Ok(())
}
