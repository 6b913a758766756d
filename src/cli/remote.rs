//! Copies that a Waypost makes which runs: asked for, watched until they end, and told of.

mod board;

use std::cell::Cell;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueHint;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::{FINDINGS, output, write_stdout};
use crate::app::{Fault, Push, Server, Wanted, patience};
use crate::pushes::State;
use crate::registry::{Login, Password};

pub(super) use self::board::Board;

/// What a registry is pushed to with, instead of what it has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LoginArgs {
    /// The user that the registry is pushed to as, with a password. Without it, as the registry says. Waypost keeps both until the push ends,
    /// and nowhere after.
    #[arg(long, value_name = "NAME", requires = "password")]
    pub username: Option<String>,

    /// Read the password from stdin, to its end.
    #[arg(long, group = "password", requires = "username")]
    pub password_stdin: bool,

    /// Read the password from a file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "password", requires = "username")]
    pub password_file: Option<PathBuf>,
}

impl LoginArgs {
    /// Reads the password, without the line end behind it.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(super) fn login(&self) -> anyhow::Result<Option<Login>> {
        let Some(username) = self.username.clone() else {
            return Ok(None);
        };
        let mut text = Zeroizing::new(String::new());
        match &self.password_file {
            Some(path) => {
                *text = std::fs::read_to_string(path)
                    .with_context(|| format!("the password {} cannot be read", path.display()))?;
            }
            None => {
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context("the password cannot be read from stdin")?;
            }
        }
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("the password is empty");
        }
        Ok(Some(Login {
            username,
            password: Password::new(password.to_owned()),
        }))
    }
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked for, and nobody waits for it.
    Asked { id: String },
    /// It is there: under this name, with its digest.
    Pushed { target: String },
    /// It was there already, by its record.
    WasThere { target: String },
    /// It is not there.
    Failed {
        error: String,
        /// Whether there is a record that says so.
        recorded: bool,
    },
}

/// What is to be done with images.
pub(super) struct Work<'w> {
    pub(super) server: &'w Server,
    pub(super) wanted: &'w Wanted,
    /// Whether they are pushes that there were before.
    pub(super) retry: bool,
    /// Whether their ends are waited for.
    pub(super) wait: bool,
    /// Whether the server has answered before.
    answered: Cell<bool>,
}

impl<'w> Work<'w> {
    /// All that is wanted is pushed, and its end waited for.
    pub(super) fn new(server: &'w Server, wanted: &'w Wanted) -> Self {
        Self {
            server,
            wanted,
            retry: false,
            wait: true,
            answered: Cell::default(),
        }
    }

