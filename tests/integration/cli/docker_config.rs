//! `waypost docker-config`

use waypost::registry::{Credential, Login, Password};
use waypost::store::{Change, Draft, Embedded, Store};

use crate::support::program::Directory;

#[test]
fn the_docker_config_is_on_stdout_and_what_is_not_in_it_on_stderr() {
    let directory = Directory::new();
    let run = |args: &[&str]| directory.run(["docker-config"].iter().chain(args));
    run(&[]).exits(2).complains("there is no store `data/waypost.redb`");

    std::fs::create_dir(directory.path().join("data")).unwrap();
    let store = Embedded::open(&directory.path().join("data/waypost.redb")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (id, url, password) in [("team", "r.io/team", "hunter2"), ("whole", "r.io", "hunter3")] {
        let draft = Draft {
            spec: serde_json::from_value(serde_json::json!({ "url": url })).unwrap(),
            pull: Change::Set(Credential::Login(Login {
                username: "u".to_owned(),
                password: Password::new(password.to_owned()),
            })),
            push: Change::Keep,
            notify: Change::Keep,
        };
        runtime.block_on(store.create(id, draft)).unwrap();
    }
    run(&[]).exits(2).complains("stop it for a moment");
    drop(store);

    let all = run(&[]).exits(0);
    assert_eq!(all.json()["auths"]["r.io"]["password"], "hunter3");
    assert_eq!(all.json()["auths"].as_object().unwrap().len(), 1);
    assert!(all.stderr.contains("the registry team is left out"), "{}", all.stderr);
    assert!(!all.stderr.contains("hunter"), "{}", all.stderr);
    let kubelet = run(&["--for", "kubelet", "team"]).exits(0);
    assert_eq!(kubelet.json()["auths"]["r.io/team/"]["username"], "u");
    run(&["nobody"]).exits(2).complains("there is no registry `nobody`");
}
