use proptest::prelude::*;

use super::*;

const EVERY: Duration = Duration::from_secs(10);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Probes of so many seconds each, one after another: when each began, and what was known after it.
struct Run {
    health: Health,
    now: Duration,
    began: Vec<f64>,
    changes: Vec<(f64, bool)>,
}

impl Run {
    fn new(health: Health) -> Self {
        Self {
            health,
            now: Duration::ZERO,
            began: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn probe(&mut self, took: f64, seen: Seen, jitter: f64) {
        let began = self.now;
        let ended = began + seconds(took);
        let step = self.health.saw(began, ended, seen, jitter);
        assert!(step.next >= ended, "{step:?} is before {ended:?}");
        assert!(step.changed.is_none_or(|up| up == self.health.is_up()));
        self.began.push(began.as_secs_f64());
        if let Some(up) = step.changed {
            self.changes.push((ended.as_secs_f64(), up));
        }
        self.now = step.next;
    }

    /// `.` answers, `x` fails at once, `t` fails after five seconds, `l` is limited.
    fn play(mut self, script: &str) -> Self {
        for letter in script.chars() {
            match letter {
                '.' => self.probe(0.0, Seen::Answered, 0.5),
                'x' => self.probe(0.0, Seen::Failed, 0.5),
                't' => self.probe(5.0, Seen::Failed, 0.5),
                'l' => self.probe(0.0, Seen::Limited(None), 0.5),
                _ => unreachable!(),
            }
        }
        self
    }
}

#[test]
fn probes_come_when_they_should_and_change_what_they_prove() {
    for (script, began, changes) in [
        // Fine.
        ("...", &[0.0, 10.0, 20.0][..], &[][..]),
        // One failure, or two, are none.
        (".x.", &[0.0, 10.0, 11.0], &[]),
        (".xx..", &[0.0, 10.0, 11.0, 13.0, 23.0], &[]),
        // Three are, and the probes of what is down become rarer.
        (
            "xxxxxxxx",
            &[0.0, 1.0, 3.0, 5.0, 9.0, 17.0, 33.0, 63.0],
            &[(3.0, false)],
        ),
        // Those that run into their deadline follow at once.
        ("ttt", &[0.0, 5.0, 10.0], &[(15.0, false)]),
        // Two answers prove that it is back.
        ("xxx..", &[0.0, 1.0, 3.0, 5.0, 6.0], &[(3.0, false), (6.0, true)]),
        (
            "xxx.x..",
            &[0.0, 1.0, 3.0, 5.0, 6.0, 8.0, 9.0],
            &[(3.0, false), (9.0, true)],
        ),
        // Limited is up, and left alone for longer and longer.
        ("xxl.", &[0.0, 1.0, 3.0, 66.0], &[]),
        ("lll", &[0.0, 63.0, 189.0], &[]),
    ] {
        let run = Run::new(Health::new(EVERY)).play(script);
        let rounded = |time: f64| (time * 1000.0).round() / 1000.0;
        let times: Vec<_> = run.began.iter().copied().map(rounded).collect();
        assert_eq!(times, began, "{script}");
        let seen: Vec<_> = run.changes.iter().map(|(at, up)| (rounded(*at), *up)).collect();
        assert_eq!(seen, changes, "{script}");
    }
}

#[test]
fn what_was_down_when_somebody_looked_last_stays_so_until_it_is_proven_up() {
    let run = Run::new(Health::down(EVERY)).play("x.");
    assert!(!run.health.is_up() && run.changes.is_empty());
    assert_eq!(Run::new(Health::down(EVERY)).play("..").changes, [(1.0, true)]);
}

#[test]
fn what_goes_down_again_and_again_has_to_answer_more_often_until_it_is_forgotten() {
    let mut run = Run::new(Health::new(EVERY));
    for wanted in [2, 4, 8, 16, 32, 32] {
        run = run.play("xxx");
        assert!(!run.health.is_up());
        run = run.play(&".".repeat(wanted - 1));
        assert!(!run.health.is_up(), "{wanted}");
        run = run.play(".");
        assert!(run.health.is_up(), "{wanted}");
    }
    // Ten minutes of being fine, and it is as before.
    run = run.play(&".".repeat(61)).play("xxx..");
    assert!(run.health.is_up());
}

#[test]
fn who_asks_to_be_left_alone_is_for_as_long_as_it_says_within_reason() {
    for (wait, expected) in [(0, 10.0), (30, 30.0), (600, 600.0), (86_400, 600.0)] {
        let mut health = Health::new(EVERY);
        let seen = Seen::Limited(Some(Duration::from_secs(wait)));
        let step = health.saw(Duration::ZERO, Duration::ZERO, seen, 0.0);
        assert_eq!(step.next.as_secs_f64(), expected, "{wait}");
        assert!(health.is_up());
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        3 => Just(Seen::Answered),
        3 => Just(Seen::Failed),
        1 => proptest::option::of(0..2_000_u64).prop_map(|wait| Seen::Limited(wait.map(Duration::from_secs))),
    ]
}

proptest! {
    #[test]
    fn a_registry_that_fails_every_other_probe_or_two_of_three_stays_what_it_is(
        failing in 1..3_usize, jitter in 0.0..1.0_f64, took in 0.0..5.0_f64,
    ) {
        let mut run = Run::new(Health::new(EVERY));
        for probe in 0..300 {
            let seen = if probe % (failing + 1) == 0 { Seen::Answered } else { Seen::Failed };
            run.probe(took, seen, jitter);
        }
        prop_assert_eq!(run.changes.len(), 0);
    }

    #[test]
    fn whatever_happens_it_does_not_change_its_mind_often(
        probes in proptest::collection::vec((seen(), 0.0..5.0_f64, 0.0..1.0_f64), 1..2_000),
    ) {
        let mut run = Run::new(Health::new(EVERY));
        for (seen, took, jitter) in probes {
            run.probe(took, seen, jitter);
        }
        for (index, (at, _)) in run.changes.iter().enumerate() {
            let within = run.changes[index..].iter().take_while(|(other, _)| other - at <= 600.0).count();
            prop_assert!(within <= MOST_CHANGES, "{within} changes within ten minutes: {:?}", &run.changes[index..]);
        }
        for pair in run.changes.windows(2) {
            prop_assert!(pair[0].1 != pair[1].1);
        }
    }

    #[test]
    fn what_answers_whenever_it_can_to_be_worst_does_not_change_often_either(jitter in 0.0..1.0_f64) {
        // Whoever knows the machine: fails until it is down, answers until it is up.
        let mut run = Run::new(Health::new(Duration::from_secs(1)));
        while run.now < Duration::from_secs(3_600) {
            let seen = if run.health.is_up() { Seen::Failed } else { Seen::Answered };
            run.probe(0.0, seen, jitter);
        }
        for (index, (at, _)) in run.changes.iter().enumerate() {
            let within = run.changes[index..].iter().take_while(|(other, _)| other - at <= 600.0).count();
            prop_assert!(within <= MOST_CHANGES, "{within} changes within ten minutes");
        }
    }

    #[test]
    fn a_stop_is_noticed_within_fifteen_seconds_and_a_return_within_thirty_six(
        fine in 1..50_usize, at in 0.0..1.0_f64, jitter in 0.0..1.0_f64, down_for in 0.0..3_000.0_f64,
    ) {
        let mut run = Run::new(Health::new(EVERY));
        for _ in 0..fine {
            run.probe(0.05, Seen::Answered, jitter);
        }
        // It stops somewhere between the last probe and the next.
        let last = run.began[fine - 1];
        let stopped = last + at * (run.now.as_secs_f64() - last);
        while run.health.is_up() {
            run.probe(0.0, Seen::Failed, jitter);
        }
        let (noticed, _) = run.changes[0];
        prop_assert!(noticed - stopped <= 15.0, "{} s", noticed - stopped);
        let back = noticed + down_for;
        while run.now.as_secs_f64() < back {
            run.probe(0.0, Seen::Failed, jitter);
        }
        while !run.health.is_up() {
            run.probe(0.05, Seen::Answered, jitter);
        }
        let (up, _) = run.changes[1];
        prop_assert!(up - back <= 36.0, "{} s", up - back);
    }
}

/// Within ten minutes. A change to down and back takes at least 3 s and as many seconds as answers are wanted.
const MOST_CHANGES: usize = 42;
