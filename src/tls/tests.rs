use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use tempfile::TempDir;

use super::testing::{Authority, Pair, client};
use super::*;

fn source(dir: &TempDir) -> Source {
    Source {
        dir: dir.path().to_owned(),
        client_ca: None,
    }
}

fn dir_with(pair: &Pair) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    pair.write(dir.path());
    dir
}

fn load(dir: &TempDir) -> Result<Tls, TlsError> {
    Tls::load(source(dir), SystemTime::now())
}

fn reload(tls: &Tls) -> Result<Reload, TlsError> {
    tls.reload(SystemTime::now())
}

fn error(dir: &TempDir) -> String {
    load(dir).err().unwrap().to_string()
}

/// Shakes hands in memory; the certificate that the server showed.
fn shown(config: Arc<ServerConfig>, client: rustls::ClientConfig, name: &str) -> Result<Vec<u8>, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(config)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(client.peer_certificates().unwrap()[0].to_vec())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_first_run_makes_a_certificate_that_its_ca_vouches_for() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("certs/local");
    let names = ["0.0.0.0", "10.0.0.7", "waypost.example.org", "localhost"].map(str::to_owned);
    assert_eq!(ensure_local(&dir, &names).unwrap(), Local::Created);

    assert_eq!(mode(&dir), 0o700);
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
    let mut left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [".lock", "ca.crt", "tls.crt", "tls.key"]);

    let tls = Tls::load(
        Source {
            dir: dir.clone(),
            client_ca: None,
        },
        SystemTime::now(),
    )
    .unwrap();
    let ca = fs::read_to_string(dir.join("ca.crt")).unwrap();
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "waypost.waypost.svc",
        "10.0.0.7",
        "waypost.example.org",
    ] {
        shown(tls.config(), client(&ca, None, &["h2"]), name).unwrap();
    }
    shown(tls.config(), client(&ca, None, &["h2"]), "other.example.org").unwrap_err();
    let years = (tls.not_after().as_second() - Timestamp::now().as_second()) / (365 * 24 * 3600);
    assert_eq!(years, 10);
}

#[test]
fn a_second_run_touches_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("local");
    ensure_local(&dir, &[]).unwrap();
    let before = fs::read(dir.join("tls.crt")).unwrap();
    assert_eq!(
        ensure_local(&dir, &["another.name".to_owned()]).unwrap(),
        Local::Existing
    );
    assert_eq!(fs::read(dir.join("tls.crt")).unwrap(), before);
}

#[test]
fn a_certificate_of_somebody_else_needs_no_ca_and_no_writable_directory() {
    let dir = dir_with(&Authority::new("a").issue(2020, 2090));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(ensure_local(dir.path(), &[]).unwrap(), Local::Existing);
    assert!(!dir.path().join(".lock").exists());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn partial_presence_is_an_error_and_nothing_is_overwritten() {
    for (present, missing) in [
        (&["tls.crt"] as &[_], "no ca.crt and tls.key"),
        (&["tls.key"], "no ca.crt and tls.crt"),
        (&["ca.crt"], "no tls.crt and tls.key"),
        (&["ca.crt", "tls.crt"], "no tls.key"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for name in present {
            fs::write(dir.path().join(name), "mine").unwrap();
        }
        let error = ensure_local(dir.path(), &[]).unwrap_err().to_string();
        assert!(
            error.contains(&format!("has {} but {missing}:", present.join(" and "))),
            "{error}"
        );
        for name in present {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "mine");
        }
    }
}

#[test]
fn processes_that_start_at_once_end_up_with_one_pair() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("local");
    let start = Barrier::new(8);
    let made = std::thread::scope(|scope| {
        let run = || {
            start.wait();
            let made = ensure_local(&dir, &[]).unwrap();
            Tls::load(
                Source {
                    dir: dir.clone(),
                    client_ca: None,
                },
                SystemTime::now(),
            )
            .unwrap();
            usize::from(made == Local::Created)
        };
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).sum::<usize>()
    });
    assert_eq!(made, 1);
}

