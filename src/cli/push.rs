//! `waypost push`: images copied from one registry into another.

mod bars;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueHint;
use futures_util::{StreamExt, stream};

use self::bars::Screen;
use super::remote::{self, LoginArgs, Work};
use super::{FINDINGS, Invalid, output, write_stdout};
use crate::app::{Copier, Planned, Server, ServerFlags, Wanted};
use crate::config::Config;
use crate::oci::copy::{BlobState, Copied, Progress};

/// Copy images from where they are into a registry: here, or by a Waypost that runs.
///
/// Every platform of an image comes along, byte for byte: its digest stays. What the registry has is not sent again, and what it has in
/// another repository it takes from there; a connection that breaks goes on where it broke. The tag is written last, so that nobody
/// sees half an image.
///
/// An image `docker.io/library/alpine:3.22` is `HOST/ORGANIZATION/docker.io/library/alpine:3.22` there, which is where the rule
/// `rewrite: {prefix: HOST/ORGANIZATION}` looks for it, unless --as says another name.
///
/// With --server a Waypost that runs copies them, keeps a record of each push, and from then on leads new Pods there. --to is the id of a registry
/// that is registered with it then. The command waits for the end; interrupted, the push goes on. On the machine of `waypost serve`, where
/// --server is a name of that machine, token and authority are those of its configuration.
///
/// Without --server this command copies them itself, by the logins of this machine: of `docker login`, `podman login` and the like. Nobody
/// keeps a record of such a push: Waypost does not pull from there because of it. Report it for that (see docs/pushes.md).
///
/// On stdout it says where each image is, with its digest; with --no-wait the ids of the pushes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  By the Waypost of this machine, into the registry `corp`, and new Pods pull it from there:
      waypost push alpine:3.22 --to corp --server https://127.0.0.1:8444

  By one elsewhere, as another user than the registry has:
      waypost push alpine:3.22 --to corp --server https://waypost.example.com --token-file token \\
          --username pusher --password-file password

  What failed, again:
      waypost push alpine:3.22 --to corp --server https://127.0.0.1:8444 --retry

  Without any Waypost, with everything that it runs on:
      waypost push alpine:3.22 --to registry.example.com/mirror

  Under another name, with its signatures:
      waypost push ghcr.io/org/app:1.2 --to registry.example.com --as team/app:1.2 --referrers

  All images of a chart:
      helm template my-chart | awk '$(NF-1) == \"image:\" {print $NF}' | tr -d '\"' | sort -u |
          xargs waypost push --to registry.example.com/mirror

  Which digest has it there?
      waypost push alpine --to registry.example.com/mirror | cut -d@ -f2

Exit status: 0 all are there, 1 some are not, 2 usage, configuration or server, 130 interrupted.")]
pub struct Args {
    /// The images.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,

    /// The registry that they go into, and the organization there: `registry.example.com/mirror`. With --server, its id.
    #[arg(long, value_name = "HOST[/ORGANIZATION]|ID")]
    pub to: String,

    /// What the image is called there, below --to, with another tag if need be; or a template for the names of several:
    /// `{repository}`, which keeps the tags.
    #[arg(long = "as", value_name = "NAME[:TAG]|TEMPLATE", conflicts_with = "server")]
    pub name: Option<String>,

    /// Take signatures, SBOMs, and whatever else refers to an image along.
    #[arg(long)]
    pub referrers: bool,

    /// The file with logins, as `docker login` writes it [default: those of this user].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "server")]
    pub authfile: Option<PathBuf>,

    /// A file with authorities whose certificates are trusted, besides those that everybody trusts: of registries, or, with --server, of the
    /// server [default with a --server of this machine: `ca.crt` in `tls.dir`].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,

    /// Reach this host without TLS. Those of this machine are without being asked, where they have no TLS.
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "server")]
    pub plain_http: Vec<String>,

    /// The Waypost that copies them, by the address of its REST API.
    #[arg(long, value_name = "https://HOST:PORT", value_hint = ValueHint::Url, help_heading = BY_SERVER)]
    pub server: Option<String>,

    /// The file with the token for it [default: the variable WAYPOST_TOKEN, or `push.token` beside the store where the server is this machine's].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "server", help_heading = BY_SERVER)]
    pub token_file: Option<PathBuf>,

    /// Do not wait for the end.
    #[arg(long, requires = "server", help_heading = BY_SERVER)]
    pub no_wait: bool,

    /// Push again what there is a record of already, and nothing else.
    #[arg(long, requires = "server", help_heading = BY_SERVER)]
    pub retry: bool,

    #[expect(missing_docs, reason = "clap shows the docs of what is flattened")]
    #[command(flatten, next_help_heading = BY_SERVER)]
    pub login: LoginArgs,
}

