//! What is said of a registry's token: a status, a word for programs, a sentence for people. The sentences have neither a key nor a token in
//! them, and nothing that is another thing with each attempt.

use jiff::Timestamp;

use crate::{
    credentials::IssueError,
    metrics::Renewal,
    registry::{Condition, ConditionKind, Status},
    store::StoreError,
};

/// Why there is no new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: &'static str,
    /// As metrics have it.
    pub(super) result: Renewal,
    pub(super) message: String,
}

/// What the condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// How a registry stands, as far as people have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is known.
    New,
    /// There is a token.
    Fine,
    /// There is one, and no other is issued.
    Failing,
    /// There is none that works.
    Without,
}

impl Trouble {
    /// None was issued.
    pub(super) fn not_issued(error: IssueError) -> Self {
        let (reason, result, message) = match error {
            IssueError::Rejected(why) => ("Rejected", Renewal::Rejected, why),
            IssueError::Misconfigured(why) => ("Misconfigured", Renewal::Misconfigured, why),
            IssueError::Unavailable(why) => ("Unavailable", Renewal::Unavailable, why),
        };
        Self {
            reason,
            result,
            message,
        }
    }

    /// What was issued has ended, if it is so late.
    pub(super) fn ended_already() -> Self {
        Self::not_issued(IssueError::Unavailable(
            "a token was issued that has ended already by this machine's clock: see whether the clock is right"
                .to_owned(),
        ))
    }

    /// It could not be asked for.
    pub(super) fn no_key(error: &StoreError) -> Self {
        Self {
            reason: "KeyUnreadable",
            result: Renewal::Unavailable,
            message: format!("the key that tokens are issued by cannot be read: {error}"),
        }
    }

    /// One was issued in vain.
    pub(super) fn not_kept(error: &StoreError) -> Self {
        Self {
            reason: "NotKept",
            result: Renewal::NotKept,
            message: format!("a token was issued and cannot be kept: {error}"),
        }
    }
}

impl Finding {
    pub(super) fn not_asked_yet() -> Self {
        Self {
            status: Status::Unknown,
            reason: "NotAskedYet",
            message: "nobody has been asked for a token yet".to_owned(),
        }
    }

    /// `wide`: why it can do more than pull.
    pub(super) fn issued(wide: Option<&str>) -> Self {
        match wide {
            None => Self {
                status: Status::True,
                reason: "Issued",
                message: "there is a token that may only pull, which is renewed at half of its life".to_owned(),
            },
            Some(wide) => Self {
                status: Status::True,
                reason: "Wide",
                message: wide.to_owned(),
            },
        }
    }

    /// Somebody else had it issued, and what he knew of it is not known here.
    pub(super) fn found() -> Self {
        Self {
            status: Status::True,
            reason: "Issued",
            message: "there is a token".to_owned(),
        }
    }

    pub(super) fn failing(trouble: &Trouble, until: Timestamp) -> Self {
        Self {
            status: Status::True,
            reason: FAILING,
            message: format!(
                "the token that there is works until {}, and cannot be renewed: {}",
                seconds(until),
                trouble.message
            ),
        }
    }

    /// `ended`: when the one that there is did, if there is one.
    pub(super) fn without(trouble: &Trouble, ended: Option<Timestamp>) -> Self {
        let message = &trouble.message;
        Self {
            status: Status::False,
            reason: trouble.reason,
            message: match ended {
                None => format!("there is no token to pull with: {message}"),
                Some(ended) => format!(
                    "the token that there is ended at {}, which namespaces keep for want of a better one: {message}",
                    seconds(ended)
                ),
            },
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.status, self.reason) {
            (Status::Unknown, _) => Standing::New,
            (Status::False, _) => Standing::Without,
            (Status::True, FAILING) => Standing::Failing,
            (Status::True, _) => Standing::Fine,
        }
    }
}

impl Standing {
    /// As it was told by somebody before.
    pub(super) fn of(condition: Option<&Condition>) -> Self {
        match condition.map(|condition| (condition.status, &*condition.reason)) {
            None | Some((Status::Unknown, _)) => Self::New,
            Some((Status::False, _)) => Self::Without,
            Some((Status::True, FAILING)) => Self::Failing,
            Some((Status::True, _)) => Self::Fine,
        }
    }
}

/// What is said here.
pub(super) const MINE: ConditionKind = ConditionKind::TokenIssued;

const FAILING: &str = "RenewalFailing";

/// Nobody needs to know it better.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
