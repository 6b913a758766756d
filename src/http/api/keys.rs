//! What a request says of the keys that tokens are issued by, and that such keys go with the locations they are for.

use super::{
    credentials::{Asked, Family},
    json::Secret,
    problem::FieldError,
    registry::{JsonText, RegistryRequest, Said},
};
use crate::registry::{
    Address, Credential, Key, Location, Password,
    amazon::{self, KeyPart},
    credential::better_issued,
    google,
};

/// Everything that may be said of one credential: only what is for the registry's location may be.
pub(super) struct Slot {
    password: Family,
    key: KeyFamily,
}

/// The fields of one key.
struct KeyFamily {
    /// What their names begin with.
    prefix: &'static str,
    id: Said<Secret>,
    secret: Said<Secret>,
    session_token: Said<Secret>,
    json: Said<JsonText>,
}

impl Slot {
    /// Takes what is said of the credential to pull with out of a request.
    pub(super) fn pull(request: &mut RegistryRequest) -> Self {
        Self {
            password: Family::pull(request),
            key: KeyFamily {
                prefix: "",
                id: std::mem::take(&mut request.access_key_id),
                secret: std::mem::take(&mut request.secret_access_key),
                session_token: std::mem::take(&mut request.session_token),
                json: std::mem::take(&mut request.key_json),
            },
        }
    }

    /// Takes what is said of the credential to push with out of a request.
    pub(super) fn push(request: &mut RegistryRequest) -> Self {
        Self {
            password: Family::push(request),
            key: KeyFamily {
                prefix: "push_",
                id: std::mem::take(&mut request.push_access_key_id),
                secret: std::mem::take(&mut request.push_secret_access_key),
                session_token: std::mem::take(&mut request.push_session_token),
                json: std::mem::take(&mut request.push_key_json),
            },
        }
    }

    /// What is asked for, for a registry of this location, at `address` where that is known.
    pub(super) fn asked(self, location: Location, address: Option<&Address>, errors: &mut Vec<FieldError>) -> Asked {
        let Self { password, key } = self;
        let others_null: Vec<_> = [
            (Location::OffCluster, password.is_null()),
            (Location::Ecr, key.is_null_for_aws()),
            (Location::Gcr, key.json.is_null()),
        ]
        .into_iter()
        .filter_map(|(of, is_null)| (is_null && of != location).then_some(of))
        .collect();
        let instead = instead(location, key.prefix);
        for (field, of) in key.given() {
            if of != location {
                let message = format!(
                    "it is for the location `{}`, and the location is `{}`",
                    of.as_str(),
                    location.as_str()
                );
                errors.push(FieldError::new(field, message).hint(&*instead));
            }
        }
        if location.issues() {
            for field in password.given() {
                let message = format!(
                    "with the location `{}` tokens are issued, and there are no passwords",
                    location.as_str()
                );
                errors.push(FieldError::new(field, message).hint(&*instead));
            }
        }
        let asked = match location {
            Location::OffCluster => {
                let field = password.user_field();
                let asked = password.asked(address, errors);
                let problem = asked.user().zip(address).and_then(|(user, at)| better_issued(at, user));
                if let Some((of, problem)) = problem {
                    let instead = self::instead(of, key.prefix);
                    let hint = format!("make the `location` `{}`, and {instead}", of.as_str());
                    errors.push(FieldError::new(field, problem).hint(hint));
                }
                asked
            }
            Location::Ecr => key.aws(errors),
            Location::Gcr => key.google(errors),
        };
        match asked {
            Asked::Nothing if !others_null.is_empty() => Asked::ClearAt(others_null),
            asked => asked,
        }
    }
}

impl KeyFamily {
    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The fields that have a value, each with what it is for.
    fn given(&self) -> Vec<(String, Location)> {
        [
            ("access_key_id", Location::Ecr, self.id.is_this()),
            ("secret_access_key", Location::Ecr, self.secret.is_this()),
            ("session_token", Location::Ecr, self.session_token.is_this()),
            ("key_json", Location::Gcr, self.json.is_this()),
        ]
        .into_iter()
        .filter(|(.., given)| *given)
        .map(|(name, location, _)| (self.field(name), location))
        .collect()
    }

    fn is_null_for_aws(&self) -> bool {
        self.id.is_null() || self.secret.is_null() || self.session_token.is_null()
    }

