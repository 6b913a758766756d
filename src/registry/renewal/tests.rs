use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600;

/// Two clocks that go together unless one is set.
struct Clocks {
    wall: i64,
    elapsed: u64,
}

impl Clocks {
    fn new() -> Self {
        Self {
            wall: 1_000_000,
            elapsed: 500,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            wall: at(self.wall),
            elapsed: Duration::from_secs(self.elapsed),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.wall += i64::try_from(seconds).unwrap();
        self.elapsed += seconds;
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Of so many seconds, of which so many have passed.
fn life(clocks: &Clocks, length: i64, age: i64) -> Option<Life> {
    let from = clocks.wall - age;
    Some(Life {
        from: at(from),
        until: at(from + length),
    })
}

fn wait(renewals: &Renewals, clocks: &Clocks) -> f64 {
    renewals.wait(clocks.now()).as_secs_f64()
}

#[test]
fn a_token_is_renewed_at_half_its_life_more_or_less() {
    let clocks = Clocks::new();
    for (length, age, jitter, expected) in [
        (3_600, 0, 0.5, 1_800.0),
        (3_600, 0, 0.0, 1_620.0),
        (3_600, 0, 1.0, 1_980.0),
        (60, 0, 0.5, 30.0),
        // Begun by another process: it goes on.
        (3_600, 1_000, 0.5, 800.0),
        (3_600, 1_800, 0.5, 0.0),
        (3_600, 4_000, 0.5, 0.0),
        (0, 0, 0.5, 0.0),
    ] {
        let mut renewals = Renewals::default();
        renewals.token(life(&clocks, length, age), false, clocks.now(), jitter);
        assert_eq!(wait(&renewals, &clocks), expected, "{length} {age} {jitter}");
    }
}

#[test]
fn what_is_of_no_use_is_renewed_at_once() {
    let clocks = Clocks::new();
    let mut renewals = Renewals::default();
    assert_eq!(wait(&renewals, &clocks), 0.0);
    assert_eq!(renewals.left(clocks.now()), Duration::ZERO);
    renewals.token(life(&clocks, 3_600, 0), true, clocks.now(), 0.5);
    assert_eq!(wait(&renewals, &clocks), 0.0);
    assert_eq!(renewals.left(clocks.now()), Duration::from_secs(HOUR));
    renewals.token(None, false, clocks.now(), 0.5);
    assert_eq!(wait(&renewals, &clocks), 0.0);
}

#[test]
fn whichever_clock_says_sooner_is_right() {
    // What is set on the wall after a minute, and how long is waited and how long it works then.
    for (set, expected, left) in [
        (0, 1_740.0, 3_540),
        (600, 1_140.0, 2_940),
        (1_740, 0.0, 1_800),
        (100_000, 0.0, 0),
        // Set back: the other clock goes on, until it cannot have been issued yet.
        (-30, 1_740.0, 3_540),
        (-119, 1_740.0, 3_540),
        (-121, 0.0, 3_540),
        (-100_000, 0.0, 3_540),
    ] {
        let mut clocks = Clocks::new();
        let mut renewals = Renewals::default();
        renewals.token(life(&clocks, 3_600, 0), false, clocks.now(), 0.5);
        clocks.pass(60);
        clocks.wall += set;
        assert_eq!(wait(&renewals, &clocks), expected, "{set}");
        assert_eq!(renewals.left(clocks.now()), Duration::from_secs(left), "{set}");
    }
}

#[test]
fn attempts_that_fail_become_rarer_and_press_when_the_token_is_about_to_end() {
    // How many seconds a token works still, where there is one, and when the attempts begin.
    for (left, expected) in [
        (None, &[0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1_111, 1_411][..]),
        (
            Some(43_200),
            &[0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1_111, 1_411],
        ),
        (Some(400), &[0, 1, 3, 7, 15, 31, 63, 127, 196, 247, 286, 315, 337]),
        // It ends after the ninth.
        (Some(60), &[0, 1, 3, 7, 15, 27, 37, 47, 57, 67, 77, 87]),
        (Some(0), &[0, 1, 3, 7, 15, 25, 35, 45, 57, 72]),
    ] {
        let mut clocks = Clocks::new();
        let began = clocks.elapsed;
        let mut renewals = Renewals::default();
        let token = left.and_then(|left| life(&clocks, 86_400, 86_400 - left));
        renewals.token(token, false, clocks.now(), 0.5);
        let mut attempts = Vec::new();
        while attempts.len() < expected.len() {
            if renewals.wait(clocks.now()).is_zero() {
                attempts.push(clocks.elapsed - began);
                renewals.failed(clocks.now(), 0.5);
            }
            clocks.pass(1);
        }
        assert_eq!(attempts, expected, "{left:?}");
    }
}

#[test]
fn what_passes_by_itself_is_no_news_and_what_lasts_is() {
    for (length, age, silent) in [
        // A minute, or an eighth of its life.
        (43_200, 21_600, 60),
        (60, 30, 8),
        // There is none that works.
        (60, 60, 0),
    ] {
        let mut clocks = Clocks::new();
        let mut renewals = Renewals::default();
        renewals.token(life(&clocks, length, age), false, clocks.now(), 0.5);
        assert!(!renewals.is_trouble(clocks.now()));
        renewals.failed(clocks.now(), 0.5);
        let mut passed = 0;
        while !renewals.is_trouble(clocks.now()) {
            clocks.pass(1);
            passed += 1;
            renewals.failed(clocks.now(), 0.5);
        }
        assert_eq!(passed, silent, "{length}");
        renewals.renewed(clocks.now());
        assert!(!renewals.is_trouble(clocks.now()));
    }
}

#[test]
fn a_change_does_not_wait_for_what_failed_before_it() {
    let clocks = Clocks::new();
    let mut renewals = Renewals::default();
    for _ in 0..10 {
        renewals.failed(clocks.now(), 0.5);
    }
    assert!(wait(&renewals, &clocks) >= 60.0);
    renewals.anew();
    assert_eq!(wait(&renewals, &clocks), 0.0);
}

#[test]
fn a_token_that_is_issued_again_and_again_is_asked_for_at_half_of_what_remains() {
    let mut clocks = Clocks::new();
    let mut renewals = Renewals::default();
    renewals.token(life(&clocks, 3_600, 0), false, clocks.now(), 0.5);
    for expected in [900.0, 450.0, 225.0] {
        clocks.pass(renewals.wait(clocks.now()).as_secs());
        renewals.same(clocks.now(), 0.5);
        renewals.token(life(&clocks, 3_600, clocks.wall - 1_000_000), false, clocks.now(), 0.9);
        assert_eq!(wait(&renewals, &clocks), expected);
    }
}

#[test]
fn an_issuer_of_tokens_that_end_at_once_is_asked_once_a_second() {
    let mut clocks = Clocks::new();
    let mut renewals = Renewals::default();
    renewals.renewed(clocks.now());
    renewals.token(life(&clocks, 0, 0), false, clocks.now(), 0.5);
    assert_eq!(wait(&renewals, &clocks), 1.0);
    clocks.pass(1);
    assert_eq!(wait(&renewals, &clocks), 0.0);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Set(i64),
    Token(i64, i64, bool),
    None,
    Renewed,
    Same,
    Failed,
    Anew,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..100_000).prop_map(Step::Pass),
        (-1_000_000_i64..1_000_000).prop_map(Step::Set),
        (0_i64..100_000, -1_000_i64..100_000, any::<bool>())
            .prop_map(|(length, age, unwanted)| Step::Token(length, age, unwanted)),
        Just(Step::None),
        Just(Step::Renewed),
        Just(Step::Same),
        Just(Step::Failed),
        Just(Step::Anew),
    ]
}

proptest! {
    #[test]
    fn whatever_the_clocks_do_nobody_is_asked_too_often_and_no_token_is_given_up(
        steps in prop::collection::vec((step(), 0.0..1.0_f64), 0..40),
    ) {
        let mut clocks = Clocks::new();
        clocks.wall = 1_000_000_000;
        let mut renewals = Renewals::default();
        for (step, jitter) in steps {
            let now = clocks.now();
            match step {
                Step::Pass(seconds) => clocks.pass(seconds),
                Step::Set(seconds) => clocks.wall += seconds,
                Step::Token(length, age, unwanted) => {
                    renewals.token(life(&clocks, length, age), unwanted, now, jitter);
                }
                Step::None => renewals.token(None, false, now, jitter),
                Step::Renewed => renewals.renewed(now),
                Step::Same => renewals.same(now, jitter),
                Step::Failed => {
                    renewals.failed(now, jitter);
                    prop_assert!(renewals.wait(now) >= Duration::from_millis(900));
                }
                Step::Anew => {
                    renewals.anew();
                    let wanted = renewals.token.is_none() || renewals.unwanted;
                    prop_assert!(!wanted || renewals.wait(now).is_zero());
                }
            }
            let now = clocks.now();
            let (wait, left) = (renewals.wait(now), renewals.left(now));
            if renewals.failing.is_some() {
                prop_assert!(wait <= LONGEST.mul_f64(1.1), "{wait:?}");
                prop_assert!(left <= FOUGHT_FOR || wait < left, "{wait:?}, and it ends after {left:?}");
            } else {
                let half = renewals.token.map_or(Duration::ZERO, |seen| seen.life.length().mul_f64(0.56));
                prop_assert!(wait <= half + SKEW, "{wait:?} of {half:?}");
                prop_assert!(!left.is_zero() || wait <= BETWEEN, "{wait:?} without a token");
            }
        }
    }
}
