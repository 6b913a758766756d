//! Copies that a Waypost makes which runs: asked for, watched until they end, and told of.

mod board;

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
    Failed { error: String },
}

/// What is to be done with images.
pub(super) struct Work<'w> {
    pub(super) server: &'w Server,
    pub(super) wanted: &'w Wanted,
    /// Whether they are pushes that there were before.
    pub(super) retry: bool,
    /// Whether their ends are waited for.
    pub(super) wait: bool,
}

impl Work<'_> {
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
        let asked = loop {
            match self.server.push(image, self.wanted, self.retry).await {
                Ok(push) => break push,
                Err(fault) if fault.is_busy() => {
                    board.say(image, &format!("waits: {fault}"));
                    patience(&fault).await;
                }
                // Whoever has a wrong address or token has it for all of them.
                Err(fault @ Fault::Unreachable(_)) => return Err(fault.into()),
                Err(Fault::Refused { status, said, .. }) if matches!(status.as_u16(), 401 | 403) => bail!("{said}"),
                Err(fault) => {
                    return Ok(End::Failed {
                        error: fault.to_string(),
                    });
                }
            }
        };
        if !self.wait {
            return Ok(End::Asked { id: asked.id });
        }
        let digest = |push: &Push| push.last_success.as_ref().map(|success| success.digest.clone());
        let before = digest(&asked);
        let line = board.begin(&asked.image);
        let ended = self.ended(asked, &line).await;
        line.end();
        let ended = ended?;
        let attempt = ended.last_attempt.as_ref();
        if attempt.is_none_or(|attempt| attempt.state == State::Failed) {
            let error = attempt.and_then(|attempt| attempt.error.clone());
            return Ok(End::Failed {
                error: error.unwrap_or_else(|| "nobody has said why".to_owned()),
            });
        }
        let Some(success) = &ended.last_success else {
            return Ok(End::Failed {
                error: "it was copied, and has been removed from there since".to_owned(),
            });
        };
        let name = success.target.split('@').next().unwrap_or(&success.target);
        let target = format!("{name}@{}", success.digest);
        Ok(if before == digest(&ended) {
            End::WasThere { target }
        } else {
            End::Pushed { target }
        })
    }

    /// Waits for the end of a push, and shows how far it is. Who restarts Waypost meanwhile is waited for.
    async fn ended(&self, mut push: Push, line: &board::Line<'_>) -> anyhow::Result<Push> {
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
                Err(fault) => {
                    return Err(fault).context(format!("how the push {id} went is not known"));
                }
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
pub(super) fn push(work: &Work<'_>, images: &[String], again: &str) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut failed = 0;
    let mut written = Ok(());
    let done = runtime.block_on(work.run(images, |image, end| match end {
        End::Asked { id } => written = write_stdout(format!("{id}\n")),
        End::Pushed { target } => {
            output::remark(&format!("{image} was copied"));
            written = write_stdout(format!("{target}\n"));
        }
        End::WasThere { target } => {
            output::remark(&format!("{image} was there already, as it is now"));
            written = write_stdout(format!("{target}\n"));
        }
        End::Failed { error } => {
            failed += 1;
            output::remark(&format!("{image} was not copied: {error}"));
        }
    }))?;
    written?;
    if done.is_none() {
        return Ok(interrupted(work.server, "the same command, which joins it,"));
    }
    if failed > 0 {
        output::remark(&format!(
            "{failed} of {} images were not copied; when the cause is gone: {again}",
            images.len()
        ));
        return Ok(ExitCode::from(FINDINGS));
    }
    Ok(ExitCode::SUCCESS)
}

/// As many as a Waypost copies at once by default, and as many that wait for those.
const AT_ONCE: usize = 8;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// For a Waypost that does not answer any more: by then another has taken over, or somebody has started it again.
const PATIENCE: Duration = Duration::from_secs(120);

/// As shells have it for what SIGINT ended.
const INTERRUPTED: u8 = 130;
