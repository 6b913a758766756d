//! What the chart renders, as the API server finds it.

use std::fs;

use super::on_control_plane;
use crate::support::helm::helm;

#[test]
fn every_object_of_the_chart_is_accepted_strictly() {
    on_control_plane("rendered", |case| {
        let mut accepted = 0;
        for fixture in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/chart")).unwrap() {
            let path = fixture.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let namespace = format!("--namespace={}", case.namespace);
            let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/waypost");
            let args = [
                "template",
                "--skip-tests",
                "waypost",
                chart,
                &namespace,
                "--values",
                path.to_str().unwrap(),
            ];
            let rendered = helm(&args).exits(0);
            // Without the Pod of `helm test`, whose PriorityClass a dry run does not make; others run it.
            // Those of other projects need their CRDs, which this cluster does not have.
            let known = |object: &&str| {
                !["cert-manager.io/", "monitoring.coreos.com/"]
                    .iter()
                    .any(|of| object.contains(&format!("apiVersion: {of}")))
            };
            let objects: Vec<_> = rendered.out().split("---\n").filter(known).collect();
            let apply = [
                "apply",
                "--server-side",
                "--dry-run=server",
                "--validate=strict",
                "--filename=-",
            ];
            let answer = case.kubectl_with(&apply, &objects.join("---\n"));
            assert_eq!(answer.code, Some(0), "{}: {}", path.display(), answer.stderr);
            accepted += answer.out().lines().count();
        }
        assert!(accepted > 50, "{accepted}");
    });
}
