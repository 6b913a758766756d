//! The first run: a certificate for one machine, from a CA that cannot sign another.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use super::{TlsError, authority, certificate, key};

/// What [`ensure_local`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// There was nothing, and now there is a certificate and its CA.
    Created,
    /// There is a certificate already; nothing was touched.
    Existing,
}

/// Makes `ca.crt`, `tls.crt` and `tls.key` in `dir` if none of them is there.
///
/// ECDSA P-256, valid for ten years, for `localhost`, `127.0.0.1`, `::1`, `waypost.waypost.svc`, this machine's host name
/// and `names` (DNS names and addresses; unspecified addresses are left out). The CA's key is never written. The files
/// are 0600, and `dir` is 0700 if it had to be made. Processes that start at once take turns.
///
/// # Errors
///
/// When `tls.crt` or `tls.key` is missing beside another of the three (`ca.crt` alone may be: an issuer that everybody
/// trusts sends none), or a file cannot be written. Nothing is ever overwritten.
pub fn ensure_local(dir: &Path, names: &[String]) -> Result<Local, TlsError> {
    // Before the lock, which needs a directory that can be written: a mounted Secret cannot.
    if Present::look(dir).is_complete() {
        return Ok(Local::Existing);
    }
    let write = |source| TlsError::Write {
        path: dir.to_owned(),
        source,
    };
    if !dir.is_dir() {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(write)?;
        }
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(write(error)),
            _ => {}
        }
    }
    let lock = lock(dir);
    let present = Present::look(dir);
    if present.is_complete() {
        return Ok(Local::Existing);
    }
    if !present.is_empty() {
        return Err(present.partial(dir));
    }
    let _lock = lock.map_err(write)?;
    Generated::new(names, SystemTime::now())
        .map_err(|error| TlsError::Generate(error.to_string()))?
        .write(dir)?;
    Ok(Local::Created)
}

/// Which of the three files are there.
struct Present {
    authority: bool,
    certificate: bool,
    key: bool,
}

impl Present {
    fn look(dir: &Path) -> Self {
        // A link that leads nowhere is there, too: writing would follow it.
        let there = |path: &Path| fs::symlink_metadata(path).is_ok();
        Self {
            authority: there(&authority(dir)),
            certificate: there(&certificate(dir)),
            key: there(&key(dir)),
        }
    }

    fn is_complete(&self) -> bool {
        self.certificate && self.key
    }

    fn is_empty(&self) -> bool {
        !(self.authority || self.certificate || self.key)
    }

    fn partial(&self, dir: &Path) -> TlsError {
        let files = [
            ("ca.crt", self.authority),
            ("tls.crt", self.certificate),
            ("tls.key", self.key),
        ];
        let list = |there: bool| {
            let names: Vec<_> = files.iter().filter(|file| file.1 == there).map(|file| file.0).collect();
            names.join(" and ")
        };
        TlsError::Partial {
            dir: dir.to_owned(),
            present: list(true),
            missing: list(false),
        }
    }
}

/// PEM, three times.
struct Generated {
    authority: String,
    certificate: String,
    key: String,
}

impl Generated {
    fn new(names: &[String], now: SystemTime) -> Result<Self, rcgen::Error> {
        let authority_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params("Waypost local CA", now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = params.self_signed(&authority_key)?;
        let issuer = Issuer::new(params, authority_key);

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self::params("waypost", now);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = CertificateParams::new(subject_names(names))?.subject_alt_names;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn write(&self, dir: &Path) -> Result<(), TlsError> {
        // The key last: what a crash leaves behind is never taken for a pair.
        let files = [
            (authority(dir), &self.authority),
            (certificate(dir), &self.certificate),
            (key(dir), &self.key),
        ];
        let temporary = |path: &Path| path.with_added_extension("new");
        for (path, content) in &files {
            let path = temporary(path);
            write_private(&path, content).map_err(|source| TlsError::Write { path, source })?;
        }
        for (path, _) in &files {
            fs::rename(temporary(path), path).map_err(|source| TlsError::Write {
                path: path.clone(),
                source,
            })?;
        }
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| TlsError::Write {
            path: dir.to_owned(),
            source,
        })
    }
}

fn params(common_name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // An hour ago: the clock of the machine that calls may be slow.
    let start = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(Duration::from_secs(3600));
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(start.as_secs());
    params.not_after = params.not_before + TEN_YEARS;
    params
}

/// What the certificate is for, each once.
fn subject_names(names: &[String]) -> Vec<String> {
    let always = ["localhost", "127.0.0.1", "::1", "waypost.waypost.svc"].map(str::to_owned);
    let mut all: Vec<String> = Vec::new();
    for name in always.into_iter().chain(host_name()).chain(names.iter().cloned()) {
        let unspecified = name.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
        if !unspecified && name.is_ascii() && !name.is_empty() && !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// As the kernel has it; elsewhere than on Linux, as the shell has it.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Held until it is dropped; whoever comes second finds the files of the first.
fn lock(dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join(".lock"))?;
    file.lock()?;
    Ok(file)
}

/// A new file that only its owner can read, on the disk when this returns.
fn write_private(path: &Path, content: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

const TEN_YEARS: Duration = Duration::from_secs(3652 * 24 * 3600);
