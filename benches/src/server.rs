//! The servers as processes: started, asked what they use, and ended.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A server in a process of its own; it ends when this is dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Where reviews are answered.
    pub address: SocketAddr,
    /// When the process was started.
    pub started: Instant,
}

/// What is started.
pub enum Program<'p> {
    /// The floor, with the directory of its certificate.
    Floor(&'p Path),
    /// `serve`, with the directories of its certificate and its policies; everything else as by default.
    Serve {
        /// The binary.
        waypost: &'p Path,
        /// Its `--tls-dir`.
        tls: &'p Path,
        /// Its `--policies`.
        policies: &'p Path,
        /// Its `--api-listen`; any where nobody asks.
        api: Option<SocketAddr>,
    },
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub resident: f64,
    /// The most that was resident.
    pub peak: f64,
}

impl Server {
    /// Starts one in `dir`, where its log goes, and waits until its port is open.
    ///
    /// # Errors
    ///
    /// When it ends, or does not open its port within ten seconds.
    pub fn start(program: &Program<'_>, dir: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = match program {
            Program::Floor(tls) => {
                let mut command = Command::new(sibling("floor")?);
                command.arg(address.to_string()).arg(tls);
                command
            }
            Program::Serve {
                waypost,
                tls,
                policies,
                api,
            } => {
                let mut command = Command::new(waypost);
                command.arg("serve").arg("--webhook-listen").arg(address.to_string());
                let api = api.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
                command
                    .args(["--admin-listen", "127.0.0.1:0", "--api-listen"])
                    .arg(api.to_string());
                command.arg("--tls-dir").arg(tls).arg("--policies").arg(policies);
                command
            }
        };
        let log = dir.join("server.log");
        command
            .current_dir(dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(File::create(&log)?);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("{command:?} does not start"))?;
        let mut server = Self {
            child,
            log,
            address,
            started,
        };
        while TcpStream::connect(address).is_err() {
            let ended = server.child.try_wait()?.is_some();
            if ended || started.elapsed() > Duration::from_secs(10) {
                bail!("a server did not open its port:\n{}", fs::read_to_string(&server.log)?);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(server)
    }

    /// CPU time used so far, by all threads, in user and kernel mode.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        // The name, in parentheses, may have anything in it: proc_pid_stat(5).
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let ticks = |field: usize| -> Result<u64> {
            let text = fields
                .split_whitespace()
                .nth(field - 3)
                .context("/proc/PID/stat is short")?;
            Ok(text.parse()?)
        };
        // utime and stime, in the hundredths of a second that Linux shows to every user.
        Ok(Duration::from_millis(10 * (ticks(14)? + ticks(15)?)))
    }

    /// Memory.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn memory(&self) -> Result<Memory> {
        let status = self.proc("status")?;
        let mebibytes = |key: &str| -> Result<f64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .context("/proc/PID/status is short")?;
            let kibibytes: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
            Ok(kibibytes / 1024.0)
        };
        Ok(Memory {
            resident: mebibytes("VmRSS")?,
            peak: mebibytes("VmHWM")?,
        })
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which whoever used it has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on at the moment.
///
/// # Errors
///
/// When the system has none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A binary that cargo puts beside this one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}