    /// Asks for all of them, several at once, and tells of each when it has ended. None where somebody interrupted it: what was asked for goes on.
    pub(super) async fn run(&self, images: &[String], mut each: impl FnMut(&str, End)) -> anyhow::Result<Option<()>> {
        let board = Board::new();
        let mut ends = futures_util::stream::iter(images)
            .map(async |image| (image, self.one(image, &board).await))
            .buffer_unordered(AT_ONCE);
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                next = ends.next() => match next {
                    Some((image, end)) => {
                        let end = end?;
                        board.aside(|| each(image, end));
                    }
                    None => return Ok(Some(())),
                },
                _ = &mut interrupted => {
                    drop(ends);
                    board.end();
                    return Ok(None);
                }
            }
        }
    }

    async fn one(&self, image: &str, board: &Board) -> anyhow::Result<End> {
        let line = board.begin(image);
        let end = self.begun_and_ended(image, &line).await;
        line.end();
        end
    }

    async fn begun_and_ended(&self, image: &str, line: &board::Line<'_>) -> anyhow::Result<End> {
        let asked = match self.asked(image, line).await? {
            Ok(asked) => asked,
            Err(error) => return Ok(End::Failed { error, recorded: false }),
        };
        if !self.wait {
            return Ok(End::Asked { id: asked.id });
        }
        let failed = |error: String| Ok(End::Failed { error, recorded: true });
        let digest = |push: &Push| push.last_success.as_ref().map(|success| success.digest.clone());
        let before = digest(&asked);
        let ended = match self.ended(asked, line).await {
            Ok(ended) => ended,
            Err(fault) => return failed(format!("how it went is not known: {fault}")),
        };
        let attempt = ended.last_attempt.as_ref();
        if attempt.is_none_or(|attempt| attempt.state == State::Failed) {
            let error = attempt.and_then(|attempt| attempt.error.clone());
            return failed(error.unwrap_or_else(|| "nobody has said why".to_owned()));
        }
        let Some(success) = &ended.last_success else {
            return failed("it was copied, and has been removed from there since".to_owned());
        };
        let name = success.target.split('@').next().unwrap_or(&success.target);
        let target = format!("{name}@{}", success.digest);
        let sent = attempt.and_then(|attempt| attempt.bytes_total).unwrap_or_default();
        Ok(if before == digest(&ended) && sent == 0 {
            End::WasThere { target }
        } else {
            End::Pushed { target }
        })
    }

    /// Asks, as often as it takes; or what is wrong with what is asked for. Where nobody has answered yet, or the token is none, nothing else need be asked.
    async fn asked(&self, image: &str, line: &board::Line<'_>) -> anyhow::Result<Result<Push, String>> {
        let begun = Instant::now();
        loop {
            let fault = match self.server.push(image, self.wanted, self.retry).await {
                Ok(push) => {
                    self.answered.set(true);
                    return Ok(Ok(push));
                }
                Err(fault) => fault,
            };
            let unreachable = matches!(fault, Fault::Unreachable(_));
            let wait = fault.is_busy() || fault.later().is_some() && begun.elapsed() < PATIENCE;
            if wait && (self.answered.get() || !unreachable) {
                line.say(&format!("waits: {fault}"));
                patience(&fault).await;
                continue;
            }
            match fault {
                Fault::Refused { status, said, .. } if !matches!(status.as_u16(), 401 | 403) => return Ok(Err(said)),
                fault => return Err(fault.into()),
            }
        }
    }

    /// Waits for the end of a push, and shows how far it is. Who restarts Waypost meanwhile is waited for.
    async fn ended(&self, mut push: Push, line: &board::Line<'_>) -> Result<Push, Fault> {
        let mut seen = Instant::now();
        let id = push.id.clone();
        while !push.has_ended() {
            line.show(&push);
            sleep(LOOK_EVERY).await;
            match self.server.look(&id).await {
                Ok(now) => {
                    seen = Instant::now();
                    push = now;
                }
                Err(fault) if fault.later().is_some() && seen.elapsed() < PATIENCE => {
                    line.say(&format!("{fault}; the push goes on when it is back"));
                    patience(&fault).await;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(push)
    }
}

/// What is said where somebody does not wait for the end.
pub(super) fn interrupted(server: &Server, what: &str) -> ExitCode {
    output::remark(&format!(
        "what was asked for goes on without this command: {what} shows how it went, or GET {}/v1/pushes",
        server.url()
    ));
    ExitCode::from(INTERRUPTED)
}

/// Pushes them, and says on stdout where each is.
pub(super) fn push(work: &Work<'_>, images: &[String]) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut failed, mut again) = (0, false);
    let mut written = Ok(());
    let done = runtime.block_on(work.run(images, |image, end| match end {
        End::Asked { id } => written = write_stdout(format!("{id}\n")),
        End::Pushed { target } => {
            output::remark(&format!("{image} was copied"));
            written = write_stdout(format!("{target}\n"));
        }
        End::WasThere { target } => {
            output::remark(&format!("{image} was there already"));
            written = write_stdout(format!("{target}\n"));
        }
        End::Failed { error, recorded } => {
            failed += 1;
            again |= recorded;
            output::remark(&format!("{image} was not copied: {error}"));
        }
    }))?;
    written?;
    if done.is_none() {
        return Ok(interrupted(work.server, "the same command, which joins it,"));
    }
    if failed > 0 && images.len() > 1 {
        output::remark(&format!("{failed} of {} images were not copied", images.len()));
    }
    if again {
        output::remark("when the cause is gone, the same command with --retry tries again");
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDINGS)
    })
}

/// As many as a Waypost copies at once by default, and as many that wait for those.
const AT_ONCE: usize = 8;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// For a Waypost that does not answer any more: by then another has taken over, or somebody has started it again.
const PATIENCE: Duration = Duration::from_secs(120);

/// As shells have it for what SIGINT ended.
const INTERRUPTED: u8 = 130;