#[test]
fn each_file_that_cannot_be_served_is_named_with_what_to_do() {
    let authority = Authority::new("a");
    let pair = authority.issue(2020, 2090);
    let dir = dir_with(&pair);
    let (certificate, key) = (certificate(dir.path()), key(dir.path()));

    fs::write(&certificate, "").unwrap();
    assert_eq!(
        error(&dir),
        format!(
            "{}: no certificate in it, expected PEM with BEGIN CERTIFICATE",
            certificate.display()
        )
    );
    fs::write(
        &certificate,
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert_eq!(
        error(&dir),
        format!("{}: the first certificate cannot be parsed", certificate.display())
    );
    pair.write(dir.path());
    fs::write(&key, "").unwrap();
    assert!(error(&dir).starts_with(&format!("{}: no private key in it", key.display())));
    fs::write(&key, &authority.issue(2020, 2090).key).unwrap();
    assert!(error(&dir).starts_with(&format!("{} does not belong to the certificate in", key.display())));
    fs::remove_file(&key).unwrap();
    assert!(error(&dir).starts_with(&format!("cannot read {}: ", key.display())));

    authority.issue(2020, 2021).write(dir.path());
    assert!(
        error(&dir).contains("tls.crt: the certificate expired at 2021-01-01T00:00:00Z: renew it"),
        "{}",
        error(&dir)
    );
    authority.issue(2090, 2091).write(dir.path());
    assert!(
        error(&dir).contains("is not valid before 2090-01-01T00:00:00Z: wait"),
        "{}",
        error(&dir)
    );
}

#[test]
fn validity_ends_where_the_certificate_says() {
    let dir = dir_with(&Authority::new("a").issue(2020, 2060));
    let tls = load(&dir).unwrap();
    // 2060 is a GeneralizedTime, 2020 a UTCTime.
    assert_eq!(tls.not_after().to_string(), "2060-01-01T00:00:00Z");
    let last = SystemTime::from(tls.not_after());
    Tls::load(source(&dir), last).unwrap();
    assert!(matches!(
        Tls::load(source(&dir), last + Duration::from_secs(1)),
        Err(TlsError::Expired { .. })
    ));
}

#[test]
fn a_chain_is_sent_as_it_is() {
    let authority = Authority::new("a");
    let pair = authority.issue(2020, 2090);
    let chain = Pair {
        certificate: format!("{}{}", pair.certificate, authority.pem),
        ..pair
    };
    let tls = load(&dir_with(&chain)).unwrap();
    shown(tls.config(), client(&authority.pem, None, &["h2"]), "localhost").unwrap();
}

#[test]
fn a_reload_serves_the_new_certificate_to_new_connections() {
    let authority = Authority::new("a");
    let dir = dir_with(&authority.issue(2020, 2090));
    let tls = load(&dir).unwrap();
    let trusting = || client(&authority.pem, None, &["h2"]);
    let before = shown(tls.config(), trusting(), "localhost").unwrap();
    assert_eq!(reload(&tls).unwrap(), Reload::Unchanged);
    authority.issue(2020, 2091).write(dir.path());
    assert_eq!(reload(&tls).unwrap(), Reload::Replaced);
    assert_ne!(shown(tls.config(), trusting(), "localhost").unwrap(), before);
    assert_eq!(tls.not_after().to_string(), "2091-01-01T00:00:00Z");
}

#[test]
fn a_half_written_pair_keeps_the_last_good_one_and_the_whole_one_is_taken_later() {
    let authority = Authority::new("a");
    let dir = dir_with(&authority.issue(2020, 2090));
    let tls = load(&dir).unwrap();
    let (before, new) = (tls.config(), authority.issue(2020, 2091));
    fs::write(certificate(dir.path()), &new.certificate).unwrap();
    for _ in 0..2 {
        assert!(matches!(reload(&tls), Err(TlsError::Mismatch { .. })));
        assert!(Arc::ptr_eq(&tls.config(), &before));
    }
    fs::write(key(dir.path()), &new.key).unwrap();
    assert_eq!(reload(&tls).unwrap(), Reload::Replaced);
}

#[test]
fn a_broken_or_expired_certificate_keeps_the_last_good_one() {
    let authority = Authority::new("a");
    let good = authority.issue(2020, 2090);
    let dir = dir_with(&good);
    let tls = load(&dir).unwrap();
    let before = tls.config();
    authority.issue(2020, 2021).write(dir.path());
    assert!(matches!(reload(&tls), Err(TlsError::Expired { .. })));
    fs::write(certificate(dir.path()), "garbage").unwrap();
    reload(&tls).unwrap_err();
    fs::remove_file(certificate(dir.path())).unwrap();
    assert!(matches!(reload(&tls), Err(TlsError::Read { .. })));
    assert!(Arc::ptr_eq(&tls.config(), &before));
    good.write(dir.path());
    assert_eq!(
        reload(&tls).unwrap(),
        Reload::Unchanged,
        "what is served is what is there"
    );
}

#[test]
fn a_secret_that_is_swapped_under_its_links_is_taken() {
    let authority = Authority::new("a");
    let dir = tempfile::tempdir().unwrap();
    let publish = |version: &str, pair: &Pair| {
        fs::create_dir(dir.path().join(version)).unwrap();
        pair.write(&dir.path().join(version));
        symlink(version, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    publish("..2026_1", &authority.issue(2020, 2090));
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), dir.path().join(name)).unwrap();
    }
    let tls = load(&dir).unwrap();
    assert_eq!(ensure_local(dir.path(), &[]).unwrap(), Local::Existing);
    publish("..2026_2", &authority.issue(2020, 2091));
    fs::remove_dir_all(dir.path().join("..2026_1")).unwrap();
    assert_eq!(reload(&tls).unwrap(), Reload::Replaced);
}

#[test]
fn with_a_client_ca_only_its_certificates_get_in() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let dir = dir_with(&ours.issue(2020, 2090));
    let client_ca = dir.path().join("clients.crt");
    fs::write(&client_ca, &ours.pem).unwrap();
    let source = Source {
        client_ca: Some(client_ca.clone()),
        ..source(&dir)
    };
    let tls = Tls::load(source, SystemTime::now()).unwrap();
    assert_eq!(tls.source.files().last(), Some(&client_ca));
    let try_with = |pair: Option<&Pair>| shown(tls.config(), client(&ours.pem, pair, &["h2"]), "localhost");
    let (mine, foreign) = (ours.issue(2020, 2090), theirs.issue(2020, 2090));
    try_with(None).unwrap_err();
    try_with(Some(&foreign)).unwrap_err();
    try_with(Some(&mine)).unwrap();

    fs::write(&client_ca, "").unwrap();
    assert!(
        reload(&tls)
            .unwrap_err()
            .to_string()
            .contains("clients.crt: no certificate in it")
    );
    try_with(Some(&mine)).unwrap();
    fs::write(&client_ca, &theirs.pem).unwrap();
    assert_eq!(reload(&tls).unwrap(), Reload::Replaced);
    try_with(Some(&mine)).unwrap_err();
    try_with(Some(&foreign)).unwrap();
}
