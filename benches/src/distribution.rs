//! Registries to copy from and to: distribution, which everybody runs, on loopback; and images that are made up.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

/// One in a process of its own, with its files in a directory; it ends when this is dropped.
pub struct Distribution {
    child: Child,
    log: PathBuf,
    /// Where it listens on loopback.
    pub port: u16,
}

impl Distribution {
    /// On a free port, with what is in the directory.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(program: &Path, dir: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::create_dir_all(dir)?;
        let config = dir.join("registry.yaml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}}}\n",
                dir.join("storage").display()
            ),
        )?;
        let log = dir.join("log");
        let said = File::create(&log)?;
        let child = Command::new(program)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let registry = Self { child, log, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                "the registry does not listen"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(registry)
    }

    /// How many requests came so far, by its log.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn requests(&self) -> Result<usize> {
        let log = fs::read_to_string(&self.log)?;
        Ok(log.lines().filter(|line| line.contains(" HTTP/1.1\" ")).count())
    }

    /// The digest that an image has there.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub fn digest(&self, repository: &str) -> Result<String> {
        let path = format!("/v2/{repository}/manifests/1");
        let answer = self.ask("HEAD", &path, &format!("Accept: {MANIFEST}\r\n"), &[])?;
        let digest = answer.header("docker-content-digest");
        digest.with_context(|| format!("{repository} is not there: {}", answer.status))
    }

    /// Puts an image of these layers there, with the tag `1`.
    ///
    /// # Errors
    ///
    /// When it is not taken.
    pub fn put(&self, repository: &str, layers: &[Layer]) -> Result<()> {
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": {},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest.clone()).collect::<Vec<_>>()},
        });
        let config = Layer::of(config.to_string().into_bytes());
        let mut described = Vec::new();
        for layer in layers {
            self.put_blob(repository, layer)?;
            described.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer.digest,
                "size": layer.content.len(),
            }));
        }
        self.put_blob(repository, &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest,
                "size": config.content.len(),
            },
            "layers": described,
        });
        let path = format!("/v2/{repository}/manifests/1");
        let kind = format!("Content-Type: {MANIFEST}\r\n");
        let answer = self.ask("PUT", &path, &kind, manifest.to_string().as_bytes())?;
        ensure!(answer.status == 201, "{repository} is not taken: {}", answer.status);
        Ok(())
    }

    fn put_blob(&self, repository: &str, blob: &Layer) -> Result<()> {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        if self.ask("HEAD", &path, "", &[])?.status == 200 {
            return Ok(());
        }
        let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[])?;
        let location = begun.header("location").context("the registry takes no blobs")?;
        let (_, behind) = location.split_once("://").context("no address")?;
        let path = behind.find('/').map_or("/", |at| &behind[at..]);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={}", blob.digest);
        let octets = "Content-Type: application/octet-stream\r\n";
        let put = self.ask("PUT", &path, octets, &blob.content)?;
        ensure!(put.status == 201, "a blob is not taken: {}", put.status);
        Ok(())
    }

    /// One request on a connection of its own. Of the answer the head is read.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            self.port,
            body.len()
        )?;
        stream.write_all(body)?;
        let mut head = Vec::new();
        for line in BufReader::new(stream).lines() {
            match line? {
                line if line.is_empty() => break,
                line => head.push(line),
            }
        }
        let status = head.first().and_then(|line| line.split(' ').nth(1));
        let Some(status) = status.and_then(|status| status.parse().ok()) else {
            bail!("the registry answers something else than HTTP");
        };
        Ok(Answer { status, head })
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: Vec<String>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<String> {
        let mut all = self.head.iter().filter_map(|line| line.split_once(':'));
        let (_, value) = all.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    }
}

/// A blob.
pub struct Layer {
    digest: String,
    content: Vec<u8>,
}

impl Layer {
    /// So many bytes that nothing compresses, of which the first ones say that they are compressed: nobody tries.
    pub fn random(bytes: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut content = vec![0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff];
        content.reserve(bytes);
        while content.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        content.truncate(bytes);
        Self::of(content)
    }

    fn of(content: Vec<u8>) -> Self {
        let mut digest = "sha256:".to_owned();
        for byte in Sha256::digest(&content) {
            digest += &format!("{byte:02x}");
        }
        Self { digest, content }
    }
}

/// Memory that nobody needs now, in bytes.
///
/// # Errors
///
/// When the system does not say.
pub fn free_memory() -> Result<u64> {
    let mut text = String::new();
    File::open("/proc/meminfo")?.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line
        .context("no MemAvailable")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
