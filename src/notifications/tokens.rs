//! The token of a registry: read when it has changed, and compared by a keyed hash.

use ring::hmac;
use tokio::time::{Duration, Instant};

use crate::{
    credentials::login_soon,
    registry::{Password, credential::token_problem},
    store::{Edition, Store},
};

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The registry's.
    Right,
    /// Somebody else's, or nobody's; or the registry has none, or there is no such registry.
    Another,
    /// Nobody can tell at the moment: the registry's cannot be read. The log says why.
    Unavailable,
}

/// What is known of a registry's token. The token itself is not kept.
pub(super) struct Token {
    edition: Edition,
    read: Instant,
    /// Whether it may become another one without another edition.
    is_elsewhere: bool,
    /// None where it cannot be read, or is of no use.
    tag: Option<hmac::Tag>,
}

impl Token {
    /// Compares, in the same time wherever the two differ. The store is asked where nothing is known of this edition yet, and again where
    /// that was of no use some seconds ago.
    pub(super) async fn judge(
        known: &mut Option<Self>,
        store: &dyn Store,
        id: &str,
        edition: Edition,
        key: &hmac::Key,
        presented: &Password,
    ) -> Verdict {
        let token = match known.take() {
            Some(token) if token.edition == edition && !token.is_old() => token,
            before => {
                let was_unusable = before.is_some_and(|before| before.edition == edition && before.tag.is_none());
                Self::read(store, id, edition, key, was_unusable).await
            }
        };
        let verdict = match &token.tag {
            None => Verdict::Unavailable,
            Some(tag) if hmac::verify(key, presented.expose().as_bytes(), tag.as_ref()).is_ok() => Verdict::Right,
            Some(_) => Verdict::Another,
        };
        *known = Some(token);
        verdict
    }

    fn is_old(&self) -> bool {
        let good_for = match &self.tag {
            None => AGAIN,
            Some(_) if self.is_elsewhere => A_MOMENT,
            Some(_) => return false,
        };
        self.read.elapsed() >= good_for
    }

    async fn read(store: &dyn Store, id: &str, edition: Edition, key: &hmac::Key, was_said: bool) -> Self {
        let mut is_elsewhere = false;
        let token = async {
            let credential = store.notification_token(id).await.map_err(|error| error.to_string())?;
            let credential = credential.ok_or_else(|| "there is none any more".to_owned())?;
            is_elsewhere = credential.is_elsewhere();
            let login = login_soon(credential).await?;
            match token_problem(login.password.expose()) {
                Some(problem) => Err(format!("{problem}: make another one, as by `openssl rand -hex 32`")),
                None => Ok(hmac::sign(key, login.password.expose().as_bytes())),
            }
        };
        let tag = match token.await {
            Ok(tag) => Some(tag),
            Err(why) => {
                if !was_said {
                    tracing::warn!(
                        registry = id,
                        "no notification of the registry {id} is taken, for its token is of no use: {why}"
                    );
                }
                None
            }
        };
        Self {
            edition,
            read: Instant::now(),
            is_elsewhere,
            tag,
        }
    }
}

/// How long the content of a file is taken for what it was.
const A_MOMENT: Duration = Duration::from_secs(1);

/// When a token that was of no use is read again.
const AGAIN: Duration = Duration::from_secs(5);