    fn aws(self, errors: &mut Vec<FieldError>) -> Asked {
        let is_null = self.is_null_for_aws();
        let [id_field, secret_field, token_field] =
            ["access_key_id", "secret_access_key", "session_token"].map(|name| self.field(name));
        let mut missing = |field: &str, given: &str| {
            errors.push(
                FieldError::new(field, format!("it is missing: `{given}` is given"))
                    .hint(format!("give `{id_field}` and `{secret_field}`, or neither: tokens are issued by Waypost's own identity then")),
            );
            Asked::Nothing
        };
        let (id, secret) = match (self.id, self.secret) {
            (Said::This(id), Said::This(secret)) => (password(id), password(secret)),
            (Said::This(_), _) => return missing(&secret_field, &id_field),
            (_, Said::This(_)) => return missing(&id_field, &secret_field),
            _ if self.session_token.is_this() => return missing(&id_field, &token_field),
            _ if is_null => return Asked::Clear,
            _ => return Asked::Nothing,
        };
        let session_token = match self.session_token {
            Said::This(token) => Some(password(token)),
            Said::Null | Said::Nothing => None,
        };
        if let Some((part, problem)) = amazon::key_problem(id.expose(), secret.expose()) {
            errors.push(match part {
                KeyPart::Id => FieldError::new(id_field, problem).hint(format!(
                    "ids look like AKIAIOSFODNN7EXAMPLE; what is longer is the secret, and belongs into `{secret_field}`"
                )),
                KeyPart::Secret => FieldError::new(secret_field, problem).hint("give it as AWS made it"),
            });
            return Asked::Nothing;
        }
        match &session_token {
            None if id.expose().starts_with(TEMPORARY) => {
                errors.push(
                    FieldError::new(
                        token_field,
                        format!("it is missing: an access key that begins with {TEMPORARY} is a temporary one"),
                    )
                    .hint("give the session token that came with it; a key that lasts begins with AKIA"),
                );
                return Asked::Nothing;
            }
            Some(token) if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) => {
                let problem = "it is empty, or has a space, a line end or a letter in it that is not ASCII";
                errors.push(FieldError::new(token_field, problem).hint("give it as AWS made it"));
                return Asked::Nothing;
            }
            _ => {}
        }
        Asked::Set(Credential::Key(Key::Aws {
            id,
            secret,
            session_token,
        }))
    }

    fn google(self, errors: &mut Vec<FieldError>) -> Asked {
        let (is_null, field) = (self.json.is_null(), self.field("key_json"));
        let Said::This(JsonText(mut text)) = self.json else {
            return if is_null { Asked::Clear } else { Asked::Nothing };
        };
        if let Some(problem) = google::file::key_problem(&text) {
            errors.push(FieldError::new(field, problem).hint(KEY_JSON_HINT));
            return Asked::Nothing;
        }
        Asked::Set(Credential::Key(Key::Google(Password::new(std::mem::take(&mut *text)))))
    }
}

/// What is kept of a credential is one of these, by the location of the registry: the one that is said to be missing or in the way.
pub(super) fn kept_field(location: Location, push: bool) -> &'static str {
    match (location, push) {
        (Location::OffCluster, false) => "registry_password",
        (Location::OffCluster, true) => "registry_push_password",
        (Location::Ecr, false) => "secret_access_key",
        (Location::Ecr, true) => "push_secret_access_key",
        (Location::Gcr, false) => "key_json",
        (Location::Gcr, true) => "push_key_json",
    }
}

fn password(Secret(mut text): Secret) -> Password {
    Password::new(std::mem::take(&mut *text))
}

/// What to give where something was given that is for another location.
fn instead(location: Location, prefix: &str) -> String {
    match location {
        Location::OffCluster => {
            format!(
                "give `registry_{prefix}username` and `registry_{prefix}password`, or say the `location` that it is for"
            )
        }
        Location::Ecr => format!(
            "give `{prefix}access_key_id` and `{prefix}secret_access_key`, or neither: tokens are issued by Waypost's own identity then"
        ),
        Location::Gcr => {
            format!("give `{prefix}key_json`, or nothing: tokens are issued by Waypost's own identity then")
        }
    }
}

const KEY_JSON_HINT: &str =
    "give the JSON file of a service account's key as Google made it, without base64: the object itself, or its text";

/// What the ids of access keys begin with that last for hours.
const TEMPORARY: &str = "ASIA";
