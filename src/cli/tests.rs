use clap::{CommandFactory, Parser};

use super::{Cli, ColorWhen, Command, Label};
use crate::config::{Config, Flags, Preset};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

fn serve_flags(line: &str) -> Flags {
    match parse(line).unwrap().command {
        Command::Serve(args) => args.flags(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn each_command_teaches_with_examples() {
    let mut command = Cli::command();
    command.build();
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        let help = sub.render_long_help().to_string();
        assert!(help.contains("Examples:"), "{help}");
        assert!(help.contains("--config"), "{help}");
    }
}

#[test]
fn flags_set_keys() {
    let rows = [
        ("--webhook-listen 1.1.1.1:1", "server.webhook.listen", "1.1.1.1:1"),
        ("--admin-listen 1.1.1.1:1", "server.admin.listen", "1.1.1.1:1"),
        ("--kubeconfig k", "cluster.kubeconfig", "k"),
        ("--api-listen 1.1.1.1:1", "server.api.listen", "1.1.1.1:1"),
        ("--tls-dir x", "tls.dir", "x"),
        ("--policies x", "policies.dir", "x"),
        ("--log-level debug", "log.level", "debug"),
        ("--log-format json", "log.format", "json"),
    ];
    for (line, key, value) in rows {
        let flags = serve_flags(&format!("waypost serve {line}"));
        let settings: Vec<_> = flags
            .settings
            .iter()
            .map(|set| (set.flag, set.key, &*set.value))
            .collect();
        let flag = line.split(' ').next().unwrap();
        assert_eq!(settings, [(flag, key, value)]);
        Config::from_layers(None, [], &flags).unwrap_or_else(|problems| panic!("{line}: {problems:?}"));
    }
}

#[test]
fn flags_of_what_runs_in_a_cluster_set_keys() {
    let rows = [
        ("webhook --webhook-listen 1.1.1.1:1", "server.webhook.listen"),
        ("webhook --admin-listen 1.1.1.1:1", "server.admin.listen"),
        ("webhook --tls-dir x", "tls.dir"),
        (
            "webhook --webhook-configuration x",
            "certificates.webhook_configuration",
        ),
        ("webhook --kubeconfig x", "cluster.kubeconfig"),
        ("webhook --policies x", "policies.dir"),
        ("webhook --log-level debug", "log.level"),
        ("webhook --log-format json", "log.format"),
        ("controller --name x", "controller.name"),
        ("controller --namespace x", "cluster.namespace"),
        ("controller --certificate-secret x", "certificates.secret"),
        ("controller --service x", "certificates.service"),
        (
            "controller --webhook-configuration x",
            "certificates.webhook_configuration",
        ),
        ("controller --admin-listen 1.1.1.1:1", "server.admin.listen"),
        ("controller --kubeconfig x", "cluster.kubeconfig"),
        ("controller --log-level debug", "log.level"),
        ("controller --log-format json", "log.format"),
    ];
    for (line, key) in rows {
        let flags = match parse(&format!("waypost {line}")).unwrap().command {
            Command::Webhook(args) => args.flags(),
            Command::Controller(args) => args.flags(),
            other => panic!("{other:?}"),
        };
        let words: Vec<_> = line.split(' ').collect();
        let [set] = &*flags.settings else { panic!("{line}") };
        assert_eq!((set.flag, set.key, &*set.value), (words[1], key, words[2]));
        Config::from_layers(None, [], &flags).unwrap_or_else(|problems| panic!("{line}: {problems:?}"));
    }
}

#[test]
fn presets_have_names_and_values() {
    let flags = serve_flags("waypost serve --preset a --preset b,host=h,x=y=z");
    let preset = |name: &str, values: &[(&str, &str)]| Preset {
        name: name.to_owned(),
        values: values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    assert_eq!(
        flags.presets,
        [preset("a", &[]), preset("b", &[("host", "h"), ("x", "y=z")])]
    );
    for wrong in ["a,b", ",a=b", "a=b", "a,=b", "a,b=1,b=2", "a,"] {
        assert!(parse(&format!("waypost serve --preset {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn explain_takes_images_and_labels() {
    let cli = parse("waypost explain alpine x/y:1 --namespace-labels a=b,c= --pod-labels d=e=f --color never").unwrap();
    assert_eq!(cli.color, ColorWhen::Never);
    let Command::Explain(args) = cli.command else {
        panic!();
    };
    assert_eq!(args.images, ["alpine", "x/y:1"]);
    assert_eq!(args.namespace, "default");
    let labels: Vec<_> = Label::map(&args.namespace_labels).into_iter().collect();
    assert_eq!(
        labels,
        [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]
    );
    assert_eq!(Label::map(&args.pod_labels)["d"], "e=f");
}

#[test]
fn rewrite_takes_files_and_a_namespace() {
    let line = "waypost rewrite a.yaml - --pull --diff -n prod --namespace-labels a=b --preset p,host=h";
    let Command::Rewrite(args) = parse(line).unwrap().command else {
        panic!();
    };
    assert_eq!(args.files, ["a.yaml", "-"]);
    assert_eq!(
        (args.pull, args.diff, &*args.namespace, args.namespace_labels.len()),
        (true, true, "prod", 1)
    );
    let Command::Rewrite(args) = parse("waypost rewrite").unwrap().command else {
        panic!();
    };
    assert_eq!((args.files.len(), &*args.namespace), (0, "default"));
}

#[test]
fn check_takes_a_directory() {
    let Command::Check(args) = parse("waypost check dir --format github").unwrap().command else {
        panic!();
    };
    let flags = args.flags();
    assert_eq!(
        (flags.settings[0].key, &*flags.settings[0].value),
        ("policies.dir", "dir")
    );
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    let rows = [
        "waypost",
        "waypost nothing",
        "waypost serve --log-level loud",
        "waypost serve --kubeconfig",
        "waypost explain",
        "waypost explain a --pod-labels b",
        "waypost check --format xml",
        "waypost schema nothing",
        "waypost completions tcsh",
        "waypost --color sometimes serve",
    ];
    for line in rows {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}
