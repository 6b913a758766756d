use super::*;
use crate::registry::{Location, Password, RegistrySpec};

fn mint(ambient_hosts: &[&str]) -> Mint {
    let settings = MintSettings {
        ambient_hosts: ambient_hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..MintSettings::default()
    };
    Mint::new(Roots::none(), settings)
}

fn registry(spec: RegistrySpec) -> Registry {
    Registry::unasked("r", &spec).unwrap()
}

fn google(host: &str) -> RegistrySpec {
    RegistrySpec {
        location: Location::Gcr,
        hostname: Some(host.to_owned()),
        ..RegistrySpec::default()
    }
}

fn ecr(hostname: Option<&str>) -> RegistrySpec {
    RegistrySpec {
        location: Location::Ecr,
        region: Some("eu-central-1".to_owned()),
        hostname: hostname.map(str::to_owned),
        ..RegistrySpec::default()
    }
}

fn aws() -> Key {
    Key::Aws {
        id: Password::new("AKIA".to_owned()),
        secret: Password::new("hunter2-is-nowhere".to_owned()),
        session_token: None,
    }
}

#[test]
fn a_token_of_waypost_s_own_identity_goes_to_the_issuer_and_to_who_was_named() {
    let with = |spec: RegistrySpec, change: fn(&mut RegistrySpec)| {
        let mut spec = spec;
        change(&mut spec);
        spec
    };
    let nothing: fn(&mut RegistrySpec) = |_| {};
    let plain: fn(&mut RegistrySpec) = |spec| spec.plain_http = true;
    let bundle: fn(&mut RegistrySpec) = |spec| spec.ca_bundle = Some("-----BEGIN CERTIFICATE-----".to_owned());
    let endpoint: fn(&mut RegistrySpec) = |spec| spec.endpoint = Some("http://proxy:5000".to_owned());
    let token_host: fn(&mut RegistrySpec) = |spec| spec.token_hosts = vec!["auth.corp".to_owned()];
    for (spec, change, named, stranger) in [
        (google("eu.gcr.io"), nothing, &[][..], None),
        (google("europe-docker.pkg.dev"), nothing, &[], None),
        (ecr(None), nothing, &[], None),
        (google("registry.corp"), nothing, &[], Some("registry.corp")),
        (ecr(Some("registry.corp")), nothing, &[], Some("registry.corp")),
        (ecr(Some("eu.gcr.io")), nothing, &[], Some("eu.gcr.io")),
        (google("registry.corp"), nothing, &["registry.corp"], None),
        (google("Registry.corp:5000"), nothing, &["registry.corp"], None),
        (google("registry.corp:5000"), nothing, &["registry.corp:5000"], None),
        (
            google("registry.corp:5001"),
            nothing,
            &["registry.corp:5000"],
            Some("registry.corp:5001"),
        ),
        (google("registry.corp"), nothing, &["corp"], Some("registry.corp")),
        // By TLS, and certified by those that everybody trusts.
        (google("eu.gcr.io"), plain, &[], Some("eu.gcr.io")),
        (google("eu.gcr.io"), bundle, &[], Some("eu.gcr.io")),
        (google("eu.gcr.io"), bundle, &["eu.gcr.io"], None),
        // Waypost itself sends it to these.
        (google("eu.gcr.io"), endpoint, &[], Some("proxy:5000")),
        (google("eu.gcr.io"), endpoint, &["proxy"], None),
        (google("eu.gcr.io"), token_host, &[], Some("auth.corp")),
        (google("eu.gcr.io"), token_host, &["auth.corp"], None),
    ] {
        let registry = registry(with(spec, change));
        let (mint, host) = (mint(named), &registry.address.host);
        match (mint.issuer(&registry, None), stranger) {
            (Ok(_), None) => {}
            (Err(IssueError::Misconfigured(why)), Some(stranger)) => {
                assert!(
                    why.contains(&format!("sent to {stranger},")) && why.contains("issuers.ambient_hosts"),
                    "{why}"
                );
            }
            (found, expected) => panic!("{host}: {found:?}, not {expected:?}"),
        }
        // A key is its owner's to send where he likes.
        assert!(mint.issuer(&registry, Some(&aws())).is_ok(), "{host}");
    }
}

#[tokio::test]
async fn another_cloud_s_key_is_not_asked_with_and_not_shown() {
    let json = Key::Google(Password::new("hunter2-is-nowhere".to_owned()));
    let (google, ecr) = (registry(google("eu.gcr.io")), registry(ecr(None)));
    for (registry, key, expected) in [
        (&google, aws(), "an access key of Amazon's"),
        (
            &ecr,
            json.clone(),
            if cfg!(feature = "ecr") {
                "one of Google's"
            } else {
                "without the feature `ecr`"
            },
        ),
    ] {
        let pull = mint(&[]).pull(registry, Some(&key)).await.unwrap_err();
        let push = mint(&[]).push(registry, Some(&key)).await.unwrap_err();
        assert_eq!(pull, push);
        assert!(
            matches!(&pull, IssueError::Misconfigured(why) if why.contains(expected)),
            "{pull:?}"
        );
        assert!(!pull.to_string().contains("hunter2"), "{pull}");
    }
    let nobody = registry(RegistrySpec::default());
    let error = mint(&[]).pull(&nobody, None).await.unwrap_err();
    assert!(error.to_string().contains("`off-cluster`"), "{error}");
}

#[tokio::test]
async fn a_repository_is_made_where_a_registry_says_so_and_by_a_key_of_its_own_cloud() {
    let made = async |spec: RegistrySpec, key: Option<Key>| {
        let mint = mint(&[]);
        mint.make_repository(&registry(spec), key.as_ref(), "team/app").await
    };
    let off_cluster = RegistrySpec {
        url: Some("r.io".to_owned()),
        ..RegistrySpec::default()
    };
    // Nobody is asked.
    for spec in [off_cluster, google("eu.gcr.io"), ecr(None)] {
        assert_eq!(made(spec, None).await, Ok(false));
    }
    let making = |hostname| RegistrySpec {
        repositories: Some(crate::registry::RepositoriesSpec {
            create: true,
            ..Default::default()
        }),
        ..ecr(hostname)
    };
    let foreign = made(making(None), Some(Key::Google(Password::new("{}".to_owned())))).await;
    assert!(matches!(foreign, Err(IssueError::Misconfigured(why)) if why.contains("Google")));
    let elsewhere = made(making(Some("registry.corp")), None).await;
    assert!(matches!(elsewhere, Err(IssueError::Misconfigured(why)) if why.contains("registry.corp")));
}
