//! The watch on namespaces, as far as it needs no API server.

use std::{fs, net::TcpListener};

use crate::support::program::Directory;
use crate::support::serving::{PORTS, Serving};
use crate::support::{ALL_IMAGES, fixture};

const BY_LABEL: &str = "apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {name: mine}\nspec:\n  rules:\n    - \
                        {name: team, match: {namespaceSelector: {matchLabels: {team: x}}}, rewrite: {prefix: team.io}}\n    - \
                        {name: all, rewrite: {prefix: all.io}}\n";

#[test]
fn a_kubeconfig_that_is_not_there_ends_it() {
    let args = ["serve", "--kubeconfig", "nowhere"];
    Directory::new()
        .run(args.iter().chain(&PORTS))
        .exits(2)
        .complains("there is no kubeconfig `nowhere`: check the path given with --kubeconfig");
}

#[test]
fn without_a_watch_rules_that_need_it_are_warned_of_and_nothing_is_waited_for() {
    let directory = Directory::new();
    directory.write("policies.d/mine.yaml", BY_LABEL);
    let mut serving = Serving::start(directory, &[]);
    serving.event("the rule mine/team has a namespaceSelector, and namespaces are not watched");
    assert_eq!(serving.admin("/readyz").status, 200);
    let body = fs::read(fixture(ALL_IMAGES)).unwrap();
    assert_eq!(serving.review(body).status, 200);
    assert!(
        !serving
            .admin("/metrics")
            .text()
            .contains(r#"outcome="namespace_unknown""#)
    );
}

#[test]
fn while_the_api_server_is_down_it_is_not_ready_and_answers_all_the_same() {
    let directory = Directory::new();
    directory.write("policies.d/mine.yaml", BY_LABEL);
    of_nobody(&directory);
    let mut serving = Serving::start(directory, &["--kubeconfig", "kubeconfig"]);
    serving.event("the watch on namespaces at http://127.0.0.1:");
    let detail = serving.admin("/readyz?verbose");
    assert_eq!(detail.status, 503);
    assert!(
        detail.text().contains("[-]namespaces failed since "),
        "{}",
        detail.text()
    );
    assert!(
        detail.text().contains("the API server cannot be reached"),
        "{}",
        detail.text()
    );

    let body = fs::read(fixture(ALL_IMAGES)).unwrap();
    let reply = serving.review(body);
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("was not known in time"), "{}", reply.text());
    assert!(
        serving
            .admin("/metrics")
            .text()
            .contains(r#"outcome="namespace_unknown",rule="mine/all""#)
    );
}

#[test]
fn sigterm_ends_it_while_it_waits_for_the_cluster_that_has_its_registries() {
    let directory = Directory::new();
    of_nobody(&directory);
    let args = ["serve", "--kubeconfig", "kubeconfig"];
    let mut command = directory.command(args.iter().chain(&PORTS));
    command.env("WAYPOST_STORE__KIND", "kubernetes");
    let mut serving = Serving::begin(directory, command);
    serving.event("the registries of the cluster cannot be read, which is tried again");
    serving.signal("TERM");
    assert_eq!(serving.ended().code(), Some(0));
}

/// A kubeconfig of an API server that is not there.
fn of_nobody(directory: &Directory) {
    // Bound and let go: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    directory.write(
        "kubeconfig",
        format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c}}}}]\nclusters: [{{name: c, cluster: {{server: \
             'http://127.0.0.1:{port}'}}}}]\n"
        ),
    );
}
