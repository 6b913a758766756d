//! What was found, as conditions say it: a status, a word for programs, a sentence for people. The sentences have no credential in them,
//! and nothing that is another thing each time.

use crate::{
    oci::{CanPush, Fault, Ping, SignIn},
    registry::Status,
    store::StoreError,
};

/// What a condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Finding {
    fn new(status: Status, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }

    pub(super) fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Status::Unknown, reason, message)
    }

    pub(super) fn of_fault(status: Status, fault: &Fault) -> Self {
        Self::new(status, fault.reason(), fault.to_string())
    }

    /// `Reachable`, of one that answers.
    pub(super) fn answers(ping: &Ping) -> Self {
        match ping {
            Ping::Answers => Self::new(Status::True, "Answers", "it answers"),
            Ping::Limited(_) => Self::new(
                Status::True,
                "RateLimited",
                "it answers that it is asked too much (429), and is left alone for a while",
            ),
        }
    }

    /// `Authenticated`. None where nothing was found out.
    pub(super) fn signed_in(signed: &SignIn) -> Option<Self> {
        Some(match signed {
            SignIn::Accepted => Self::new(Status::True, "Accepted", "it takes the pull credential"),
            SignIn::Anonymous => Self::new(
                Status::True,
                "Anonymous",
                "it lets anybody in, and there is no pull credential",
            ),
            SignIn::Rejected => Self::new(
                Status::False,
                "Rejected",
                "it does not take the pull credential: the username or the password is wrong, has expired, or may not pull",
            ),
            SignIn::CredentialRequired => Self::new(
                Status::False,
                "CredentialRequired",
                "it lets nobody in without a credential, and there is none to pull with",
            ),
            SignIn::Limited(_) => return None,
        })
    }

    pub(super) fn rate_limited() -> Self {
        Self::unknown(
            "RateLimited",
            "it answers that it is asked too much (429): nobody knows yet",
        )
    }

    /// A credential that is there and cannot be had.
    pub(super) fn not_kept(error: &StoreError) -> Self {
        Self::unknown(
            "CredentialUnreadable",
            format!("its credential cannot be read: {error}"),
        )
    }

    /// A credential that leads to nothing.
    pub(super) fn not_resolved(why: &str) -> Self {
        Self::new(
            Status::False,
            "CredentialUnreadable",
            format!("its pull credential cannot be read: {why}"),
        )
    }

    /// `PullCredentialCanPush`.
    pub(super) fn can_push(can: &CanPush) -> Self {
        match can {
            CanPush::Yes => Self::new(
                Status::True,
                "CanPush",
                "the credential that reaches namespaces can push: give one that can only pull, and this one to push with",
            ),
            CanPush::No => Self::new(
                Status::False,
                "CanOnlyPull",
                "the credential that reaches namespaces cannot push",
            ),
            CanPush::Unknown(why) => Self::unknown(
                "CannotTell",
                format!("whether the pull credential can push cannot be told: {why}"),
            ),
        }
    }

    pub(super) fn nobody_pushes() -> Self {
        Self::new(Status::False, "Anonymous", "there is no pull credential")
    }

    /// Nobody has issued one.
    pub(super) fn no_token_yet() -> Self {
        Self::unknown(
            "NoTokenYet",
            "there is no token to pull with yet: the condition TokenIssued says why",
        )
    }

    /// `Reachable`, of an account's own registry.
    pub(super) fn account_unknown() -> Self {
        Self::unknown(
            "AccountUnknown",
            "nobody knows yet whose registry it is: ECR is asked for it, with the first token",
        )
    }

    /// `LongLived`, where tokens are issued.
    pub(super) fn short_lived() -> Self {
        Self::new(
            Status::False,
            "Issued",
            "namespaces get tokens, which end soon and are renewed before they do",
        )
    }

    /// `LongLived`, of what somebody gave.
    pub(super) fn long_lived(has_credential: bool) -> Self {
        if has_credential {
            Self::new(
                Status::True,
                "Password",
                "namespaces get the password itself, which works until somebody changes it",
            )
        } else {
            Self::new(Status::False, "Anonymous", "there is no pull credential")
        }
    }
}