/// Copies them, some at the same time, or has whoever is asked copy them.
///
/// # Errors
/// When nothing can be begun: an image that is none, a file that cannot be read, a server that does not answer.
pub fn run(args: &Args, config: impl FnOnce() -> Result<Config, Invalid>) -> anyhow::Result<ExitCode> {
    if args.server.is_some() {
        return by_server(args, &config()?);
    }
    if args.login.username.is_some() {
        bail!("--username is for --server; without it the logins are those of this machine, or of --authfile");
    }
    if args.name.as_ref().is_some_and(|name| !name.contains('{')) && args.images.len() > 1 {
        bail!("--as is the name of one image, and {} are given", args.images.len());
    }
    output::remark("without --server nothing is recorded, and Pods are not led there");
    let (mut copier, problems) = Copier::new(args.authfile.clone(), args.plain_http.clone(), args.ca_file.clone())?;
    for problem in problems {
        output::remark(&format!("an authority of this machine cannot be used: {problem}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let screen = Screen::new(args.images.len());
        let mut planned = Vec::with_capacity(args.images.len());
        for image in &args.images {
            let plan = copier.plan(image, &args.to, args.name.as_deref(), args.referrers);
            planned.push((image, plan.await?));
        }
        let copying = planned
            .into_iter()
            .map(|(image, planned)| copy(&screen, image, planned));
        let mut copying = stream::iter(copying).buffered(AT_ONCE);
        let mut failed = 0;
        while let Some(done) = copying.next().await {
            match done {
                Ok(there) => screen.aside(|| write_stdout(there))?,
                Err(said) => {
                    failed += 1;
                    screen.aside(|| output::remark(&said));
                }
            }
        }
        if failed > 0 && args.images.len() > 1 {
            output::remark(&format!("{failed} of {} images were not copied", args.images.len()));
        }
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FINDINGS)
        })
    })
}

/// Copies one, and says how it went: the line for stdout, or what is wrong.
async fn copy(screen: &Screen, image: &str, planned: Planned) -> Result<String, String> {
    let target = planned.target.clone();
    let begun = Instant::now();
    let progress = Arc::new(Progress::new());
    match shown(screen, image, planned, progress.clone()).await {
        Ok(copied) => {
            screen.aside(|| output::remark(&summary(image, &copied, &progress, begun.elapsed())));
            let name = target.split('@').next().unwrap_or(&target);
            Ok(format!("{name}@{}\n", copied.digest))
        }
        Err(error) => Err(format!("{image} was not copied to {target}: {error}")),
    }
}

fn by_server(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    if args.to.contains(['.', '/', ':']) {
        bail!(
            "--to is the id of a registry with --server, and `{}` is none: `GET /v1/registries` lists them",
            args.to.escape_debug()
        );
    }
    let flags = ServerFlags {
        url: args.server.clone(),
        token_file: args.token_file.clone(),
        ca_file: args.ca_file.clone(),
    };
    let server = Server::of(&flags, config)?;
    let wanted = Wanted {
        registry: args.to.clone(),
        referrers: args.referrers,
        login: args.login.login()?,
    };
    let mut work = Work::new(&server, &wanted);
    (work.retry, work.wait) = (args.retry, !args.no_wait);
    remote::push(&work, &args.images)
}

/// Copies, and shows how far it is.
async fn shown(
    screen: &Screen,
    image: &str,
    planned: Planned,
    progress: Arc<Progress>,
) -> Result<Copied, crate::oci::copy::CopyError> {
    let mut bars = screen.begin(image, &planned.target);
    let mut copying = std::pin::pin!(planned.run(progress.clone()));
    let mut look = tokio::time::interval(bars.every());
    loop {
        tokio::select! {
            done = &mut copying => {
                bars.end(&progress);
                return done;
            }
            _ = look.tick() => bars.show(&progress),
        }
    }
}

fn summary(image: &str, copied: &Copied, progress: &Progress, took: Duration) -> String {
    if copied.was_there {
        return format!("{image} was there already, byte for byte");
    }
    let blobs = progress.blobs();
    let count = |state| blobs.iter().filter(|blob| blob.state == state).count();
    let sent = progress.sent();
    let rate = sent as f64 / took.as_secs_f64().max(1e-3);
    let mut text = format!(
        "{image}: {} in {:.1} s ({}/s); of {} blobs {} were sent",
        bars::bytes(sent),
        took.as_secs_f64(),
        bars::bytes(rate as u64),
        blobs.len(),
        count(BlobState::Sent),
    );
    for (state, how) in [
        (BlobState::Present, "were there"),
        (BlobState::Mounted, "were in another repository there"),
    ] {
        if count(state) > 0 {
            text.push_str(&format!(", {} {how}", count(state)));
        }
    }
    if copied.referrers > 0 {
        text.push_str(&format!("; {} referrers came along", copied.referrers));
    }
    text
}

/// Images on their way: what they have in common is sent once, and while one waits for an answer another is sent.
const AT_ONCE: usize = 4;

const BY_SERVER: &str = "By a Waypost that runs";
