//! The two tokens of one machine.

use futures_util::future::{self, BoxFuture};
use ring::{
    error::Unspecified,
    hmac::{self, HMAC_SHA256, Key, Tag},
    rand::SystemRandom,
};

use super::{Access, Authorizer, Verb, Verdict};
use crate::registry::Password;

/// The tokens of one machine: `admin` may do everything, `push` reads registries and pushes (there is no credential in what it reads) and
/// reports pushes. Only keyed hashes are kept, under a key that is new in each process, and comparing two takes the same time wherever
/// they differ.
pub struct Tokens {
    key: Key,
    admin: Tag,
    push: Tag,
}

impl Tokens {
    /// Takes the two tokens.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn new(admin: &Password, push: &Password) -> Result<Self, Unspecified> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new())?;
        let tag = |token: &Password| hmac::sign(&key, token.expose().as_bytes());
        let (admin, push) = (tag(admin), tag(push));
        Ok(Self { key, admin, push })
    }

    fn judge(&self, token: &Password, access: Option<Access<'_>>) -> Verdict {
        let token = token.expose().as_bytes();
        let is = |tag: &Tag| hmac::verify(&self.key, token, tag.as_ref()).is_ok();
        // Both, always: that it is the second takes no longer than that it is the first.
        let (admin, push) = (is(&self.admin), is(&self.push));
        match access {
            // An empty file is no token.
            _ if token.is_empty() => Verdict::Unauthenticated,
            _ if admin => Verdict::Allowed(ADMIN.to_owned()),
            _ if !push => Verdict::Unauthenticated,
            Some(access) if !access.verb.only_reads() && access.verb != Verb::Push => Verdict::Forbidden {
                user: PUSH.to_owned(),
                why: "the push token reads registries and pushes, reports pushes, and changes nothing else: use the admin token".to_owned(),
            },
            _ => Verdict::Allowed(PUSH.to_owned()),
        }
    }
}

impl Authorizer for Tokens {
    fn authorize<'a>(&'a self, token: &'a Password, access: Option<Access<'a>>) -> BoxFuture<'a, Verdict> {
        Box::pin(future::ready(self.judge(token, access)))
    }
}

const ADMIN: &str = "admin";
const PUSH: &str = "push";

#[cfg(test)]
mod tests {
    use super::{super::Resource, *};

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn admin_may_do_everything_push_may_read_and_report_and_others_are_nobody() {
        let tokens = Tokens::new(&password("the-admin"), &password("the-push")).unwrap();
        let all = |resource| Verb::ALL.map(|verb| (resource, verb));
        for (resource, verb) in Resource::ALL.into_iter().flat_map(all) {
            let access = Some(Access {
                verb,
                resource,
                name: Some("corp"),
            });
            let by_push = matches!(verb, Verb::Get | Verb::List | Verb::Push);
            let verdict = |token: &str| tokens.judge(&password(token), access);
            assert_eq!(verdict("the-admin"), Verdict::Allowed("admin".to_owned()));
            match verdict("the-push") {
                Verdict::Allowed(user) => assert!(user == "push" && by_push, "{verb:?}"),
                Verdict::Forbidden { user, why } => {
                    assert!(user == "push" && !by_push, "{verb:?}");
                    assert!(why.contains("use the admin token"), "{why}");
                }
                other => panic!("{other:?}"),
            }
            for nobody in ["", "the-admi", "the-admin ", "the-adminx", "THE-ADMIN"] {
                assert_eq!(verdict(nobody), Verdict::Unauthenticated, "{nobody:?}");
            }
        }
        assert_eq!(
            tokens.judge(&password("the-push"), None),
            Verdict::Allowed("push".to_owned())
        );
    }

    #[test]
    fn an_empty_token_is_nobodys() {
        let tokens = Tokens::new(&password(""), &password("")).unwrap();
        assert_eq!(tokens.judge(&password(""), None), Verdict::Unauthenticated);
    }
}
