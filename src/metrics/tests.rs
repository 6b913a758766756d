use super::*;

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.common().render().unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

fn key(generation: u64, rule: u32) -> ImageKey {
    ImageKey {
        generation,
        rule,
        source: 1,
        target: 2,
        outcome: 3,
    }
}

fn labels(rule: &str) -> ImageLabels<'_> {
    ImageLabels {
        rule,
        source: "docker.io",
        target: "registry.cern.ch",
        outcome: "rewritten",
    }
}

fn series(rule: &str) -> String {
    format!(r#"waypost_images_total{{outcome="rewritten",rule="{rule}",source="docker.io",target="registry.cern.ch"}}"#)
}

#[test]
fn every_operation_and_outcome_has_its_own_counter() {
    let metrics = Metrics::new();
    let mut expected = 0;
    for operation in Operation::ALL {
        for outcome in Outcome::ALL {
            expected += 1;
            for _ in 0..expected {
                metrics.review(operation, outcome, Duration::from_micros(15));
            }
        }
    }
    let mut expected = 0.0;
    for operation in Operation::ALL {
        assert_eq!(Operation::of(operation.as_str()), operation);
        for outcome in Outcome::ALL {
            expected += 1.0;
            let (operation, outcome) = (operation.as_str(), outcome.as_str());
            let series = format!(r#"waypost_reviews_total{{operation="{operation}",outcome="{outcome}"}}"#);
            assert_eq!(value(&metrics, &series), Some(expected), "{series}");
        }
    }
    assert_eq!(
        value(&metrics, r#"waypost_review_duration_seconds_bucket{le="0.00001"}"#),
        Some(0.0)
    );
    assert_eq!(
        value(&metrics, r#"waypost_review_duration_seconds_bucket{le="0.00002"}"#),
        Some(325.0)
    );
    assert_eq!(Operation::of("PATCH"), Operation::Unknown);
}

#[test]
fn a_rejected_request_is_a_bad_request_without_a_duration() {
    let metrics = Metrics::new();
    metrics.rejected();
    let series = r#"waypost_reviews_total{operation="unknown",outcome="bad_request"}"#;
    assert_eq!(value(&metrics, series), Some(1.0));
    assert_eq!(value(&metrics, "waypost_review_duration_seconds_count"), Some(0.0));
}

#[test]
fn the_labels_of_an_image_are_asked_for_once_per_thread_and_generation() {
    let metrics = Metrics::new();
    let mut asked = 0;
    for _ in 0..3 {
        metrics.image(key(1, 7), || {
            asked += 1;
            labels("a/b")
        });
    }
    assert_eq!(asked, 1);
    assert_eq!(value(&metrics, &series("a/b")), Some(3.0));

    // Rule 7 is another rule in the next set of policies.
    metrics.image(key(2, 7), || labels("c/d"));
    assert_eq!(value(&metrics, &series("a/b")), Some(3.0));
    assert_eq!(value(&metrics, &series("c/d")), Some(1.0));

    std::thread::scope(|scope| {
        scope.spawn(|| metrics.image(key(2, 7), || labels("c/d")));
    });
    assert_eq!(value(&metrics, &series("c/d")), Some(2.0));
}

#[test]
fn two_instances_do_not_share_counters() {
    let (first, second) = (Metrics::new(), Metrics::new());
    first.image(key(1, 1), || labels("a/b"));
    second.image(key(1, 1), || labels("a/b"));
    second.image(key(1, 1), || unreachable!("the second one's own is known by now"));
    assert_eq!(value(&first, &series("a/b")), Some(1.0));
    assert_eq!(value(&second, &series("a/b")), Some(2.0));
}

#[test]
fn more_keys_than_a_thread_keeps_are_still_counted() {
    let metrics = Metrics::new();
    for rule in 0..5000 {
        metrics.image(key(1, rule), || labels("a/b"));
    }
    assert_eq!(value(&metrics, &series("a/b")), Some(5000.0));
}

#[test]
fn requests_to_the_api_are_counted_by_where_how_and_what_came_of_them() {
    let metrics = Metrics::new();
    for _ in 0..2 {
        metrics.common().api_request("/v1/registries/{id}", "GET", 404);
    }
    let series = r#"waypost_api_requests_total{method="GET",route="/v1/registries/{id}",status="404"}"#;
    assert_eq!(value(&metrics, series), Some(2.0));
}

#[test]
fn gauges_say_what_they_were_set_to() {
    let metrics = Metrics::new();
    metrics.set_policy_generation(3);
    metrics.policy_reload_failed();
    metrics.set_certificate_expiry(Timestamp::from_second(4_102_444_800).unwrap());
    assert_eq!(value(&metrics, "waypost_policy_generation"), Some(3.0));
    assert_eq!(value(&metrics, "waypost_policy_reload_failures_total"), Some(1.0));
    assert_eq!(
        value(&metrics, "waypost_certificate_expiry_timestamp_seconds"),
        Some(4_102_444_800.0)
    );
    let build = format!(r#"waypost_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&metrics, &build), Some(1.0));
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_measured_and_never_goes_back() {
    let metrics = Metrics::new();
    assert!(value(&metrics, "process_resident_memory_bytes").unwrap() > 100_000.0);
    assert!(value(&metrics, "process_open_fds").unwrap() >= 3.0);
    assert!(value(&metrics, "process_threads").unwrap() >= 1.0);
    let now = Timestamp::now().as_second() as f64;
    let start = value(&metrics, "process_start_time_seconds").unwrap();
    assert!(
        (now - 3600.0..=now + 5.0).contains(&start),
        "{start} is not a moment ago ({now})"
    );
    let before = value(&metrics, "process_cpu_seconds_total").unwrap();
    assert!(value(&metrics, "process_cpu_seconds_total").unwrap() >= before);
}
